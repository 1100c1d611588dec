//! What a client asks of the broker, whatever protocol it speaks.
//!
//! Sessions in `protocols` translate frames into these; nothing here is
//! specific to one protocol.

use replicamq_proto::store::v1::Message;

use crate::effect::DeliveryId;

/// A client's socket, numbered by the server; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A subscription, numbered by its session; unique within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

/// A transaction, numbered by its session; unique within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u64);

/// The session's own number for an answer that it owes; echoed in
/// [`Effect::Receipt`](crate::Effect::Receipt) and
/// [`Effect::Refused`](crate::Effect::Refused).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub u64);

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A session has begun. `client_id` makes durable subscriptions possible
    /// and may be used by one connection at a time.
    Connect {
        /// The client's chosen name, if any.
        client_id: Option<String>,
        /// Owed when the connection is accepted.
        receipt: Receipt,
    },
    /// The session ended, for whatever reason. Unacknowledged deliveries
    /// return to their queues; open transactions are rolled back.
    Disconnect,
    /// Store or forward one message.
    Send(Box<Send>),
    /// Begin to receive.
    Subscribe(Box<Subscribe>),
    /// Stop receiving; unacknowledged deliveries return.
    Unsubscribe {
        /// The subscription to end.
        subscription: SubscriptionId,
        /// Owed when done.
        receipt: Option<Receipt>,
    },
    /// Delete a durable subscription and what waits for it.
    /// Refused while it is in use.
    DeleteDurable {
        /// Its name under the connection's client id.
        name: String,
        /// Owed once the deletion is committed.
        receipt: Option<Receipt>,
    },
    /// A consumer is done with deliveries, or gives them back.
    Acknowledge(Acknowledge),
    /// Deliveries of [`AcknowledgeMode::Auto`] subscriptions, up to and
    /// including this one, have been handed to the socket: they count as
    /// acknowledged and their credit is free again.
    Written {
        /// The subscription that they went to.
        subscription: SubscriptionId,
        /// The last one written.
        last: DeliveryId,
    },
    /// Open a transaction.
    Begin {
        /// Its number.
        transaction: TransactionId,
        /// Owed when it is open.
        receipt: Option<Receipt>,
    },
    /// Make everything in a transaction happen, atomically.
    Commit {
        /// Its number.
        transaction: TransactionId,
        /// Owed once it is committed on a quorum.
        receipt: Option<Receipt>,
    },
    /// Forget a transaction's sends; give its acknowledged deliveries back.
    Abort {
        /// Its number.
        transaction: TransactionId,
        /// Owed when it is gone.
        receipt: Option<Receipt>,
    },
    /// Nothing but an answer once everything this connection asked before is done.
    Flush {
        /// The answer.
        receipt: Receipt,
    },
}

/// One message for one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    /// The message; `destination` is parsed by the core ([`crate::Address`]).
    /// An empty `id` and a zero `timestamp_ms` are filled in by the core.
    pub message: Message,
    /// A key chosen by the client: a second send to the same destination with
    /// the same key, within the window, is answered like the first and stored once.
    pub duplicate_key: Option<String>,
    /// The transaction that this send belongs to.
    pub transaction: Option<TransactionId>,
    /// Owed once the message is safe: committed on a quorum if persistent,
    /// in memory otherwise.
    pub receipt: Option<Receipt>,
}

/// How deliveries of a subscription are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcknowledgeMode {
    /// When written to the socket.
    Auto,
    /// By the client; one acknowledgement covers everything delivered on the
    /// subscription up to it.
    Cumulative,
    /// By the client, one by one.
    Individual,
}

/// A consumer's interest in a destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    /// The session's number for it.
    pub subscription: SubscriptionId,
    /// The destination as written, e.g. `/queue/x` or `/topic/y`.
    pub destination: String,
    /// How deliveries are acknowledged.
    pub mode: AcknowledgeMode,
    /// Deliveries that may be outstanding at a time; at least 1.
    pub credit: u32,
    /// Show the queue's messages without consuming them; [`Effect::BrowseEnd`](crate::Effect::BrowseEnd) follows the last.
    pub browse: bool,
    /// Name of a durable topic subscription; needs a client id.
    pub durable: Option<String>,
    /// Which messages it wants, as a condition on their headers (see [`Selector`](crate::Selector)); blank is
    /// none. What it does not select of a queue stays for others.
    pub selector: Option<String>,
    /// Of a queue: consumers with a higher priority get messages as long as they have credit, those
    /// with a lower one only then.
    pub priority: i8,
    /// Of a queue: among the consumers who want this, the one with the highest priority, or the
    /// first of several, alone gets messages; when it goes, the next does.
    pub exclusive: bool,
    /// Owed once deliveries may begin (and, for a new durable subscription, it is committed).
    pub receipt: Option<Receipt>,
}

/// Whether a consumer took its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Done with: they go from the queue.
    Accepted,
    /// Not processed: redelivered, and after the redelivery limit moved to the dead-letter queue.
    Rejected,
}

/// One acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledge {
    /// The subscription that received the delivery.
    pub subscription: SubscriptionId,
    /// The delivery; with [`AcknowledgeMode::Cumulative`] all before it, too.
    pub delivery: DeliveryId,
    /// What became of it.
    pub disposition: Disposition,
    /// The transaction that the acknowledgement belongs to.
    pub transaction: Option<TransactionId>,
    /// Owed once the acknowledgement is committed on a quorum.
    pub receipt: Option<Receipt>,
}
