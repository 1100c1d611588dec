//! The disk of a node: the replicated log and the store built from it.
//!
//! The log is a row of segment files, written by one thread with one sync for
//! all that waits. It is also the write-ahead log of RocksDB, whose own is off:
//! every batch carries the position up to which it was applied. Entries are
//! opaque to the log; only the applier looks into them.
//!
//! Nothing here decides anything: what is appended, cut or applied is said by
//! the quorum. A disk that fails, or that does not hold what it was given,
//! stops the node ([`FatalError`]) or makes it a node that must be refilled
//! ([`Damage`]); it is never papered over.

mod applier;
mod aside;
mod damage;
mod directory;
mod error;
mod event;
mod files;
mod flush;
mod holds;
mod identity;
mod install;
mod lock;
mod look;
mod options;
mod reader;
mod scrub;
mod store;
mod table;
mod writer;

pub use aside::Aside;
pub use damage::Damage;
pub use directory::{outgoing_directory, staging_directory};
pub use error::{CheckpointError, ClusterError, FatalError, InstallError, OpenError};
pub use event::{Load, ReadLog, StoreEvent};
pub use holds::LogHold;
pub use identity::Identity;
pub use install::{install, verify};
pub use look::{Seen, look};
pub use options::{COMMANDS_MAX, Options, Scrub, SyncMode};
pub use replicamq_log::{BATCH_BYTES_MAX, DiskError, Fill, LogError};
pub use store::{CheckpointInfo, Notify, Opened, Sizes, Store};
