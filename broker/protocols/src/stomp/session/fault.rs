//! Why a session ends early, in words for the client and for the log.

use replicamq_core::Refusal;
use thiserror::Error;

use crate::stomp::{Verb, Version, Violation};

/// What a client did wrong, or asked in vain. STOMP knows no smaller answer
/// than an ERROR, after which the connection closes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The bytes are not STOMP as it should be.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The broker cannot do what was asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No version that both ends speak.
    #[error(
        "no common version: the client accepts {accept:?}, this broker speaks {}",
        Version::ALL
    )]
    NoCommonVersion {
        /// The client's `accept-version`.
        accept: String,
    },
    /// Anything before CONNECT.
    #[error(
        "{verb} before CONNECT: open the session with CONNECT or STOMP, and wait for CONNECTED"
    )]
    NotConnected {
        /// The frame.
        verb: Verb,
    },
    /// A second CONNECT.
    #[error("{verb} on a connection that has its session already: open another connection")]
    AlreadyConnected {
        /// The frame.
        verb: Verb,
    },
    /// A frame that only brokers send.
    #[error("{verb} is a frame that brokers send, not clients")]
    NotForBrokers {
        /// The frame.
        verb: Verb,
    },
    /// A frame that the session's version does not have.
    #[error("STOMP {version} has no {verb}: offer a later accept-version in CONNECT")]
    NotInVersion {
        /// The frame.
        verb: Verb,
        /// The session's version.
        version: Version,
    },
    /// A header that must be there is not.
    #[error("{verb} lacks its header {name}: {cure}")]
    HeaderMissing {
        /// The frame.
        verb: Verb,
        /// The header.
        name: &'static str,
        /// What to write.
        cure: &'static str,
    },
    /// A header's value does not fit.
    #[error("header {name}:{value} of {verb} is not {expected}")]
    HeaderInvalid {
        /// The frame.
        verb: Verb,
        /// The header.
        name: &'static str,
        /// As it came.
        value: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A header asks for what this broker cannot do; to ignore it would change
    /// what the client's program does.
    #[error("header {name} of {verb}: {reason}")]
    NotSupported {
        /// The frame.
        verb: Verb,
        /// The header.
        name: String,
        /// What is not there, and the way around it.
        reason: &'static str,
    },
    /// The id or destination is taken.
    #[error(
        "this session already has a subscription {name:?}: send UNSUBSCRIBE first, or choose another id"
    )]
    SubscriptionExists {
        /// Its id; its destination if it has none.
        name: String,
    },
    /// No such subscription.
    #[error("this session has no subscription {name:?}")]
    SubscriptionUnknown {
        /// The id or destination.
        name: String,
    },
    /// The subscription acknowledges by itself.
    #[error(
        "{verb} for a message of subscription {name:?}, whose messages need none: subscribe with ack:client or ack:client-individual"
    )]
    NothingToAcknowledge {
        /// ACK or NACK.
        verb: Verb,
        /// The subscription's id or destination.
        name: String,
    },
    /// The message is not outstanding.
    #[error(
        "{verb} for {id:?}, which is no unacknowledged message of this session: it was acknowledged before, or went back when its subscription ended"
    )]
    DeliveryUnknown {
        /// ACK or NACK.
        verb: Verb,
        /// As the client named it.
        id: String,
    },
    /// The transaction is open already.
    #[error(
        "transaction {name:?} is open already on this connection: COMMIT or ABORT it first, or choose another name"
    )]
    TransactionExists {
        /// Its name.
        name: String,
    },
    /// The transaction is not open.
    #[error("transaction {name:?} is not open on this connection: send BEGIN first")]
    TransactionUnknown {
        /// Its name.
        name: String,
    },
    /// A bound of the session.
    #[error("this connection has {limit} {what} already: {cure}")]
    LimitReached {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// What to do.
        cure: &'static str,
    },
    /// No CONNECT came.
    #[error("no CONNECT within {limit_ms} ms, the connect_timeout of this broker")]
    ConnectTimeout {
        /// [`super::SessionConfig::connect_ms_max`].
        limit_ms: u64,
    },
    /// A large frame came too slowly.
    #[error(
        "{verb} is larger than {bytes} bytes and did not come whole within {limit_ms} ms: send it faster, or in parts"
    )]
    FrameTimeout {
        /// The frame.
        verb: Verb,
        /// [`super::SessionConfig::large_frame_bytes`].
        bytes: usize,
        /// [`super::SessionConfig::large_frame_ms_max`].
        limit_ms: u64,
    },
    /// There was no room for a large frame.
    #[error(
        "{verb} is larger than {bytes} bytes and found no room within {limit_ms} ms: such frames of all connections may take {limit} bytes together until they have come whole; send it again later, or in parts"
    )]
    NoRoom {
        /// The frame.
        verb: Verb,
        /// [`super::SessionConfig::large_frame_bytes`].
        bytes: usize,
        /// [`super::SessionConfig::large_frame_ms_max`].
        limit_ms: u64,
        /// [`super::SessionConfig::large_frames_bytes_max`].
        limit: usize,
    },
    /// The client stopped its signs of life.
    #[error("nothing was heard for {silence_ms} ms, although the client promised heart-beats")]
    Silent {
        /// For how long.
        silence_ms: u64,
    },
}

impl Fault {
    /// A few words for the `message` header of the ERROR.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Violation(violation) => violation.title(),
            Self::Refused(refusal) => refusal_title(refusal),
            Self::NoCommonVersion { .. } => "no common version",
            Self::NotConnected { .. } => "not connected",
            Self::AlreadyConnected { .. } => "already connected",
            Self::NotForBrokers { .. } | Self::NotInVersion { .. } => "unexpected command",
            Self::HeaderMissing { .. } => "missing header",
            Self::HeaderInvalid { .. } => "invalid header",
            Self::NotSupported { .. } => "not supported",
            Self::SubscriptionExists { .. } => "subscription exists",
            Self::SubscriptionUnknown { .. } => "unknown subscription",
            Self::NothingToAcknowledge { .. } => "nothing to acknowledge",
            Self::DeliveryUnknown { .. } => "unknown message",
            Self::TransactionExists { .. } => "transaction exists",
            Self::TransactionUnknown { .. } => "unknown transaction",
            Self::LimitReached { .. } | Self::NoRoom { .. } => "limit reached",
            Self::FrameTimeout { .. } => "frame timeout",
            Self::ConnectTimeout { .. } => "connect timeout",
            Self::Silent { .. } => "heart-beat timeout",
        }
    }
}

fn refusal_title(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::InvalidDestination { .. } => "invalid destination",
        Refusal::ClientIdInUse { .. } => "client id in use",
        Refusal::ClientIdMissing => "client id missing",
        Refusal::DurableInUse { .. } => "durable subscription in use",
        Refusal::DurableUnknown { .. } => "unknown durable subscription",
        Refusal::SubscriptionExists => "subscription exists",
        Refusal::SubscriptionUnknown => "unknown subscription",
        Refusal::DeliveryUnknown => "unknown message",
        Refusal::TransactionUnknown => "unknown transaction",
        Refusal::TransactionExists => "transaction exists",
        Refusal::LimitReached { .. } => "limit reached",
        // The body has the core's own words.
        _ => "refused",
    }
}
