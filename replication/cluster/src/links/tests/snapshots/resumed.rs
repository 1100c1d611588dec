//! Snapshots that broke off.

use tonic::{Request, Status, Streaming};

use super::*;
use crate::limits::SNAPSHOTS_MAX;
use crate::token::sign;

const FILE_BYTES: usize = 2 << 20;
/// Far more than goes before it is noticed that nobody takes it: a window is half of it.
const FILES: u8 = 32;

type Contents = Vec<(&'static str, Vec<u8>)>;

/// Files that differ from one another and from those of another `kind`.
fn many(kind: u8) -> Contents {
    let name = |number: u8| -> &'static str { format!("{kind}{number:05}.sst").leak() };
    let file = |number| (name(number), vec![number ^ kind; FILE_BYTES]);
    (0..FILES).map(file).collect()
}

/// A master that makes another checkpoint each time.
struct Master {
    node: Node,
    /// What is in them, and where it lies.
    contents: Vec<(Contents, tempfile::TempDir)>,
    made: Arc<AtomicU64>,
    pin: Arc<()>,
}

impl Master {
    fn new(all: Vec<Contents>) -> Self {
        let mut sources = Vec::new();
        let mut contents = Vec::new();
        for files in all {
            let (directory, source, _) = checkpoint(&files);
            sources.push(source);
            contents.push((files, directory));
        }
        let (made, pin) = (Arc::new(AtomicU64::new(0)), Arc::new(()));
        let (counter, pinned) = (Arc::clone(&made), Arc::downgrade(&pin));
        let source: CheckpointSource = Arc::new(move |replica, epoch| {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            let kind = usize::from(number % 2 == 1);
            let checkpoint = sources[kind](replica, epoch)?;
            Ok(Checkpoint {
                pin: Box::new(pinned.upgrade()),
                ..checkpoint
            })
        });
        Self {
            node: Node::with(config("a"), source),
            contents,
            made,
            pin,
        }
    }

    fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Checkpoints on the disk: the test has the pin besides them.
    fn pinned(&self) -> usize {
        Arc::strong_count(&self.pin) - 1
    }

    /// It knows these replicas, and they know it by this address.
    fn knows(&self, replicas: &[&Node], address: SocketAddr) {
        let of = |replica: &&Node| (replica.id.clone(), replica.links.address().to_string());
        self.node
            .links
            .addresses(&replicas.iter().map(of).collect());
        for replica in replicas {
            replica.knows(&[("a", address)]);
        }
    }

    /// Fetches until some files are complete, and gives up as a node does whose stream to
    /// the master broke.
    async fn broken_off(&self, replica: &Node, staging: &Path) {
        let begun = || std::fs::read_dir(staging).map_or(0, Iterator::count);
        let snapshots = replica.links.snapshots();
        tokio::select! {
            fetched = snapshots.fetch(&self.node.id, Epoch(3), staging, None) => panic!("{fetched:?}"),
            () = until("some files", || begun() >= 4) => {}
        }
        until("the checkpoint is kept", || kept(&self.node) == 1).await;
        assert_eq!((self.made(), self.pinned()), (1, 1));
    }

    /// As any process that knows the token may ask.
    async fn asked(
        &self,
        replica: &Node,
        epoch: u64,
        resume: Option<(u64, u32)>,
    ) -> Result<(wire::SnapshotManifest, Streaming<wire::SnapshotChunk>), Status> {
        let shared = &replica.links.shared;
        let mut client = peer::snapshot_client(shared, &self.node.id).await?;
        let request = wire::SnapshotRequest {
            sender: Some(shared.config.sender()),
            epoch,
            resume: resume.map(|(checkpoint, file)| wire::Resume { checkpoint, file }),
        };
        let answer = client.snapshot(sign(&shared.token, Request::new(request)));
        let mut chunks = answer.await?.into_inner();
        let first = chunks.message().await?.unwrap_or_default();
        let none = || Status::internal("no manifest");
        Ok((first.manifest.ok_or_else(none)?, chunks))
    }
}

fn pair_with_checkpoints() -> (Master, Node) {
    let master = Master::new(vec![many(0), many(64)]);
    let replica = Node::start(config("b"));
    master.knows(&[&replica], master.node.links.address());
    (master, replica)
}

#[tokio::test]
async fn after_a_cut_only_what_is_missing_is_sent() {
    let (a, b) = pair_with_checkpoints();
    let wire = Wire::to(a.node.links.address(), |_| ()).await;
    a.knows(&[&b], wire.address);
    let staging = tempfile::tempdir().unwrap();
    let target = staging.path().join("staging");
    let snapshots = b.links.snapshots();
    let cut = async {
        let passed = Arc::clone(&wire.passed);
        let enough = 4 * FILE_BYTES as u64;
        until("four files", || passed.load(Ordering::Relaxed) > enough).await;
        wire.cut().await;
    };
    let fetch = snapshots.fetch(&a.node.id, Epoch(3), &target, None);
    let (fetched, ()) = tokio::join!(fetch, cut);
    assert!(
        matches!(fetched, Err(SnapshotError::Master(_))),
        "{fetched:?}"
    );
    let begun = std::fs::read_dir(&target).unwrap().count();
    assert!(begun > 2, "{begun}");
    until("the checkpoint is kept", || kept(&a.node) == 1).await;

    let wire = Wire::to(a.node.links.address(), |_| ()).await;
    a.knows(&[&b], wire.address);
    // This node's log ends where the checkpoint does: nothing is lost by it.
    let held = Some(Position::new(3, 12));
    let fetched = snapshots.fetch(&a.node.id, Epoch(3), &target, held).await;
    assert_eq!(fetched.unwrap().files.len(), usize::from(FILES));
    assert_holds(&target, &a.contents[0].0);
    assert_eq!(a.made(), 1);
    // The last that was begun was not complete; the rest is headers.
    let missing = usize::from(FILES) - (begun - 1);
    let passed = wire.passed.load(Ordering::Relaxed);
    let most = missing * FILE_BYTES + FILE_BYTES / 2;
    assert!(passed < most as u64, "{passed} bytes for {missing} files");
    until("the checkpoint is gone", || a.pinned() == 0).await;
}

#[tokio::test]
async fn after_a_while_another_checkpoint_is_made_and_the_files_do_not_mix() {
    let (a, b) = pair_with_checkpoints();
    let staging = tempfile::tempdir().unwrap();
    a.broken_off(&b, staging.path()).await;
    passes(CHECKPOINT_KEPT).await;
    until("the checkpoint is gone", || a.pinned() == 0).await;
    let snapshots = b.links.snapshots();
    let fetched = snapshots.fetch(&a.node.id, Epoch(3), staging.path(), None);
    fetched.await.unwrap();
    assert_eq!(a.made(), 2);
    assert_holds(staging.path(), &a.contents[1].0);
}

#[tokio::test]
async fn what_ends_below_this_nodes_log_by_now_is_not_taken_up_again() {
    let (a, b) = pair_with_checkpoints();
    let staging = tempfile::tempdir().unwrap();
    a.broken_off(&b, staging.path()).await;
    let snapshots = b.links.snapshots();
    let held = Some(Position::new(3, 13));
    let fetched = snapshots.fetch(&a.node.id, Epoch(3), staging.path(), held);
    fetched.await.unwrap();
    assert_eq!(a.made(), 2);
    assert_holds(staging.path(), &a.contents[1].0);
}

#[tokio::test]
async fn a_file_that_changed_in_the_meantime_is_not_taken_for_whole() {
    let (a, b) = pair_with_checkpoints();
    let staging = tempfile::tempdir().unwrap();
    a.broken_off(&b, staging.path()).await;
    let first = a.contents[0].0[0].0;
    std::fs::write(staging.path().join(first), "short").unwrap();
    let snapshots = b.links.snapshots();
    let fetched = snapshots.fetch(&a.node.id, Epoch(3), staging.path(), None);
    let fetched = fetched.await;
    assert!(
        matches!(fetched, Err(SnapshotError::Staging { .. })),
        "{fetched:?}"
    );
    let fetched = snapshots.fetch(&a.node.id, Epoch(3), staging.path(), None);
    fetched.await.unwrap();
    assert_holds(staging.path(), &a.contents[1].0);
}

#[tokio::test]
async fn a_master_that_stops_keeps_nothing() {
    let (a, b) = pair_with_checkpoints();
    let staging = tempfile::tempdir().unwrap();
    a.broken_off(&b, staging.path()).await;
    a.node.links.stop().await;
    assert_eq!(Arc::strong_count(&a.pin), 1);
}

#[tokio::test]
async fn a_request_that_does_not_fit_gets_another_checkpoint() {
    let (a, b) = pair_with_checkpoints();
    let (first, _) = a.asked(&b, 3, None).await.unwrap();
    let mut last = first.checkpoint;
    let beyond = u32::from(FILES) + 1;
    for (flipped, file) in [(1, 0), (0, beyond), (0, u32::MAX)] {
        let resume = Some((last ^ flipped, file));
        let (manifest, mut chunks) = a.asked(&b, 3, resume).await.unwrap();
        assert_ne!(manifest.checkpoint, last);
        last = manifest.checkpoint;
        let chunk = chunks.message().await.unwrap().unwrap();
        assert_eq!((chunk.file, chunk.offset), (0, 0));
    }
    assert_eq!(a.made(), 4);
    // It has another epoch.
    let refused = a.asked(&b, 4, Some((last, 0))).await.unwrap_err();
    assert!(refused.message().contains("not master"), "{refused}");
    until("the checkpoints are gone", || a.pinned() == 0).await;
}

#[tokio::test]
async fn a_request_that_fits_begins_with_any_file_or_with_none() {
    let (a, b) = pair_with_checkpoints();
    let (first, _) = a.asked(&b, 3, None).await.unwrap();
    let id = first.checkpoint;
    let (manifest, mut chunks) = a.asked(&b, 3, Some((id, 7))).await.unwrap();
    assert_eq!(manifest, first);
    let chunk = chunks.message().await.unwrap().unwrap();
    assert_eq!((chunk.file, chunk.offset), (7, 0));
    // Only the end was missed.
    let all = u32::from(FILES);
    let (manifest, mut chunks) = a.asked(&b, 3, Some((id, all))).await.unwrap();
    assert_eq!(manifest, first);
    assert_eq!(chunks.message().await.unwrap(), None);
    assert_eq!(a.made(), 1);
}

/// Its machine vanished, and the master has not noticed: the old transfer stands.
#[tokio::test]
async fn a_replica_that_asks_again_has_one_checkpoint_and_not_two() {
    let (a, b) = pair_with_checkpoints();
    let (first, stands) = a.asked(&b, 3, None).await.unwrap();
    let again = a.asked(&b, 3, Some((first.checkpoint, 1))).await.unwrap();
    assert_eq!(again.0, first);
    assert_eq!((a.made(), a.pinned()), (1, 1));
    let (anew, _stream) = a.asked(&b, 3, None).await.unwrap();
    assert_ne!(anew.checkpoint, first.checkpoint);
    until("one checkpoint", || a.pinned() == 1).await;
    assert_eq!(a.made(), 2);
    drop((stands, again));
}

#[tokio::test]
async fn no_more_checkpoints_are_kept_than_are_sent() {
    let (a, b) = pair_with_checkpoints();
    let (c, d) = (Node::start(config("c")), Node::start(config("d")));
    a.knows(&[&b, &c, &d], a.node.links.address());
    let (of_b, stream) = a.asked(&b, 3, None).await.unwrap();
    let (of_c, _) = a.asked(&c, 3, None).await.unwrap();
    drop(stream);
    let all = SNAPSHOTS_MAX as usize;
    until("both are kept", || kept(&a.node) == all).await;

    // The older one makes room; the other one is there still.
    let _of_d = a.asked(&d, 3, None).await.unwrap();
    assert_eq!(a.pinned(), all);
    let (again, _stream) = a.asked(&c, 3, Some((of_c.checkpoint, 3))).await.unwrap();
    assert_eq!((again, a.made()), (of_c, 3));

    // Those that are being sent make none.
    let resume = Some((of_b.checkpoint, 3));
    let busy = a.asked(&b, 3, resume).await.unwrap_err();
    assert!(busy.message().contains("try later"), "{busy}");
    assert_eq!((a.made(), a.pinned()), (3, all));
}
