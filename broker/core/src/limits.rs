//! Every bound of the broker, with a name and a default.

/// A message, encoded. A frame that a client may send must fit into it, and it into the
/// largest batch of the store: whoever sets those two looks here.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// The messages of one transaction, which are one batch. The largest message alone fits.
pub const TRANSACTION_BYTES_MAX: usize = 32 << 20;

/// A selector, as it is written. What one costs to keep and to evaluate grows with it: at the worst
/// some 40 bytes of memory for each, and a look at all headers of a message for every two.
pub const SELECTOR_BYTES_MAX: usize = 8 << 10;

/// Parentheses, signs and NOT around each other in a selector: what reads or evaluates it needs
/// stack for each.
pub const SELECTOR_DEPTH_MAX: usize = 64;

/// Characters between two `%` of a LIKE, if `_` is among them: each costs so much time for each
/// character of a text.
pub const SELECTOR_RUN_CHARACTERS_MAX: usize = 256;

/// The broker's bounds. A client that would pass one is refused, waits, or
/// loses only what it may lose; the process never grows without end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// Subscriptions of one connection.
    pub connection_subscriptions_max: usize,
    /// Open transactions of one connection.
    pub connection_transactions_max: usize,
    /// Bytes of deliveries that one connection has not yet acknowledged. One
    /// delivery is always allowed, however large.
    pub connection_outstanding_bytes_max: usize,
    /// The same over all connections.
    pub outstanding_bytes_max: usize,
    /// Queues and topics, known by use.
    pub destinations_max: usize,
    /// Durable subscriptions, connected or not.
    pub durables_max: usize,
    /// Acknowledgements of one durable subscription ahead of its oldest
    /// unacknowledged message; it gets nothing new until that one is settled.
    pub durable_marks_max: usize,
    /// Bytes in the name of a destination, client or durable subscription.
    pub name_bytes_max: usize,
    /// Bytes of one message, encoded.
    pub message_bytes_max: usize,
    /// Sends and acknowledgements in one transaction.
    pub transaction_operations_max: usize,
    /// Bytes of messages held by one transaction.
    pub transaction_bytes_max: usize,
    /// Bytes of messages held by all open transactions.
    pub transactions_bytes_max: usize,
    /// Messages of one queue or durable subscription kept in memory, ready for
    /// consumers; the rest waits in the store.
    pub window_messages_max: usize,
    /// The same in bytes.
    pub window_bytes_max: usize,
    /// The same in bytes over all queues and durable subscriptions.
    pub windows_bytes_max: usize,
    /// Bytes of non-persistent messages, which have no other place than memory.
    pub volatile_bytes_max: usize,
    /// The same of one queue or durable subscription. One that has none may take
    /// any message or transaction for which there is room in all.
    pub volatile_queue_bytes_max: usize,
    /// Message groups of one queue whose consumers are remembered. Of more, the one that was quiet
    /// for the longest is forgotten, and its next message goes to whose turn it is.
    pub groups_max: usize,
    /// Messages waiting for one slow topic subscriber; the oldest is dropped for the next.
    pub topic_pending_messages_max: usize,
    /// The same in bytes.
    pub topic_pending_bytes_max: usize,
    /// Messages that all durable subscriptions are done with, before they are deleted together.
    pub topic_trim_messages: u64,
    /// The same in bytes.
    pub topic_trim_bytes: usize,
    /// Failed deliveries after the first, before a message goes to `ActiveMQ.DLQ`.
    pub redeliveries_max: u32,
    /// The keys of the last so many stored sends, over all destinations, are
    /// remembered to recognise a repetition. One costs 28 to 39 bytes of memory.
    pub duplicate_window: u32,
    /// The same for sends that are not stored.
    pub duplicate_window_volatile: u32,
    /// How far the watermark "may have been delivered" runs ahead of deliveries.
    pub dispatched_step: u64,
    /// Messages that a browser reads at a time.
    pub browse_page_messages: usize,
    /// The same in bytes.
    pub browse_page_bytes: usize,
    /// How often memory is searched for expired messages.
    pub expiry_interval_ms: u64,
    /// Messages that are only in the store and looked at in that time.
    pub sweep_page_messages: usize,
    /// The same in bytes.
    pub sweep_page_bytes: usize,
    /// A destination without messages and consumers that nobody has used for so
    /// long is forgotten.
    pub forget_after_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connection_subscriptions_max: 1_000,
            connection_transactions_max: 100,
            connection_outstanding_bytes_max: 16 << 20,
            outstanding_bytes_max: 256 << 20,
            destinations_max: 10_000,
            durables_max: 10_000,
            durable_marks_max: 10_000,
            name_bytes_max: 1_024,
            message_bytes_max: MESSAGE_BYTES_MAX,
            transaction_operations_max: 65_536,
            transaction_bytes_max: TRANSACTION_BYTES_MAX,
            transactions_bytes_max: 256 << 20,
            window_messages_max: 1_000,
            window_bytes_max: 4 << 20,
            windows_bytes_max: 64 << 20,
            volatile_bytes_max: 64 << 20,
            volatile_queue_bytes_max: 16 << 20,
            groups_max: 65_536,
            topic_pending_messages_max: 1_000,
            topic_pending_bytes_max: 4 << 20,
            topic_trim_messages: 256,
            topic_trim_bytes: 1 << 20,
            redeliveries_max: 6,
            duplicate_window: 400_000,
            duplicate_window_volatile: 65_536,
            dispatched_step: 1_000,
            browse_page_messages: 100,
            browse_page_bytes: 1 << 20,
            expiry_interval_ms: 500,
            sweep_page_messages: 500,
            sweep_page_bytes: 1 << 20,
            forget_after_ms: 600_000,
        }
    }
}
