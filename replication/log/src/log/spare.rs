//! Files that wait to become segments: recycled ones, or new ones written full
//! of zeros, so that a later sync has no metadata to write.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Context;
use crate::log::LogOptions;
use crate::log::segment::Segment;
use crate::{Aside, Disk, DiskError, Ready, files};

/// Zeros that are synced at once.
const PIECE_BYTES: u64 = 2 << 20;

#[derive(Debug)]
pub(crate) struct Spares {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    ready: Option<Ready>,
    /// A file that is being filled with zeros.
    making: Option<Aside>,
    made: u64,
}

impl Spares {
    /// Removes what an earlier run left. Where something is damaged, a spare may hold anything, also
    /// a copy of the segment whose number it would get: that one's entries would come back.
    pub(crate) fn discard(options: &LogOptions) -> Result<(), DiskError> {
        let disk = &*options.disk;
        for name in names(options)? {
            files::remove(disk, &options.directory.join(name))?;
        }
        Ok(())
    }

    /// Takes over what an earlier run left.
    pub(crate) fn open(options: &LogOptions) -> Result<Self, DiskError> {
        let mut spares = Self {
            disk: Arc::clone(&options.disk),
            directory: options.directory.clone(),
            segment_bytes: options.segment_bytes,
            ready: None,
            making: None,
            made: 0,
        };
        let disk = &*options.disk;
        let mut fitting = None;
        for name in names(options)? {
            let path = options.directory.join(name);
            let file = disk.open(&path).context("open", &path)?;
            let bytes = file.len().context("read", &path)?;
            if fitting.is_none() && bytes == options.segment_bytes {
                fitting = Some((path, file));
            } else {
                files::remove(disk, &path)?;
            }
        }
        // Names made in this run start at 0 again. Only once all others are gone: an earlier
        // run may have left this very name on another file.
        if let Some((path, file)) = fitting {
            let kept = spares.name("kept");
            if path != kept {
                disk.rename(&path, &kept).context("rename", &path)?;
            }
            spares.ready = Some((kept, file));
        }
        Ok(spares)
    }

    fn name(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{kind}-{}.spare", self.made))
    }

    /// A file of zeros of this size, made now.
    pub(crate) fn first(&self, bytes: u64) -> Result<Ready, DiskError> {
        make(&*self.disk, self.name("first"), bytes)
    }

    /// Starts to make a file ready, unless there is one.
    pub(crate) fn prepare(&mut self) -> Result<(), DiskError> {
        if self.ready.is_some() || self.making.is_some() {
            return Ok(());
        }
        self.made += 1;
        let path = self.name("new");
        let bytes = self.segment_bytes;
        let disk = Arc::clone(&self.disk);
        let making = self
            .disk
            .aside(Box::new(move || make(&*disk, path, bytes)))
            .context("start a thread to make a segment in", &self.directory)?;
        self.making = Some(making);
        Ok(())
    }

    /// A file of at least this size, without waiting for one that is being made.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<Ready, DiskError> {
        if let Some(making) = self.making.take_if(|making| making.is_finished()) {
            self.ready = Some(making.join()?);
        }
        if bytes <= self.segment_bytes
            && let Some(ready) = self.ready.take()
        {
            return Ok(ready);
        }
        self.made += 1;
        let path = self.name("new");
        let file = self.disk.create(&path).context("create", &path)?;
        let bytes = bytes
            .max(self.segment_bytes)
            .next_multiple_of(files::PAGE_BYTES);
        file.reserve(bytes).context("reserve space for", &path)?;
        Ok((path, file))
    }

    /// Keeps the file of a segment that is no longer needed, or removes it.
    pub(crate) fn recycle(&mut self, segment: &Segment) -> Result<(), DiskError> {
        let fits = segment.bytes == self.segment_bytes;
        if self.ready.is_some() || self.making.is_some() || !fits {
            return files::remove(&*self.disk, &segment.path);
        }
        self.made += 1;
        let path = self.name("old");
        self.disk
            .rename(&segment.path, &path)
            .context("recycle", &segment.path)?;
        // Readers may still hold the file; the index says that it changed.
        self.ready = Some((path, Arc::clone(&segment.file)));
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        if let Some(making) = self.making.take() {
            // What it made, or why it could not, matters to nobody any more.
            drop(making.join());
        }
    }
}

/// The names of all that are there.
fn names(options: &LogOptions) -> Result<Vec<String>, DiskError> {
    let mut names = options
        .disk
        .list(&options.directory)
        .context("list", &options.directory)?;
    names.retain(|name| name.strip_suffix(".spare").is_some());
    Ok(names)
}

fn make(disk: &dyn Disk, path: PathBuf, bytes: u64) -> Result<Ready, DiskError> {
    let file = disk.create(&path).context("create", &path)?;
    file.reserve(bytes).context("reserve space for", &path)?;
    // In pieces, so that the log's own syncs do not wait behind all of it.
    let mut at = 0;
    while at < bytes {
        let end = bytes.min(at + PIECE_BYTES);
        files::zero(&*file, &path, at, end)?;
        file.sync_data().context("sync", &path)?;
        at = end;
    }
    Ok((path, file))
}
