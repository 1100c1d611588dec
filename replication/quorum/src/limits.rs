//! The bounds and intervals of replication, each with its reason.

/// Times are milliseconds of the node's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A master sends something to each replica at least this often.
    pub heartbeat_ms: u64,
    /// A master that heard less than a quorum for so long stops answering and dispatching.
    pub lease_ms: u64,
    /// A replica that heard nothing for so long no longer refuses an election.
    /// Longer than the lease.
    pub suspicion_ms: u64,
    /// A master without a quorum for so long steps down.
    pub step_down_ms: u64,
    /// A disk that owes an answer for so long is taken to hang: a master gives
    /// up its epoch, and nobody counts on this node's promise. Longer than any
    /// sync that clients should rather wait for than fail over.
    pub disk_stall_ms: u64,
    /// So long each of those that should stand before us is given to do so:
    /// whatever keeps it, a quorum without it is enough. Longer than an election.
    pub deference_ms: u64,
    /// With a quorum of answers in hand, wait so long for the others.
    pub settle_ms: u64,
    /// So long a successor has, to whom a master hands over; nothing is accepted meanwhile.
    pub transfer_ms: u64,
    /// An election without a result starts again after this.
    pub election_ms: u64,
    /// Entries kept in memory for replicas that are a little behind; those
    /// further behind are served from the log.
    pub tail_bytes_max: usize,
    /// A master accepts no further batch while so much is uncommitted.
    pub pipeline_bytes_max: usize,
    /// Handed to the store in memory and not yet applied; what is committed
    /// beyond that stays in the log until the store has caught up.
    pub applying_bytes_max: usize,
    /// A master accepts no further batch while it has proposed so much, or so
    /// many, that are not applied: memory and disk that only the store frees.
    pub unapplied_bytes_max: usize,
    /// See there. Below what the queues to the disk's threads hold.
    pub unapplied_entries_max: usize,
    /// Shipped to one replica and not yet answered.
    pub ship_bytes_max: usize,
    /// One `Entries` message; a single larger entry goes alone.
    pub message_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat_ms: 50,
            lease_ms: 500,
            suspicion_ms: 800,
            step_down_ms: 2_000,
            disk_stall_ms: 2_000,
            deference_ms: 1_000,
            settle_ms: 100,
            transfer_ms: 1_000,
            election_ms: 500,
            tail_bytes_max: 16 << 20,
            pipeline_bytes_max: 64 << 20,
            applying_bytes_max: 16 << 20,
            unapplied_bytes_max: 64 << 20,
            unapplied_entries_max: 3_072,
            ship_bytes_max: 16 << 20,
            message_bytes_max: 1 << 20,
        }
    }
}
