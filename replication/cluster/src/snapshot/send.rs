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
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::outgoing::Made;
use super::{CheckpointSource, SnapshotFile, SnapshotManifest, is_plain};
use crate::limits::{
    CHECKPOINT_KEPT, CHECKPOINT_REMOVED, CHUNK_BYTES, CHUNKS_AHEAD_MAX, PROGRESS_EVERY,
    SNAPSHOT_IDLE_MAX,
};
use crate::state::Shared;

type Chunks = mpsc::Sender<Result<wire::SnapshotChunk, Status>>;

/// Makes checkpoints and sends them.
pub(crate) struct SnapshotSender {
    checkpoints: CheckpointSource,
    /// Bytes a second for each, so that clients do not feel it.
    rate: Option<NonZeroU64>,
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

/// To whom what goes.
struct Sending {
    to: NodeId,
    /// Among the transfers of this node.
    number: u64,
    made: Arc<Made>,
    /// The first file that goes.
    first: usize,
}

impl SnapshotSender {
    pub(crate) fn new(checkpoints: CheckpointSource, rate: Option<NonZeroU64>) -> Self {
        Self { checkpoints, rate }
    }

    /// Goes on with the checkpoint that the replica asks for, or makes a new one. Either
    /// ends an earlier transfer to the same replica.
    pub(crate) async fn send(
        &self,
        shared: &Arc<Shared>,
        to: NodeId,
        epoch: Epoch,
        resume: Option<wire::Resume>,
    ) -> Result<ReceiverStream<Result<wire::SnapshotChunk, Status>>, Status> {
        let known = resume.and_then(|resume| shared.state().outgoing.resume(&to, epoch, resume));
        let (made, first) = match known {
            Some(known) => known,
            None => (self.make(shared, &to, epoch).await?, 0),
        };
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let rate = self.rate;
        let task = |made, number| {
            let sending = Sending {
                to: to.clone(),
                number,
                made,
                first,
            };
            shared.spawn(run(Arc::clone(shared), sending, chunks, rate))
        };
        if !shared.state().outgoing.begin(&to, made, task) {
            return Err(stopping());
        }
        Ok(ReceiverStream::new(stream))
    }

    async fn make(
        &self,
        shared: &Arc<Shared>,
        to: &NodeId,
        epoch: Epoch,
    ) -> Result<Arc<Made>, Status> {
        let place = place(shared, to).await?;
        let source = Arc::clone(&self.checkpoints);
        let replica = to.clone();
        // The place goes along: a caller that hangs up does not end the making.
        let made = tokio::task::spawn_blocking(move || (source(&replica, epoch), place));
        let (checkpoint, place) = made.await.map_err(|_| stopping())?;
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
            checkpoint: rand::random::<NonZeroU64>().get(),
            epoch,
            applied: checkpoint.applied,
            history: checkpoint.history.clone(),
            files: list(&checkpoint.directory).await.map_err(unreadable)?,
        };
        let runtime = shared.runtime.clone();
        Ok(Arc::new(Made::new(manifest, checkpoint, place, runtime)))
    }
}

fn stopping() -> Status {
    Status::unavailable("the node is stopping")
}

/// A place for one more checkpoint. What this replica no longer asks for makes room,
/// and what another one left and did not come back for.
async fn place(shared: &Shared, to: &NodeId) -> Result<OwnedSemaphorePermit, Status> {
    let busy = || Status::resource_exhausted("enough snapshots are being sent: try later");
    let dropped = shared.state().outgoing.drop_of(to);
    if let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() {
        return Ok(place);
    }
    if !dropped && !shared.state().outgoing.make_room() {
        return Err(busy());
    }
    let place = Arc::clone(&shared.places).acquire_owned();
    match tokio::time::timeout(CHECKPOINT_REMOVED, place).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => Err(busy()),
    }
}

/// Sends, and keeps the checkpoint for a while if the receiver goes away: it may come back.
async fn run(shared: Arc<Shared>, sending: Sending, chunks: Chunks, rate: Option<NonZeroU64>) {
    let Sending { to, number, .. } = &sending;
    let sent = tokio::select! {
        biased;
        sent = send(&sending, &chunks, rate) => sent,
        // It is noticed while the disk or the rate is waited for, too. What was being
        // read is read again.
        () = chunks.closed() => Err(Stopped::Receiver),
    };
    match sent {
        Ok(()) => tracing::info!(%to, bytes = sending.made.manifest.bytes(), "snapshot sent"),
        Err(Stopped::Receiver) => {
            // One that only takes nothing any more shall know.
            drop(chunks);
            if shared.state().outgoing.keep(to, *number) {
                tracing::warn!(
                    %to,
                    "the receiver of a snapshot went away, or takes nothing any more: the checkpoint is kept for a minute"
                );
                tokio::time::sleep(CHECKPOINT_KEPT).await;
            }
        }
        Err(Stopped::Files(why)) => {
            tracing::error!(%to, "the snapshot cannot be sent: {why}");
            // The receiver may be gone too, or take nothing.
            let told = chunks.send(Err(Status::data_loss(why)));
            drop(tokio::time::timeout(SNAPSHOT_IDLE_MAX, told).await);
        }
    }
    shared.state().outgoing.end(to, *number);
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

async fn send(sending: &Sending, chunks: &Chunks, rate: Option<NonZeroU64>) -> Result<(), Stopped> {
    let Sending {
        to, made, first, ..
    } = sending;
    let manifest = &made.manifest;
    let total = manifest.bytes();
    tracing::info!(%to, files = manifest.files.len(), bytes = total, first, "sending a snapshot");
    let announcement = wire::SnapshotChunk {
        manifest: Some(manifest.to_wire()),
        ..wire::SnapshotChunk::default()
    };
    give(chunks, announcement).await?;
    let began = Instant::now();
    let (mut sent, mut said) = (0, began);
    for (number, file) in (0..).zip(&manifest.files).skip(*first) {
        let failed = |error: std::io::Error| Stopped::Files(format!("{}: {error}", file.name));
        let mut reader = File::open(made.directory.join(&file.name))
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
