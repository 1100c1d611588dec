//! What happens to a replica of the log, and what it wants done.

use crate::{Entry, Epoch, EpochHistory, Keeper, Message, NodeId, Position, Sequence};

/// What a node found on its disk when it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The highest epoch promised.
    pub promised: Epoch,
    /// The last entry in the log (durable: it was just read from the disk).
    pub last: Position,
    /// The last entry visible in the store.
    pub applied: Sequence,
    /// Which epoch wrote what.
    pub history: EpochHistory,
    /// The first sequence that the log still holds, and can ship.
    pub log_first: Sequence,
    /// The store may not be built upon: it was wiped or damaged, and needs a checkpoint.
    pub unfilled: bool,
    /// A checkpoint was installed, but what was acknowledged since may be
    /// missing: no promise before the log has caught up with a master's commits.
    pub filling: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time passed; comes at least every heartbeat.
    Tick,
    /// ZooKeeper was read: after connecting and at each change.
    Keeper(Keeper),
    /// The ZooKeeper session or its connection is gone.
    KeeperLost,
    /// The versioned write of the epoch was answered. After a failure the
    /// keeper is read again.
    Claimed {
        /// The epoch that was claimed.
        epoch: Epoch,
        /// Whether it is ours.
        won: bool,
    },
    /// A message came.
    Received {
        /// From whom.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// The stream between a master and its replica is gone, or could not be opened.
    /// On a replica: `node` is the master; on a master: the replica.
    Unlinked {
        /// The other end.
        node: NodeId,
    },
    /// Everything up to here is written; and everything up to `durable` synced.
    Logged {
        /// Written to the operating system.
        appended: Position,
        /// Synced to the disk.
        durable: Position,
    },
    /// The log was cut. Until this comes, [`Event::Logged`] may still speak of what was cut.
    Truncated {
        /// Its last entry.
        keep: Position,
    },
    /// ZooKeeper knows this node with another store: this one is empty or foreign.
    Unfilled,
    /// The promise is on the disk, and so is all that was appended before it.
    PromiseStored {
        /// The epoch.
        epoch: Epoch,
    },
    /// Everything up to here is visible in the store.
    Applied {
        /// How far.
        sequence: Sequence,
    },
    /// The answer to [`Effect::ReadLog`]; empty if the log does not reach back so far.
    LogRead {
        /// For whom.
        to: NodeId,
        /// The entry before the first.
        after: Sequence,
        /// Contiguous.
        entries: Vec<Entry>,
    },
    /// The log dropped its oldest segments.
    LogTrimmed {
        /// The first sequence it still holds.
        first: Sequence,
    },
}

/// What a node is, for operators, listeners and the other crates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Looking for a master, or for a quorum.
    Electing,
    /// Claimed an epoch and collects promises.
    Candidate {
        /// The epoch.
        epoch: Epoch,
    },
    /// Takes entries from a master.
    Replica {
        /// Whose.
        master: NodeId,
        /// The master's epoch.
        epoch: Epoch,
    },
    /// Elected, but the own first entry is not yet committed and applied: no client is served.
    Rising {
        /// The epoch.
        epoch: Epoch,
    },
    /// The master: clients may be served.
    Master {
        /// The epoch.
        epoch: Epoch,
    },
}

/// What is to be done. The order within one step does not matter, except that
/// effects on the log (`Append`, `Truncate`, `StorePromise`) are carried out in
/// the order in which they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append to the log and sync; answered by [`Event::Logged`].
    Append(Vec<Entry>),
    /// Cut the log after `keep`; never below what is committed. Answered by [`Event::Truncated`].
    Truncate {
        /// The last entry that stays.
        keep: Position,
    },
    /// Sync this promise to the disk; answered by [`Event::PromiseStored`].
    StorePromise {
        /// The epoch.
        epoch: Epoch,
    },
    /// Make committed entries visible in the store, in order, after everything
    /// applied before. Answered by [`Event::Applied`].
    Apply(Vec<Entry>),
    /// Like `Apply`, for entries no longer in memory: read them from the log.
    Replay {
        /// Up to here, inclusive.
        to: Sequence,
    },
    /// Send to a node. `Ask` and `Promise` go to any member; the rest on the
    /// stream between a master and a replica. Whatever cannot be sent is dropped.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Open a stream to this master, in place of any other, and send this first.
    Follow {
        /// The master.
        master: NodeId,
        /// Where we stand.
        hello: crate::Hello,
    },
    /// Close the stream to our master.
    Unfollow,
    /// Close a replica's stream.
    Unlink {
        /// Whose.
        node: NodeId,
    },
    /// Read entries for a replica that is behind; answered by [`Event::LogRead`].
    ReadLog {
        /// For whom.
        to: NodeId,
        /// The entry before the first wanted.
        after: Sequence,
        /// Stop once so many bytes were read; at least one entry.
        bytes_max: usize,
    },
    /// Fetch a checkpoint from this master, put it in place of the store and start again.
    /// If it cannot be had, it is tried again for as long as the stream to the master lives.
    /// Abandoned by the next `Install`, `Follow` or `Unfollow`: what was appended
    /// and answered after it must not be replaced by something older.
    Install {
        /// From whom.
        master: NodeId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The log caught up: the node may promise again, and says so in ZooKeeper.
    Filled,
    /// Write the next epoch to ZooKeeper if the znode still has this version.
    Claim {
        /// The epoch to claim.
        epoch: Epoch,
        /// The version it must replace.
        version: i32,
    },
    /// The role changed.
    Role(Role),
    /// Everything up to here is committed.
    Committed {
        /// How far.
        sequence: Sequence,
    },
    /// Whether the lease is held: without it a master neither answers nor dispatches.
    Lease {
        /// Held or not.
        held: bool,
    },
    /// The master lacks entries that were committed here, in a mode in which that
    /// cannot be: only an operator can tell whose are right. Nothing may follow.
    Diverged(String),
    /// Something an operator should read.
    Note(String),
}
