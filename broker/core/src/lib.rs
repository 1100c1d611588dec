//! What a broker does: destinations, subscriptions, transactions, dispatch.
//!
//! Pure: commands and store answers go in, effects and store operations come
//! out. No clock, socket, disk, task or random number lives here, and nothing
//! here knows that the store is replicated.
//!
//! [`Broker`] is the way in. `Feed` is the heart: an ordered stream of
//! messages for consumers, kept in memory only as far as it is about to be
//! delivered.
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

mod address;
mod backlog;
mod batch;
mod broker;
mod client;
mod command;
mod duplicate;
mod effect;
mod entry;
mod feed;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gone;
mod groups;
mod header;
mod keyspace;
mod limits;
mod outbox;
mod rest;
mod ring;
mod selector;
mod slab;
mod topic;
mod transaction;
mod view;
mod views;

pub use address::{Address, DestinationKind};
pub use broker::{Boot, BootError, Broker, DEAD_LETTER_HEADERS, DestinationStatus};
pub use command::{
    Acknowledge, AcknowledgeMode, Command, ConnectionId, Disposition, Receipt, Send, Subscribe,
    SubscriptionId, TransactionId,
};
pub use effect::{Delivery, DeliveryId, Effect, LoadRequest, Refusal};
pub use limits::{
    Limits, MESSAGE_BYTES_MAX, SELECTOR_BYTES_MAX, SELECTOR_DEPTH_MAX, SELECTOR_RUN_CHARACTERS_MAX,
    TRANSACTION_BYTES_MAX,
};
pub use selector::{
    Identifier, JmsHeader, Redelivery, Selector, SelectorError, SelectorFault, StringNumbers,
    Value, message_value,
};
