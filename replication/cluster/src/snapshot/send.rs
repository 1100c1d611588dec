//! The master's side: reads the files of a checkpoint, ahead of the network by
//! a few chunks and never more.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{Epoch, NodeId};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{CheckpointSource, SnapshotFile, SnapshotManifest, is_plain};
use crate::limits::{
    CHUNK_BYTES, CHUNKS_AHEAD_MAX, PROGRESS_EVERY, SNAPSHOT_IDLE_MAX, SNAPSHOTS_MAX,
};
use crate::state::Shared;

type Chunks = mpsc::Sender<Result<wire::SnapshotChunk, Status>>;

/// Sends checkpoints, a few at a time.
pub(crate) struct SnapshotSender {
    checkpoints: CheckpointSource,
    /// Bytes a second for each, so that clients do not feel it.
    rate: Option<NonZeroU64>,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for SnapshotSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotSender").finish_non_exhaustive()
    }
}

/// Why a transfer stopped.
enum Stopped {
    /// The receiver went away, or took nothing for [`SNAPSHOT_IDLE_MAX`].
    Receiver,
    /// The files cannot be read.
    Files(String),
}

impl SnapshotSender {
    pub(crate) fn new(checkpoints: CheckpointSource, rate: Option<NonZeroU64>) -> Self {
        let places = Arc::new(Semaphore::new(SNAPSHOTS_MAX));
        Self {
            checkpoints,
            rate,
            places,
        }
    }

    pub(crate) async fn send(
        &self,
        shared: &Arc<Shared>,
        to: NodeId,
        epoch: Epoch,
    ) -> Result<ReceiverStream<Result<wire::SnapshotChunk, Status>>, Status> {
        let busy = |_| Status::resource_exhausted("enough snapshots are being sent: try later");
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let source = Arc::clone(&self.checkpoints);
        let replica = to.clone();
        // The place goes along: a caller that hangs up does not end the making.
        let made = tokio::task::spawn_blocking(move || (source(&replica, epoch), place));
        let (checkpoint, place) = made
            .await
            .map_err(|_| Status::unavailable("the node is stopping"))?;
        let checkpoint = checkpoint.map_err(|why| {
            // The receiver asks again and again, and the reason has numbers in it.
            if shared.quiet.allows(&format!("no checkpoint for {to}")) {
                tracing::error!(%to, "a checkpoint is wanted and cannot be made: {why}");
            }
            Status::failed_precondition(why)
        })?;
        let unreadable =
            |error| Status::internal(format!("the checkpoint cannot be listed: {error}"));
        let manifest = SnapshotManifest {
            epoch,
            applied: checkpoint.applied,
            history: checkpoint.history.clone(),
            files: list(&checkpoint.directory).await.map_err(unreadable)?,
        };
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let rate = self.rate;
        shared.spawn(async move {
            match send(&checkpoint.directory, &manifest, &to, &chunks, rate).await {
                Ok(()) => tracing::info!(%to, bytes = manifest.bytes(), "snapshot sent"),
                Err(Stopped::Receiver) => {
                    tracing::warn!(%to, "the receiver of a snapshot went away, or takes nothing any more");
                }
                Err(Stopped::Files(why)) => {
                    tracing::error!(%to, "the snapshot cannot be sent: {why}");
                    // The receiver may be gone too.
                    drop(chunks.send(Err(Status::data_loss(why))).await);
                }
            }
            // Many files may go with it.
            tokio::task::spawn_blocking(move || drop((checkpoint, place)));
        });
        Ok(ReceiverStream::new(stream))
    }
}

async fn list(directory: &Path) -> Result<Vec<SnapshotFile>, String> {
    let mut files = Vec::new();
    let failed = |error: std::io::Error| error.to_string();
    let mut directory = tokio::fs::read_dir(directory).await.map_err(failed)?;
    while let Some(entry) = directory.next_entry().await.map_err(failed)? {
        let metadata = entry.metadata().await.map_err(failed)?;
        let name = entry
            .file_name()
            .into_string()
            .ok()
            .filter(|name| is_plain(name));
        match name {
            Some(name) if metadata.is_file() => files.push(SnapshotFile {
                name,
                bytes: metadata.len(),
            }),
            _ => {
                return Err(format!(
                    "{} is not a plain file",
                    entry.file_name().display()
                ));
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

async fn send(
    directory: &Path,
    manifest: &SnapshotManifest,
    to: &NodeId,
    chunks: &Chunks,
    rate: Option<NonZeroU64>,
) -> Result<(), Stopped> {
    let total = manifest.bytes();
    tracing::info!(%to, files = manifest.files.len(), bytes = total, "sending a snapshot");
    let first = wire::SnapshotChunk {
        manifest: Some(manifest.to_wire()),
        ..wire::SnapshotChunk::default()
    };
    give(chunks, first).await?;
    let began = Instant::now();
    let (mut sent, mut said) = (0, began);
    for (number, file) in (0..).zip(&manifest.files) {
        let failed = |error: std::io::Error| Stopped::Files(format!("{}: {error}", file.name));
        let mut reader = File::open(directory.join(&file.name))
            .await
            .map_err(failed)?;
        let mut offset = 0;
        while offset < file.bytes {
            let data = read(&mut reader, file.bytes - offset)
                .await
                .map_err(failed)?;
            let read = data.len() as u64;
            let chunk = wire::SnapshotChunk {
                file: number,
                offset,
                crc32c: crc32c::crc32c(&data),
                data,
                manifest: None,
            };
            give(chunks, chunk).await?;
            offset += read;
            sent += read;
            if let Some(rate) = rate {
                tokio::time::sleep_until(began + time_for(sent, rate)).await;
            }
            if said.elapsed() >= PROGRESS_EVERY {
                said = Instant::now();
                tracing::info!(%to, sent, total, "sending a snapshot");
            }
        }
    }
    Ok(())
}

/// How long so many bytes take at this rate.
fn time_for(bytes: u64, rate: NonZeroU64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A whole chunk, or what is left of the file.
async fn read(file: &mut File, left: u64) -> std::io::Result<Bytes> {
    let wanted = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
    let mut data = BytesMut::zeroed(wanted);
    file.read_exact(&mut data).await?;
    Ok(data.freeze())
}

async fn give(chunks: &Chunks, chunk: wire::SnapshotChunk) -> Result<(), Stopped> {
    let given = tokio::time::timeout(SNAPSHOT_IDLE_MAX, chunks.send(Ok(chunk))).await;
    match given {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Stopped::Receiver),
    }
}
