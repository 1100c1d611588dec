//! The few things done with directories, each durable when it returns.

use std::fs::{self, File};
use std::path::Path;

use replicamq_log::{Context, Disk, DiskError, RealDisk};

/// Makes renames, creations and removals in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), DiskError> {
    RealDisk
        .sync_directory(path)
        .context("sync the directory", path)
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
