//! The replica's side: asks for a checkpoint, or for the rest of one, and hands over
//! what comes. Half a snapshot is an error, never a store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{Epoch, NodeId, Position};
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};

use super::SnapshotManifest;
use super::staging::{self, Staged, Transfer};
use crate::limits::{PROGRESS_EVERY, SNAPSHOT_IDLE_MAX};
use crate::peer;
use crate::state::Shared;
use crate::token::sign;

/// Why a snapshot could not be fetched. The staging directory holds nothing of use but
/// to the next fetch.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The master does not give one, or went away.
    #[error("the master gives no snapshot: {}", .0.message())]
    Master(Box<Status>),
    /// Nothing came for a long time.
    #[error("the snapshot stands still")]
    Idle,
    /// It ended early.
    #[error("the snapshot ended after {received} of {total} bytes")]
    Incomplete {
        /// What came.
        received: u64,
        /// What was promised.
        total: u64,
    },
    /// The list of files is not acceptable.
    #[error("the snapshot's manifest is not acceptable: {0}")]
    Manifest(String),
    /// A chunk is not what it says.
    #[error("the snapshot is damaged: file {file} at {offset}: {why}")]
    Damaged {
        /// The file's name.
        file: String,
        /// Where in it.
        offset: u64,
        /// What does not agree.
        why: &'static str,
    },
    /// What lies in the staging directory is not what was put there.
    #[error("the staging directory {} does not hold what came: {why}; is another process at work in it?", .directory.display())]
    Staging {
        /// The directory.
        directory: PathBuf,
        /// What differs.
        why: String,
    },
    /// The disk refuses.
    #[error("cannot write {}: {error}", .path.display())]
    Disk {
        /// What was to be written.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// Fetches snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    shared: Arc<Shared>,
}

impl Snapshots {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Writes the master's checkpoint into `staging` and syncs it.
    ///
    /// A transfer that broke off, or whose task was aborted, goes on if the master is the
    /// same in the same epoch and still has that checkpoint; whatever else is in `staging`
    /// is removed first. `held` is the end of this node's log, if nothing is missing from
    /// it: a checkpoint that ends below it by now is not taken up again.
    pub async fn fetch(
        &self,
        master: &NodeId,
        epoch: Epoch,
        staging: &Path,
        held: Option<Position>,
    ) -> Result<SnapshotManifest, SnapshotError> {
        let staged = {
            let known = &mut self.shared.state().staged;
            *known = known
                .take()
                .filter(|staged| staged.continues(master, epoch, staging, held));
            known.clone()
        };
        if staged.is_none() {
            staging::empty(staging).await?;
        }
        let fetched = self.take(master, epoch, staging, staged).await;
        let goes_on = matches!(
            fetched,
            Err(SnapshotError::Master(_) | SnapshotError::Idle | SnapshotError::Incomplete { .. })
        );
        if !goes_on {
            self.shared.state().staged = None;
        }
        fetched
    }

    async fn take(
        &self,
        master: &NodeId,
        epoch: Epoch,
        staging: &Path,
        staged: Option<Staged>,
    ) -> Result<SnapshotManifest, SnapshotError> {
        let failed = |status| SnapshotError::Master(Box::new(status));
        let mut client = peer::snapshot_client(&self.shared, master)
            .await
            .map_err(failed)?;
        let request = wire::SnapshotRequest {
            sender: Some(self.shared.config.sender()),
            epoch: epoch.0,
            resume: staged.as_ref().map(Staged::to_wire),
        };
        let request = sign(&self.shared.token, Request::new(request));
        let answer = tokio::time::timeout(SNAPSHOT_IDLE_MAX, client.snapshot(request)).await;
        let chunks = answer.map_err(|_| SnapshotError::Idle)?.map_err(failed)?;
        let mut chunks = chunks.into_inner();
        let manifest = first(&mut chunks).await?;
        let staged = match staged {
            Some(staged) if *staged.manifest() == manifest => staged,
            earlier => {
                if earlier.is_some() {
                    tracing::info!(%master, "the master has another checkpoint by now: beginning anew");
                    self.shared.state().staged = None;
                    staging::empty(staging).await?;
                }
                Staged::new(master, epoch, staging, manifest)
            }
        };
        receive(master, chunks, Transfer::new(&self.shared, staged).await?).await
    }
}

async fn receive(
    master: &NodeId,
    mut chunks: Streaming<wire::SnapshotChunk>,
    mut transfer: Transfer<'_>,
) -> Result<SnapshotManifest, SnapshotError> {
    let (total, here) = (transfer.total(), transfer.received());
    tracing::info!(%master, bytes = total, here, "receiving a snapshot");
    let mut said = Instant::now();
    while let Some(chunk) = next(&mut chunks).await? {
        transfer.write(chunk).await?;
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            tracing::info!(%master, received = transfer.received(), total, "receiving a snapshot");
        }
    }
    let manifest = transfer.finish().await?;
    tracing::info!(%master, bytes = total, "snapshot received");
    Ok(manifest)
}

async fn first(
    chunks: &mut Streaming<wire::SnapshotChunk>,
) -> Result<SnapshotManifest, SnapshotError> {
    let first = next(chunks).await?.and_then(|chunk| chunk.manifest);
    let none = || SnapshotError::Manifest("the first chunk has none".to_owned());
    SnapshotManifest::from_wire(first.ok_or_else(none)?).map_err(SnapshotError::Manifest)
}

async fn next(
    chunks: &mut Streaming<wire::SnapshotChunk>,
) -> Result<Option<wire::SnapshotChunk>, SnapshotError> {
    let next = tokio::time::timeout(SNAPSHOT_IDLE_MAX, chunks.message()).await;
    next.map_err(|_| SnapshotError::Idle)?
        .map_err(|status| SnapshotError::Master(Box::new(status)))
}
