//! The replica's side: checks every chunk, writes it into a staging directory
//! and syncs it. Half a snapshot is an error, never a store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{Epoch, NodeId};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};

use super::SnapshotManifest;
use crate::limits::{CHUNK_BYTES, PROGRESS_EVERY, SNAPSHOT_IDLE_MAX};
use crate::peer;
use crate::state::Shared;
use crate::token::sign;

/// Why a snapshot could not be fetched. The staging directory holds nothing of use.
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

/// A file being written.
struct Writer {
    file: File,
    path: PathBuf,
    written: u64,
}

/// A transfer: which file is next, and how much came.
struct Transfer<'a> {
    staging: &'a Path,
    manifest: SnapshotManifest,
    /// The number of the file that is being written.
    number: usize,
    writer: Option<Writer>,
    received: u64,
}

impl Snapshots {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Writes the master's checkpoint into `staging`, which must be empty or
    /// absent, and syncs it.
    pub async fn fetch(
        &self,
        master: &NodeId,
        epoch: Epoch,
        staging: &Path,
    ) -> Result<SnapshotManifest, SnapshotError> {
        let failed = |status| SnapshotError::Master(Box::new(status));
        let mut client = peer::snapshot_client(&self.shared, master)
            .await
            .map_err(failed)?;
        let request = wire::SnapshotRequest {
            sender: Some(self.shared.config.sender()),
            epoch: epoch.0,
        };
        let request = sign(&self.shared.token, Request::new(request));
        let answer = tokio::time::timeout(SNAPSHOT_IDLE_MAX, client.snapshot(request)).await;
        let chunks = answer.map_err(|_| SnapshotError::Idle)?.map_err(failed)?;
        receive(master, chunks.into_inner(), staging).await
    }
}

async fn receive(
    master: &NodeId,
    mut chunks: Streaming<wire::SnapshotChunk>,
    staging: &Path,
) -> Result<SnapshotManifest, SnapshotError> {
    let first = next(&mut chunks).await?.and_then(|chunk| chunk.manifest);
    let none = || SnapshotError::Manifest("the first chunk has none".to_owned());
    let manifest =
        SnapshotManifest::from_wire(first.ok_or_else(none)?).map_err(SnapshotError::Manifest)?;
    let total = manifest.bytes();
    tracing::info!(%master, files = manifest.files.len(), bytes = total, "receiving a snapshot");
    let mut transfer = Transfer::new(staging, manifest).await?;
    let mut said = Instant::now();
    while let Some(chunk) = next(&mut chunks).await? {
        transfer.write(chunk).await?;
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            tracing::info!(%master, received = transfer.received, total, "receiving a snapshot");
        }
    }
    let manifest = transfer.finish().await?;
    tracing::info!(%master, bytes = total, "snapshot received");
    Ok(manifest)
}

async fn next(
    chunks: &mut Streaming<wire::SnapshotChunk>,
) -> Result<Option<wire::SnapshotChunk>, SnapshotError> {
    let next = tokio::time::timeout(SNAPSHOT_IDLE_MAX, chunks.message()).await;
    next.map_err(|_| SnapshotError::Idle)?
        .map_err(|status| SnapshotError::Master(Box::new(status)))
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |error| SnapshotError::Disk { path, error }
}

impl<'a> Transfer<'a> {
    async fn new(staging: &'a Path, manifest: SnapshotManifest) -> Result<Self, SnapshotError> {
        tokio::fs::create_dir_all(staging)
            .await
            .map_err(disk(staging))?;
        let mut transfer = Self {
            staging,
            manifest,
            number: 0,
            writer: None,
            received: 0,
        };
        transfer.open().await?;
        transfer.skip_complete().await?;
        Ok(transfer)
    }

    /// Opens the current file, if there is one. It must be new.
    async fn open(&mut self) -> Result<(), SnapshotError> {
        let Some(file) = self.manifest.files.get(self.number) else {
            return Ok(());
        };
        let path = self.staging.join(&file.name);
        let new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .await;
        self.writer = Some(Writer {
            file: new.map_err(disk(&path))?,
            path,
            written: 0,
        });
        Ok(())
    }

    /// Syncs files that are complete and opens the next that is not.
    async fn skip_complete(&mut self) -> Result<(), SnapshotError> {
        while let (Some(file), Some(writer)) =
            (self.manifest.files.get(self.number), &mut self.writer)
            && writer.written == file.bytes
        {
            writer.file.flush().await.map_err(disk(&writer.path))?;
            writer.file.sync_all().await.map_err(disk(&writer.path))?;
            self.writer = None;
            self.number += 1;
            self.open().await?;
        }
        Ok(())
    }

    async fn write(&mut self, chunk: wire::SnapshotChunk) -> Result<(), SnapshotError> {
        let (Some(file), Some(writer)) = (self.manifest.files.get(self.number), &mut self.writer)
        else {
            return Err(SnapshotError::Manifest(
                "more came than it lists".to_owned(),
            ));
        };
        let damaged = |why| SnapshotError::Damaged {
            file: file.name.clone(),
            offset: chunk.offset,
            why,
        };
        if usize::try_from(chunk.file) != Ok(self.number) || chunk.offset != writer.written {
            return Err(damaged("it is out of order"));
        }
        let bytes = chunk.data.len() as u64;
        if chunk.data.is_empty() || chunk.data.len() > CHUNK_BYTES {
            return Err(damaged("the chunk has a wrong size"));
        }
        if bytes > file.bytes - writer.written {
            return Err(damaged("the file is longer than announced"));
        }
        if crc32c::crc32c(&chunk.data) != chunk.crc32c {
            return Err(damaged("the checksum does not agree"));
        }
        writer
            .file
            .write_all(&chunk.data)
            .await
            .map_err(disk(&writer.path))?;
        writer.written += bytes;
        self.received += bytes;
        self.skip_complete().await
    }

    async fn finish(self) -> Result<SnapshotManifest, SnapshotError> {
        if self.number < self.manifest.files.len() {
            return Err(SnapshotError::Incomplete {
                received: self.received,
                total: self.manifest.bytes(),
            });
        }
        // The names are durable only with their directory.
        for directory in [Some(self.staging), self.staging.parent()]
            .into_iter()
            .flatten()
        {
            if directory.as_os_str().is_empty() {
                continue;
            }
            let opened = File::open(directory).await.map_err(disk(directory))?;
            opened.sync_all().await.map_err(disk(directory))?;
        }
        Ok(self.manifest)
    }
}
