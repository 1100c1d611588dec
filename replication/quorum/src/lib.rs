//! Who is master, and what is committed.
//!
//! Pure: events and the time go in, effects come out. It knows no disk, no
//! network, no clock and not what an entry means; equal inputs give equal
//! outputs, so that a whole cluster runs under simulated faults.

mod candidate;
mod cursors;
mod entry;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod limits;
mod majority;
mod master;
mod member;
mod message;
mod outlook;
mod position;
mod progress;
mod quorum;
mod replica;
mod stall;
mod sync;
mod tail;
#[cfg(test)]
mod tests;
mod transfer;

pub use entry::Entry;
pub use event::{Effect, Event, Recovered, Role};
pub use limits::Limits;
pub use majority::majority;
pub use master::ReplicaStatus;
pub use member::{EpochRecord, Keeper, Member, NodeId};
pub use message::{Appended, AskAnswer, Entries, Hello, Message, PromiseAnswer};
pub use outlook::{Outlook, UNFILLED};
pub use position::{EPOCHS_MAX, Epoch, EpochHistory, EpochStart, Position, Sequence};
pub use quorum::{Config, Quorum};
pub use sync::{Copy, SyncMode};
pub use transfer::TransferError;
