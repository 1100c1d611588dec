//! Checkpoints on their way from one node to another.

mod resumed;

use std::path::{Path, PathBuf};

use super::*;
use crate::limits::CHECKPOINT_KEPT;
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

/// Nothing but these files.
fn assert_holds(directory: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, data) in files {
        let found = std::fs::read(directory.join(name));
        assert!(found.unwrap() == *data, "{name}");
    }
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), files.len());
}

/// So much time, at once.
async fn passes(time: Duration) {
    tokio::time::pause();
    // A timer is due when its millisecond is over.
    tokio::time::advance(time + Duration::from_millis(2)).await;
    tokio::time::resume();
}

/// Checkpoints whose replicas went away.
fn kept(node: &Node) -> usize {
    node.links.shared.state().outgoing.kept()
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
    let manifest = snapshots
        .fetch(&a.id, Epoch(3), &target, None)
        .await
        .unwrap();
    assert_eq!(
        (manifest.epoch, manifest.applied),
        (Epoch(3), Position::new(3, 12))
    );
    assert_eq!(manifest.history, hello().history);
    assert_eq!(manifest.files.len(), 5);
    assert_holds(&target, &files());
    // Two snapshots never mix.
    std::fs::write(target.join("000007.sst"), "of another one").unwrap();
    std::fs::write(target.join("CURRENT"), "of another one").unwrap();
    let again = snapshots.fetch(&a.id, Epoch(3), &target, None).await;
    assert_ne!(again.unwrap().checkpoint, manifest.checkpoint);
    assert_holds(&target, &files());
    let late = b
        .links
        .snapshots()
        .fetch(&a.id, Epoch(4), &target, None)
        .await;
    assert!(
        late.unwrap_err()
            .to_string()
            .contains("not master in epoch 4")
    );
    a.silent().await;
    until("the checkpoint is gone", || Arc::strong_count(&pin) == 2).await;
}

/// The ancestor's list of files had to fit into 64 KiB; gRPC takes 4 MiB unless it is told otherwise.
#[tokio::test]
async fn a_manifest_beyond_every_usual_limit_arrives() {
    const GRPC_BYTES_MAX: usize = 4 << 20;
    const FILES: usize = 20_000;
    let name = |number: usize| format!("{number:06}-{}.sst", "x".repeat(220));
    let names: Vec<String> = (0..FILES).map(name).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), vec![7])).collect();
    assert!(names.concat().len() > GRPC_BYTES_MAX);
    let (_directory, source, _pin) = checkpoint(&files);
    let (a, b) = (Node::with(config("a"), source), Node::start(config("b")));
    a.knows(&[("b", b.links.address())]);
    b.knows(&[("a", a.links.address())]);
    let staging = tempfile::tempdir().unwrap();
    let snapshots = b.links.snapshots();
    let fetch = snapshots.fetch(&a.id, Epoch(3), staging.path(), None);
    let begun = || std::fs::read_dir(staging.path()).map_or(0, Iterator::count);
    tokio::select! {
        fetched = fetch => assert_eq!(fetched.unwrap().files.len(), FILES),
        // Each of the files costs a sync: the list has come, and what it lists comes.
        () = until("some files have come", || begun() > 20) => {}
    }
    for (name, data) in &files[..20] {
        let found = std::fs::read(staging.path().join(name));
        assert!(found.unwrap() == *data, "{name}");
    }
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
    let manifest = fetched.fetch(&a.id, Epoch(3), staging.path(), None).await;
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
        .fetch(&a.id, Epoch(3), staging.path(), None)
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
    let fetch = snapshots.fetch(&a.id, Epoch(3), staging.path(), None);
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
    // It may come back, and does not.
    until("the checkpoint is kept", || kept(&a) == 1).await;
    let second = Duration::from_secs(1);
    passes(CHECKPOINT_KEPT.saturating_sub(second)).await;
    assert_eq!((kept(&a), Arc::strong_count(&pin)), (1, 3));
    passes(second).await;
    until("the checkpoint is gone", || Arc::strong_count(&pin) == 2).await;
    assert_eq!(kept(&a), 0);
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
        .fetch(&a.id, Epoch(3), staging.path(), None)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("nested"), "{refused}");
}
