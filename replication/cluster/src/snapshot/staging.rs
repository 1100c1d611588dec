//! The directory in which a checkpoint is put together: what of it is complete, file
//! after file, and what comes next. Known to this process alone: with the process goes
//! the knowledge, and the directory is emptied.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{Epoch, NodeId, Position};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::{SnapshotError, SnapshotManifest};
use crate::limits::CHUNK_BYTES;
use crate::state::Shared;

/// What came of a checkpoint. Each file before `complete` is whole, checked and synced.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    master: NodeId,
    epoch: Epoch,
    directory: PathBuf,
    manifest: Arc<SnapshotManifest>,
    complete: usize,
}

/// A file being written.
struct Writer {
    file: File,
    path: PathBuf,
    written: u64,
}

/// A transfer: which file is next, and how much came.
pub(crate) struct Transfer<'a> {
    shared: &'a Shared,
    staged: Staged,
    writer: Option<Writer>,
    received: u64,
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |error| SnapshotError::Disk { path, error }
}

fn unless_absent(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// Removes it with all that is in it.
pub(super) async fn empty(directory: &Path) -> Result<(), SnapshotError> {
    let removed = tokio::fs::remove_dir_all(directory).await;
    removed.or_else(unless_absent).map_err(disk(directory))
}

impl Staged {
    pub(crate) fn new(
        master: &NodeId,
        epoch: Epoch,
        directory: &Path,
        manifest: SnapshotManifest,
    ) -> Self {
        Self {
            master: master.clone(),
            epoch,
            directory: directory.to_owned(),
            manifest: Arc::new(manifest),
            complete: 0,
        }
    }

    pub(super) fn manifest(&self) -> &SnapshotManifest {
        &self.manifest
    }

    /// Whether a fetch may go on with it. Entries may have come since from the log, and
    /// been answered: what ends below them must not take their place.
    pub(super) fn continues(
        &self,
        master: &NodeId,
        epoch: Epoch,
        directory: &Path,
        held: Option<Position>,
    ) -> bool {
        self.manifest.checkpoint != 0
            && self.master == *master
            && self.epoch == epoch
            && self.directory == directory
            && held.is_none_or(|held| held <= self.manifest.applied)
    }

    pub(super) fn to_wire(&self) -> wire::Resume {
        wire::Resume {
            checkpoint: self.manifest.checkpoint,
            file: u32::try_from(self.complete).expect("a manifest has fewer files"),
        }
    }
}

impl<'a> Transfer<'a> {
    pub(crate) async fn new(shared: &'a Shared, staged: Staged) -> Result<Self, SnapshotError> {
        let directory = &staged.directory;
        tokio::fs::create_dir_all(directory)
            .await
            .map_err(disk(directory))?;
        if let Some(file) = staged.manifest.files.get(staged.complete) {
            let partial = directory.join(&file.name);
            let removed = tokio::fs::remove_file(&partial).await;
            removed.or_else(unless_absent).map_err(disk(&partial))?;
        }
        let complete = staged.manifest.files.iter().take(staged.complete);
        let received = complete.fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        let mut transfer = Self {
            shared,
            staged,
            writer: None,
            received,
        };
        transfer.note();
        transfer.open().await?;
        transfer.skip_complete().await?;
        Ok(transfer)
    }

    /// Of all files, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.staged.manifest.bytes()
    }

    /// What is here already, in bytes.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// For the fetch after this one.
    fn note(&self) {
        self.shared.state().staged = Some(self.staged.clone());
    }

    /// Opens the current file, if there is one. It must be new.
    async fn open(&mut self) -> Result<(), SnapshotError> {
        let Some(file) = self.staged.manifest.files.get(self.staged.complete) else {
            return Ok(());
        };
        let path = self.staged.directory.join(&file.name);
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
        while let (Some(file), Some(writer)) = (
            self.staged.manifest.files.get(self.staged.complete),
            &mut self.writer,
        ) && writer.written == file.bytes
        {
            writer.file.flush().await.map_err(disk(&writer.path))?;
            writer.file.sync_all().await.map_err(disk(&writer.path))?;
            self.writer = None;
            self.staged.complete += 1;
            self.note();
            self.open().await?;
        }
        Ok(())
    }

    pub(crate) async fn write(&mut self, chunk: wire::SnapshotChunk) -> Result<(), SnapshotError> {
        let (Some(file), Some(writer)) = (
            self.staged.manifest.files.get(self.staged.complete),
            &mut self.writer,
        ) else {
            return Err(SnapshotError::Manifest(
                "more came than it lists".to_owned(),
            ));
        };
        let damaged = |why| SnapshotError::Damaged {
            file: file.name.clone(),
            offset: chunk.offset,
            why,
        };
        if usize::try_from(chunk.file) != Ok(self.staged.complete) || chunk.offset != writer.written
        {
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
        self.received = self.received.saturating_add(bytes);
        self.skip_complete().await
    }

    pub(crate) async fn finish(self) -> Result<SnapshotManifest, SnapshotError> {
        if self.staged.complete < self.staged.manifest.files.len() {
            return Err(SnapshotError::Incomplete {
                received: self.received,
                total: self.total(),
            });
        }
        let directory = &self.staged.directory;
        self.check_sizes().await?;
        // The names are durable only with their directory.
        for directory in [Some(directory.as_path()), directory.parent()]
            .into_iter()
            .flatten()
        {
            if directory.as_os_str().is_empty() {
                continue;
            }
            let opened = File::open(directory).await.map_err(disk(directory))?;
            opened.sync_all().await.map_err(disk(directory))?;
        }
        Ok(SnapshotManifest::clone(&self.staged.manifest))
    }

    /// All files came, but not all of them just now: nothing else may lie there.
    async fn check_sizes(&self) -> Result<(), SnapshotError> {
        let directory = &self.staged.directory;
        let differs = |why| SnapshotError::Staging {
            directory: directory.clone(),
            why,
        };
        let files = &self.staged.manifest.files;
        for file in files {
            let path = directory.join(&file.name);
            let found = tokio::fs::symlink_metadata(&path).await;
            let found = found.map_err(disk(&path))?;
            if !found.is_file() || found.len() != file.bytes {
                return Err(differs(format!(
                    "{} has {} bytes, not {}",
                    file.name,
                    found.len(),
                    file.bytes
                )));
            }
        }
        let mut entries = tokio::fs::read_dir(directory)
            .await
            .map_err(disk(directory))?;
        let mut found = 0_usize;
        while let Some(entry) = entries.next_entry().await.map_err(disk(directory))? {
            found += 1;
            if found > files.len() {
                let name = entry.file_name();
                return Err(differs(format!("{} is one file too many", name.display())));
            }
        }
        Ok(())
    }
}
