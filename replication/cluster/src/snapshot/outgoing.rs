//! The checkpoints that this node made for its replicas: at most one for each, being
//! sent, or kept for a while because its replica went away in the middle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{Epoch, NodeId};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use super::{Checkpoint, SnapshotManifest};

/// A checkpoint with its pin. Both go with the last who has it, on a thread that may
/// block: many files may go with them.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) manifest: SnapshotManifest,
    pub(super) directory: PathBuf,
    /// The place is free when the files are gone.
    pinned: Mutex<Option<(Checkpoint, OwnedSemaphorePermit)>>,
    runtime: Handle,
}

impl Made {
    pub(super) fn new(
        manifest: SnapshotManifest,
        checkpoint: Checkpoint,
        place: OwnedSemaphorePermit,
        runtime: Handle,
    ) -> Self {
        Self {
            manifest,
            directory: checkpoint.directory.clone(),
            pinned: Mutex::new(Some((checkpoint, place))),
            runtime,
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let pinned = self.pinned.get_mut().expect("nobody locks it").take();
        self.runtime.spawn_blocking(move || drop(pinned));
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    transfers: BTreeMap<NodeId, Transfer>,
    number: u64,
    /// The node stops: nothing is begun or kept any more.
    closed: bool,
}

#[derive(Debug)]
struct Transfer {
    /// Rises; tells this transfer from the replica's next, and the older of two.
    number: u64,
    made: Arc<Made>,
    /// Sends, and then waits for the replica to come back.
    task: AbortHandle,
    kept: bool,
}

impl Outgoing {
    /// The checkpoint that this replica asks to go on with, and the file to begin with.
    /// `None` if it is not there any more, or was never there.
    pub(super) fn resume(
        &self,
        replica: &NodeId,
        epoch: Epoch,
        resume: wire::Resume,
    ) -> Option<(Arc<Made>, usize)> {
        let made = &self.transfers.get(replica)?.made;
        let file = usize::try_from(resume.file).ok()?;
        let manifest = &made.manifest;
        let fits = manifest.checkpoint == resume.checkpoint
            && manifest.epoch == epoch
            && file <= manifest.files.len();
        fits.then(|| (Arc::clone(made), file))
    }

    /// Notes a transfer in place of any other to this replica. `false` if the node stops.
    pub(super) fn begin(
        &mut self,
        replica: &NodeId,
        made: Arc<Made>,
        task: impl FnOnce(Arc<Made>, u64) -> AbortHandle,
    ) -> bool {
        if self.closed {
            return false;
        }
        self.drop_of(replica);
        self.number += 1;
        let transfer = Transfer {
            number: self.number,
            task: task(Arc::clone(&made), self.number),
            made,
            kept: false,
        };
        self.transfers.insert(replica.clone(), transfer);
        true
    }

    /// The replica went away. Whether its checkpoint is kept.
    pub(super) fn keep(&mut self, replica: &NodeId, number: u64) -> bool {
        let transfer = self.transfers.get_mut(replica);
        let transfer = transfer.filter(|transfer| transfer.number == number);
        transfer.map(|transfer| transfer.kept = true).is_some()
    }

    /// The replica has everything, or nobody came back for it.
    pub(super) fn end(&mut self, replica: &NodeId, number: u64) {
        let ended = self.transfers.get(replica);
        if ended.is_some_and(|transfer| transfer.number == number) {
            self.transfers.remove(replica);
        }
    }

    /// Drops what there is for this replica. Whether there was something.
    pub(super) fn drop_of(&mut self, replica: &NodeId) -> bool {
        let dropped = self.transfers.remove(replica);
        dropped.map(|transfer| transfer.task.abort()).is_some()
    }

    /// Drops the oldest that is only kept. Whether there was one.
    pub(super) fn make_room(&mut self) -> bool {
        let kept = self.transfers.iter().filter(|(_, transfer)| transfer.kept);
        let oldest = kept.min_by_key(|(_, transfer)| transfer.number);
        let oldest = oldest.map(|(replica, _)| replica.clone());
        oldest.is_some_and(|replica| self.drop_of(&replica))
    }

    /// How many replicas went away and may come back.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        let transfers = self.transfers.values();
        transfers.filter(|transfer| transfer.kept).count()
    }

    /// The node stops.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        for transfer in std::mem::take(&mut self.transfers).into_values() {
            transfer.task.abort();
        }
    }
}
