//! What the broker wants done: answers, deliveries and reads of the store.

use std::sync::Arc;

use bytes::Bytes;
use replicamq_proto::store::v1::Message;
use thiserror::Error;

use crate::command::{ConnectionId, Receipt, SubscriptionId};
use crate::selector::SelectorError;

/// One handing-over of a message to a subscription. Rises within a
/// subscription; a redelivery gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// What the broker wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The command that carried this receipt is done, as safely as it asked for.
    Receipt {
        /// To whom.
        connection: ConnectionId,
        /// The session's number.
        receipt: Receipt,
    },
    /// The command cannot be done. `receipt` is that of the command, if it had one.
    /// Nothing of the command has happened.
    Refused {
        /// To whom.
        connection: ConnectionId,
        /// The session's number.
        receipt: Option<Receipt>,
        /// Why, naming the object and the cure.
        refusal: Refusal,
    },
    /// Hand a message to a consumer.
    Deliver(Delivery),
    /// A browser has seen everything.
    BrowseEnd {
        /// To whom.
        connection: ConnectionId,
        /// Which browser.
        subscription: SubscriptionId,
    },
    /// Read a range of keys and answer with `Broker::loaded`.
    Load(LoadRequest),
}

/// One message on its way to a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// To whom.
    pub connection: ConnectionId,
    /// On which subscription.
    pub subscription: SubscriptionId,
    /// Named again in the acknowledgement.
    pub delivery: DeliveryId,
    /// The message, shared with the queue.
    pub message: Arc<Message>,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// How often it was delivered before, as far as is known.
    pub redeliveries: u32,
}

/// A bounded read of the store, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRequest {
    /// Echoed in the answer.
    pub token: u64,
    /// The first key wanted.
    pub from: Bytes,
    /// The first key no longer wanted.
    pub to: Bytes,
    /// At most so many pairs…
    pub pairs_max: usize,
    /// …and no further pair once so many bytes were read.
    pub bytes_max: usize,
}

/// Why a command cannot be done. The text goes to the client as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The address does not parse.
    #[error("invalid destination {address:?}: {reason}; use /queue/NAME or /topic/NAME")]
    InvalidDestination {
        /// As written.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something else came before CONNECT.
    #[error("this connection has not been accepted: send CONNECT first")]
    NotConnected,
    /// CONNECT came twice.
    #[error("this connection was accepted before: send CONNECT once")]
    AlreadyConnected,
    /// The selector does not parse.
    #[error("{0}")]
    InvalidSelector(SelectorError),
    /// Another connection has this client id.
    #[error(
        "client id {client_id:?} is already connected; a client id belongs to one connection at a time: close the other one or choose another id"
    )]
    ClientIdInUse {
        /// The id.
        client_id: String,
    },
    /// A durable subscription without a client id.
    #[error("a durable subscription needs a client id: send a client-id header with CONNECT")]
    ClientIdMissing,
    /// The durable subscription has an active consumer.
    #[error("durable subscription {name:?} is in use; close its consumer first")]
    DurableInUse {
        /// Its name.
        name: String,
    },
    /// No such durable subscription.
    #[error("there is no durable subscription {name:?} for this client id")]
    DurableUnknown {
        /// Its name.
        name: String,
    },
    /// Durable subscriptions and browsers go to one kind of destination each.
    #[error("{address:?} cannot be used so: {reason}")]
    WrongKind {
        /// As written.
        address: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The subscription id is taken.
    #[error("this connection already has a subscription with this id")]
    SubscriptionExists,
    /// No such subscription.
    #[error("this connection has no subscription with this id")]
    SubscriptionUnknown,
    /// The delivery is not outstanding.
    #[error(
        "no unacknowledged delivery with this id on this subscription: it was acknowledged before, or went back when its subscription ended"
    )]
    DeliveryUnknown,
    /// The transaction is not open.
    #[error("transaction is not open on this connection: send BEGIN first")]
    TransactionUnknown,
    /// The transaction is open already.
    #[error("transaction is already open on this connection")]
    TransactionExists,
    /// A named limit would be passed.
    #[error("{what} would pass its limit of {limit}: {cure}")]
    LimitReached {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// What to do.
        cure: &'static str,
    },
}
