//! What happens to a node, and what it wants done.

use bytes::Bytes;
use replicamq_core::{Command, ConnectionId, LoadRequest};
use replicamq_quorum::Epoch;

/// The two clocks: one that never goes back, for intervals, and the calendar,
/// for timestamps and expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back.
    pub monotonic_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something for the replicated log; its ticks drive the broker, too.
    Quorum(replicamq_quorum::Event),
    /// A client asks something.
    Command {
        /// Who.
        connection: ConnectionId,
        /// What.
        command: Command,
    },
    /// The answer to [`Effect::Load`].
    Loaded {
        /// The token of the request.
        token: u64,
        /// Keys and values, in key order.
        pairs: Vec<(Bytes, Bytes)>,
        /// The range holds more.
        more: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// For the log, the network or ZooKeeper.
    Quorum(replicamq_quorum::Effect),
    /// For a client.
    Client(replicamq_core::Effect),
    /// Read the store, after everything that was to be applied before.
    Load(LoadRequest),
    /// Open the client connectors: this node is master and its broker is built.
    Serve {
        /// The epoch.
        epoch: Epoch,
    },
    /// Close the client connectors and drop every client connection without a
    /// word, so that clients fail over.
    Retire,
    /// The store holds what this build cannot read: the node must stop.
    Unreadable {
        /// What, and what to do.
        reason: String,
    },
}
