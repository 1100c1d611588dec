//! The replicated log on a disk: segments, the notes that say what they are
//! worth, and what a start makes of them after a crash.
//!
//! It is a crate of its own, without RocksDB and without threads that it did
//! not ask its [`Disk`] for, so that the simulator drives what ships: every
//! access to a file goes through that trait. Entries are opaque here.
//!
//! A disk that fails stops the node ([`LogError`]); one that does not hold what
//! it was given is told apart from one that was torn ([`Damage`]). Nothing is
//! papered over.

mod damage;
mod disk;
mod dry;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod log;
mod notes;
pub mod pace;
pub mod sealed;

pub use damage::Damage;
pub use disk::{Aside, Disk, DiskFile, Ready, RealDisk, Work};
pub use dry::DryDisk;
pub use error::{Context, DiskError, LogError, OpenError, remedy};
pub use files::PAGE_BYTES;
pub use log::{BATCH_BYTES_MAX, Cursor, Floor, Index, Log, LogOptions, Retention};
pub use notes::{Fill, Notes, Preview, Recovery};
