//! What a log is made of.

use bytes::Bytes;

use crate::Position;

/// A batch with its place in the log. The bytes are encoded once and are the
/// same on every disk and wire. An empty batch marks the start of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub position: Position,
    /// An encoded `replicamq.store.v1.Batch`; opaque here.
    pub batch: Bytes,
}
