//! Where a node's log and notes lie on a simulated disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use replicamq_log::{LogOptions, Retention};

use crate::platter::Platter;

/// The notes lie here, and each generation of the log in a directory below.
pub(crate) const DIRECTORY: &str = "/node";

/// Where this generation of the log lies.
pub(crate) fn directory(generation: u64) -> PathBuf {
    Path::new(DIRECTORY).join(format!("generation-{generation}"))
}

/// Of a log that is dropped for its size alone: a run has no use for ages.
pub(crate) fn options(
    platter: &Platter,
    generation: u64,
    segment_bytes: u64,
    retention_bytes: u64,
) -> LogOptions {
    LogOptions {
        disk: Arc::new(platter.clone()),
        directory: directory(generation),
        segment_bytes,
        retention: Retention {
            bytes: retention_bytes,
            age: Duration::MAX,
        },
    }
}

/// Removes generations that do not count, as the store does.
pub(crate) fn remove_others(platter: &Platter, generation: u64) {
    let own = directory(generation);
    for path in platter.paths() {
        if path.parent() != Some(Path::new(DIRECTORY)) && path.parent() != Some(&own) {
            platter.lose(&path);
        }
    }
}
