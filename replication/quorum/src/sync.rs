//! What a commit waits for, by the original store's names.

/// How safe one copy must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copy {
    /// Not waited for.
    None,
    /// Written to the operating system: lost with a power failure.
    Memory,
    /// Synced to the disk.
    Disk,
}

/// What a commit waits for: the master's own copy, and those of as many
/// replicas as make a quorum with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncMode {
    /// The master's own copy.
    pub local: Copy,
    /// The replicas' copies.
    pub remote: Copy,
}

impl SyncMode {
    /// `quorum_disk`: synced on a quorum. The default, and the only mode that
    /// keeps the promise against power loss.
    pub const QUORUM_DISK: Self = Self {
        local: Copy::Disk,
        remote: Copy::Disk,
    };

    /// Whether what was committed is on a quorum, so that any later master has it.
    #[must_use]
    pub fn survives_the_master(self) -> bool {
        self.local != Copy::None && self.remote != Copy::None
    }

    /// Whether some copy that a commit waits for must be synced. Any node may
    /// have to give it, as master or as replica: then every node syncs what it
    /// appends.
    #[must_use]
    pub fn syncs(self) -> bool {
        self.local == Copy::Disk || self.remote == Copy::Disk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_that_wants_a_disk_has_every_node_sync() {
        for local in [Copy::None, Copy::Memory, Copy::Disk] {
            for remote in [Copy::None, Copy::Memory, Copy::Disk] {
                let disk = [local, remote].contains(&Copy::Disk);
                assert_eq!(SyncMode { local, remote }.syncs(), disk);
            }
        }
    }
}
