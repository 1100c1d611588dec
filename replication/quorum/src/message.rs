//! What nodes say to each other.

use crate::{Entry, Epoch, EpochHistory, NodeId, Position, Sequence};

/// One message; the transport adds who sends it and refuses other clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Would you promise? Changes nothing. It carries no position: the answerer
    /// tells its own, and the asker decides who stands.
    Ask,
    /// The answer.
    AskAnswer(AskAnswer),
    /// Promise me this epoch, durably.
    Promise {
        /// The claimed epoch.
        epoch: Epoch,
    },
    /// The answer.
    PromiseAnswer(PromiseAnswer),
    /// A replica's first message to its master.
    Hello(Hello),
    /// A replica's progress.
    Appended(Appended),
    /// A master's entries, or a heartbeat when there are none.
    Entries(Entries),
    /// A master's order to cut the log after `keep`.
    Truncate {
        /// The master's epoch.
        epoch: Epoch,
        /// The last entry that stays.
        keep: Position,
    },
    /// A master's word that its log no longer reaches back to the replica.
    TakeSnapshot {
        /// The master's epoch.
        epoch: Epoch,
    },
    /// A master's wish that this replica, which has everything, leads from now on.
    Lead {
        /// The master's epoch.
        epoch: Epoch,
    },
    /// The other side will not go on, because a later epoch exists or it is not master.
    Refused {
        /// The highest epoch the refuser knows.
        epoch: Epoch,
        /// For the log.
        reason: String,
    },
}

/// The answer to [`Message::Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskAnswer {
    /// `None`: it would promise.
    pub unwilling: Option<String>,
    /// The highest epoch that the answerer promised.
    pub promised: Epoch,
    /// Where its log ends: all of it is synced before a promise.
    pub durable: Position,
    /// Its weight.
    pub weight: u32,
    /// Its znode's number.
    pub rank: i64,
    /// The master that the answerer is, or hears.
    pub master: Option<(NodeId, Epoch)>,
}

/// The answer to [`Message::Promise`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromiseAnswer {
    /// `None`: the promise is on disk, and `durable` is the whole log.
    pub refused: Option<String>,
    /// The epoch promised, or the higher one that stands in the way.
    pub epoch: Epoch,
    /// The answerer's last durable position.
    pub durable: Position,
}

/// Where a replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The epoch it promised.
    pub epoch: Epoch,
    /// The last entry in its log.
    pub last: Position,
    /// Which epoch wrote what in it.
    pub history: EpochHistory,
    /// Its store may not be built upon: it was wiped or damaged.
    pub unfilled: bool,
}

/// A replica's progress, cumulative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The master's epoch.
    pub epoch: Epoch,
    /// Written to its log.
    pub appended: Position,
    /// Synced to its disk.
    pub durable: Position,
    /// Visible in its store.
    pub applied: Sequence,
    /// The stamp of the last [`Entries`] received: the master's lease counts from it.
    pub stamp_ms: u64,
}

/// Entries from the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries {
    /// The master's epoch.
    pub epoch: Epoch,
    /// The entry before the first of these; they fit only after it.
    pub previous: Position,
    /// Contiguous.
    pub entries: Vec<Entry>,
    /// Everything up to here is committed.
    pub committed: Sequence,
    /// The master's clock when it sent this; echoed, never compared with another clock.
    pub stamp_ms: u64,
}
