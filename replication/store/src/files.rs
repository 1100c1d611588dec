//! The few things done with files everywhere, each durable when it returns.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;

use crate::DiskError;
use crate::error::Context;

/// Writes that cover whole pages need not read them first.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Zeros are written in pieces of this size.
const ZERO_CHUNK_BYTES: usize = 1 << 20;

static ZEROS: [u8; ZERO_CHUNK_BYTES] = [0; ZERO_CHUNK_BYTES];

/// Makes renames, creations and removals in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), DiskError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .context("sync the directory", path)
}

/// Opens an existing file for reading and writing.
pub(crate) fn open(path: &Path) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .context("open", path)
}

/// Makes a file, or empties the one that is there.
pub(crate) fn create(path: &Path) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .context("create", path)
}

/// Reserves the space of a file, so that a full disk shows now.
pub(crate) fn reserve(file: &File, path: &Path, bytes: u64) -> Result<(), DiskError> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Some file systems cannot: then the size is set and space found on writing.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes).context("grow", path),
        Err(error) => Err(error.into()).context("reserve space for", path),
    }
}

/// Writes zeros over `[from, to)`.
pub(crate) fn zero(file: &File, path: &Path, from: u64, to: u64) -> Result<(), DiskError> {
    let mut at = from;
    while at < to {
        let bytes = (to - at).min(ZERO_CHUNK_BYTES as u64);
        let bytes = usize::try_from(bytes).expect("a chunk fits");
        file.write_all_at(&ZEROS[..bytes], at)
            .context_at("write", path, at)?;
        at += bytes as u64;
    }
    Ok(())
}

/// Writes what is read from `[from, to)` over itself, so that a sync that follows
/// writes it to the disk, whatever became of an earlier one.
pub(crate) fn rewrite(file: &File, path: &Path, from: u64, to: u64) -> Result<(), DiskError> {
    let mut chunk = vec![0; ZERO_CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let bytes = (to - at).min(ZERO_CHUNK_BYTES as u64);
        let chunk = &mut chunk[..usize::try_from(bytes).expect("a chunk fits")];
        file.read_exact_at(chunk, at).context_at("read", path, at)?;
        file.write_all_at(chunk, at).context_at("write", path, at)?;
        at += bytes;
    }
    Ok(())
}

/// Makes a directory and those above it, as far as they are not there: durable
/// when it returns.
pub(crate) fn create_directories(path: &Path) -> Result<(), DiskError> {
    let missing = path
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty())
        .take_while(|path| !path.exists())
        .count();
    fs::create_dir_all(path).context("make the directory", path)?;
    for made in path.ancestors().take(missing) {
        let parent = match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        sync_directory(parent)?;
    }
    Ok(())
}

/// Syncs every file in a flat directory, and the directory.
pub(crate) fn sync_tree(path: &Path) -> Result<(), DiskError> {
    for entry in fs::read_dir(path).context("list", path)? {
        let file = entry.context("list", path)?.path();
        File::open(&file)
            .and_then(|opened| opened.sync_all())
            .context("sync", &file)?;
    }
    sync_directory(path)
}

/// Removes a directory and all in it, if it is there.
pub(crate) fn remove_tree(path: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("remove", path)
        }
        _ => Ok(()),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("remove", path)
        }
        _ => Ok(()),
    }
}
