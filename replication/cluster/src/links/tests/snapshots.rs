//! Checkpoints on their way from one node to another.

use std::path::PathBuf;

use super::*;
use crate::snapshot::{Checkpoint, SnapshotError};

/// A directory with files of many sizes, and whether it is still pinned.
fn checkpoint(files: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, CheckpointSource, Arc<()>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, data) in files {
        std::fs::write(directory.path().join(name), data).unwrap();
    }
    let pin = Arc::new(());
    let (path, pinned): (PathBuf, _) = (directory.path().to_owned(), Arc::clone(&pin));
    let source: CheckpointSource = Arc::new(move |_, epoch| {
        if epoch != Epoch(3) {
            return Err(format!("not master in epoch {epoch}"));
        }
        Ok(Checkpoint {
            directory: path.clone(),
            applied: Position::new(3, 12),
            history: hello().history,
            pin: Box::new(Arc::clone(&pinned)),
        })
    });
    (directory, source, pin)
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let data = |bytes: usize| (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
    vec![
        ("000012.sst", data(3_000_000)),
        ("CURRENT", data(16)),
        ("EMPTY", data(0)),
        ("MANIFEST-000005", data(256 << 10)),
        ("marked", [b"FLIP".repeat(100), data(1000)].concat()),
    ]
}

#[tokio::test]
async fn a_snapshot_arrives_whole() {
    let (_directory, source, pin) = checkpoint(&files());
    let (mut a, b) = (Node::with(config("a"), source), Node::start(config("b")));
    a.knows(&[("b", b.links.address())]);
    b.knows(&[("a", a.links.address())]);
    let staging = tempfile::tempdir().unwrap();
    let target = staging.path().join("staging");
    let snapshots = b.links.snapshots();
    let manifest = snapshots.fetch(&a.id, Epoch(3), &target).await.unwrap();
    assert_eq!(
        (manifest.epoch, manifest.applied),
        (Epoch(3), Position::new(3, 12))
    );
    assert_eq!(manifest.history, hello().history);
    assert_eq!(manifest.files.len(), 5);
    for (name, data) in files() {
        assert_eq!(std::fs::read(target.join(name)).unwrap(), data, "{name}");
    }
    // Two snapshots never mix.
    let again = b.links.snapshots().fetch(&a.id, Epoch(3), &target).await;
    assert!(
        matches!(again, Err(SnapshotError::Disk { .. })),
        "{again:?}"
    );
    let late = b.links.snapshots().fetch(&a.id, Epoch(4), &target).await;
    assert!(
        late.unwrap_err()
            .to_string()
            .contains("not master in epoch 4")
    );
    a.silent().await;
    let unpinned = async {
        while Arc::strong_count(&pin) > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, unpinned).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_no_faster_than_its_rate() {
    const RATE: u64 = 8 << 20;
    let (_directory, source, _pin) = checkpoint(&files());
    let slow = LinkConfig {
        snapshot_rate: NonZeroU64::new(RATE),
        ..config("a")
    };
    let (a, b) = (Node::with(slow, source), Node::start(config("b")));
    a.knows(&[("b", b.links.address())]);
    b.knows(&[("a", a.links.address())]);
    let staging = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let fetched = b.links.snapshots();
    let manifest = fetched.fetch(&a.id, Epoch(3), staging.path()).await;
    let least = Duration::from_secs(1) * u32::try_from(manifest.unwrap().bytes()).unwrap();
    assert!(began.elapsed() >= least / u32::try_from(RATE).unwrap());
}

#[tokio::test]
async fn a_snapshot_with_a_flipped_bit_is_refused() {
    let (_directory, source, _pin) = checkpoint(&files());
    let (a, b) = (Node::with(config("a"), source), Node::start(config("b")));
    let wire = Wire::to(a.links.address(), |bytes| {
        if let Some(at) = bytes.windows(8).position(|window| window == b"FLIPFLIP") {
            bytes[at] ^= 1;
        }
    });
    let wire = wire.await;
    a.knows(&[("b", b.links.address())]);
    b.knows(&[("a", wire.address)]);
    let staging = tempfile::tempdir().unwrap();
    let refused = b
        .links
        .snapshots()
        .fetch(&a.id, Epoch(3), staging.path())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, SnapshotError::Damaged { file, offset: 0, .. } if file == "marked"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_snapshot_that_breaks_off_is_an_error() {
    let big = vec![("big.sst", vec![1; 64 << 20])];
    let (_directory, source, pin) = checkpoint(&big);
    let (a, b) = (Node::with(config("a"), source), Node::start(config("b")));
    let wire = Wire::to(a.links.address(), |_| ()).await;
    a.knows(&[("b", b.links.address())]);
    b.knows(&[("a", wire.address)]);
    let staging = tempfile::tempdir().unwrap();
    let snapshots = b.links.snapshots();
    let fetch = snapshots.fetch(&a.id, Epoch(3), staging.path());
    let started = async {
        while Arc::strong_count(&pin) < 3 || !staging.path().join("big.sst").exists() {
            tokio::task::yield_now().await;
        }
        wire.cut().await;
    };
    let (fetched, ()) = tokio::join!(fetch, started);
    assert!(
        matches!(fetched, Err(SnapshotError::Master(_))),
        "{fetched:?}"
    );
    let unpinned = async {
        while Arc::strong_count(&pin) > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, unpinned).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_with_a_path_in_it_is_not_sent() {
    let (directory, source, _pin) = checkpoint(&files());
    std::fs::create_dir(directory.path().join("nested")).unwrap();
    let (a, b) = (Node::with(config("a"), source), Node::start(config("b")));
    a.knows(&[("b", b.links.address())]);
    b.knows(&[("a", a.links.address())]);
    let staging = tempfile::tempdir().unwrap();
    let refused = b
        .links
        .snapshots()
        .fetch(&a.id, Epoch(3), staging.path())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("nested"), "{refused}");
}
