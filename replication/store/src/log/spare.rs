//! Files that wait to become segments: recycled ones, or new ones written full
//! of zeros, so that a later sync has no metadata to write.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::error::Context;
use crate::log::segment::Segment;
use crate::{DiskError, files};

/// Zeros that are synced at once.
const PIECE_BYTES: u64 = 2 << 20;

type Ready = (PathBuf, File);

pub(crate) struct Spares {
    directory: PathBuf,
    segment_bytes: u64,
    ready: Option<Ready>,
    /// A thread that fills a file with zeros. It ends by itself.
    making: Option<JoinHandle<Result<Ready, DiskError>>>,
    made: u64,
}

impl Spares {
    /// Takes over what an earlier run left.
    pub(crate) fn open(directory: &Path, segment_bytes: u64) -> Result<Self, DiskError> {
        let mut spares = Self {
            directory: directory.to_owned(),
            segment_bytes,
            ready: None,
            making: None,
            made: 0,
        };
        for entry in fs::read_dir(directory).context("list", directory)? {
            let path = entry.context("list", directory)?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != "spare")
            {
                continue;
            }
            let file = files::open(&path)?;
            let bytes = file.metadata().context("read", &path)?.len();
            // Names made in this run start at 0 again.
            if spares.ready.is_none() && bytes == segment_bytes {
                let kept = spares.name("kept");
                fs::rename(&path, &kept).context("rename", &path)?;
                spares.ready = Some((kept, file));
            } else {
                files::remove(&path)?;
            }
        }
        Ok(spares)
    }

    fn name(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{kind}-{}.spare", self.made))
    }

    /// A file of zeros of this size, made now.
    pub(crate) fn first(&self, bytes: u64) -> Result<Ready, DiskError> {
        make(&self.name("first"), bytes)
    }

    /// Starts to make a file ready, unless there is one.
    pub(crate) fn prepare(&mut self) -> Result<(), DiskError> {
        if self.ready.is_some() || self.making.is_some() {
            return Ok(());
        }
        self.made += 1;
        let path = self.name("new");
        let bytes = self.segment_bytes;
        let making = thread::Builder::new()
            .name("replicamq-spare".to_owned())
            .spawn(move || make(&path, bytes))
            .context("start a thread to make a segment in", &self.directory)?;
        self.making = Some(making);
        Ok(())
    }

    /// A file of at least this size, without waiting for one that is being made.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<Ready, DiskError> {
        if let Some(making) = self.making.take_if(|making| making.is_finished()) {
            self.ready = Some(join(making)?);
        }
        if bytes <= self.segment_bytes
            && let Some(ready) = self.ready.take()
        {
            return Ok(ready);
        }
        self.made += 1;
        let path = self.name("new");
        let file = files::create(&path)?;
        let bytes = bytes
            .max(self.segment_bytes)
            .next_multiple_of(files::PAGE_BYTES);
        files::reserve(&file, &path, bytes)?;
        Ok((path, file))
    }

    /// Keeps the file of a segment that is no longer needed, or removes it.
    pub(crate) fn recycle(&mut self, segment: &Segment) -> Result<(), DiskError> {
        let fits = segment.bytes == self.segment_bytes;
        if self.ready.is_some() || self.making.is_some() || !fits {
            return files::remove(&segment.path);
        }
        self.made += 1;
        let path = self.name("old");
        fs::rename(&segment.path, &path).context("recycle", &segment.path)?;
        // Readers may still hold the file; the index says that it changed.
        let file = Arc::clone(&segment.file)
            .try_clone()
            .context("recycle", &segment.path)?;
        self.ready = Some((path, file));
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        if let Some(making) = self.making.take() {
            // What it made, or why it could not, matters to nobody any more.
            drop(join(making));
        }
    }
}

fn join(making: JoinHandle<Result<Ready, DiskError>>) -> Result<Ready, DiskError> {
    making.join().expect("making a file does not panic")
}

fn make(path: &Path, bytes: u64) -> Result<Ready, DiskError> {
    let file = files::create(path)?;
    files::reserve(&file, path, bytes)?;
    // In pieces, so that the log's own syncs do not wait behind all of it.
    let mut at = 0;
    while at < bytes {
        let end = bytes.min(at + PIECE_BYTES);
        files::zero(&file, path, at, end)?;
        file.sync_data().context("sync", path)?;
        at = end;
    }
    Ok((path.to_owned(), file))
}
