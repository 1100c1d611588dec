//! The few things that the log does with files everywhere. Each failure names
//! the file.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use crate::error::Context;
use crate::{Disk, DiskError, DiskFile};

/// Writes that cover whole pages need not read them first.
pub const PAGE_BYTES: u64 = 4096;

/// Zeros are written, and files copied, in pieces of this size.
const CHUNK_BYTES: usize = 1 << 20;

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// Makes renames, creations and removals in a directory durable.
pub(crate) fn sync_directory(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    disk.sync_directory(path)
        .context("sync the directory", path)
}

/// Reads a whole small file; `None` if it is not there.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    let whole = || -> io::Result<Vec<u8>> {
        let file = disk.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    match whole() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("read", path),
    }
}

/// Pieces of `[from, to)`.
fn chunks(from: u64, to: u64) -> impl Iterator<Item = (u64, usize)> {
    (from..to).step_by(CHUNK_BYTES).map(move |at| {
        let bytes = (to - at).min(CHUNK_BYTES as u64);
        (at, usize::try_from(bytes).expect("a chunk fits"))
    })
}

/// Writes zeros over `[from, to)`.
pub(crate) fn zero(file: &dyn DiskFile, path: &Path, from: u64, to: u64) -> Result<(), DiskError> {
    for (at, bytes) in chunks(from, to) {
        file.write_all_at(&ZEROS[..bytes], at)
            .context_at("write", path, at)?;
    }
    Ok(())
}

/// Writes what is read from `[from, to)` over itself, so that a sync that follows
/// writes it to the disk, whatever became of an earlier one.
pub(crate) fn rewrite(
    file: &dyn DiskFile,
    path: &Path,
    from: u64,
    to: u64,
) -> Result<(), DiskError> {
    let mut chunk = Vec::new();
    for (at, bytes) in chunks(from, to) {
        chunk.resize(bytes, 0);
        file.read_exact_at(&mut chunk, at)
            .context_at("read", path, at)?;
        file.write_all_at(&chunk, at)
            .context_at("write", path, at)?;
    }
    Ok(())
}

/// Copies a file as it is read; nobody relies on the copy.
pub(crate) fn copy(disk: &dyn Disk, from: &Arc<dyn DiskFile>, to: &Path) -> Result<(), DiskError> {
    let whole = || -> io::Result<()> {
        let copy = disk.create(to)?;
        let mut chunk = Vec::new();
        for (at, bytes) in chunks(0, from.len()?) {
            chunk.resize(bytes, 0);
            from.read_exact_at(&mut chunk, at)?;
            copy.write_all_at(&chunk, at)?;
        }
        Ok(())
    };
    whole().context("keep a copy as", to)
}

/// Removes a file, if it is there.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("remove", path),
        _ => Ok(()),
    }
}
