//! What a broker does: destinations, subscriptions, transactions, dispatch.
//!
//! Pure: commands and store answers go in, effects and store operations come
//! out. No clock, socket, disk, task or random number lives here, and nothing
//! here knows that the store is replicated.

mod command;
mod effect;

pub use command::{
    Acknowledge, AcknowledgeMode, Command, ConnectionId, Disposition, Receipt, Send, Subscribe,
    SubscriptionId, TransactionId,
};
pub use effect::{Delivery, DeliveryId, Effect, LoadRequest, Refusal};
