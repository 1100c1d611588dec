//! What all sessions of a listener have in common.

use crate::stomp::{HeartBeat, Limits};

/// Settings and bounds of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// The `server` header of CONNECTED, e.g. `ReplicaMQ/0.1.0`.
    pub server: String,
    /// Bounds on a frame.
    pub limits: Limits,
    /// Signs of life that the broker offers and would like. These are floors:
    /// a client gets its own wish where that is slower.
    pub heart_beat: HeartBeat,
    /// A connection without a CONNECT is closed after this time.
    pub connect_ms_max: u64,
    /// Deliveries that may be outstanding on a subscription that does not say.
    /// Invariant: at least 1.
    pub prefetch: u32,
    /// A client that asks for more gets this. Invariant: at least 1.
    pub prefetch_max: u32,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Open transactions of one session.
    pub transactions_max: usize,
    /// Receipts that a session may be owed; then it is not read any further.
    pub receipts_max: usize,
    /// After so many commands a session stops reading until they are taken.
    pub commands_max: usize,
    /// A frame of which so much has come without its end is large: it needs room.
    pub large_frame_bytes: usize,
    /// A large frame ends within this time, or its connection does.
    pub large_frame_ms_max: u64,
    /// Room for the large frames of all connections together.
    pub large_frames_bytes_max: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            server: concat!("ReplicaMQ/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
            heart_beat: HeartBeat {
                send_ms: 1_000,
                receive_ms: 5_000,
            },
            connect_ms_max: 30_000,
            prefetch: 1_000,
            prefetch_max: 65_535,
            subscriptions_max: 1_000,
            transactions_max: 100,
            receipts_max: 16_384,
            commands_max: 64,
            large_frame_bytes: 64 * 1024,
            large_frame_ms_max: 120_000,
            large_frames_bytes_max: 256 * 1024 * 1024,
        }
    }
}
