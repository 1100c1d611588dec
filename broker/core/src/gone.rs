//! Messages that are done with and may still be read: their deletion is not committed, or was
//! committed after the read had begun.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Of one feed. Kept only for what somebody may read: what lies in a gap.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    sequences: BTreeSet<u64>,
    /// With the batch that deletes each, rising.
    deletions: VecDeque<(u64, u64)>,
    /// The reads under way, with the last batch that was committed when each began.
    reads: BTreeMap<u64, u64>,
}

impl Gone {
    /// `batch` deletes the message. False if one did before.
    pub(crate) fn insert(&mut self, sequence: u64, batch: u64) -> bool {
        let is_new = self.sequences.insert(sequence);
        if is_new {
            self.deletions.push_back((batch, sequence));
        }
        is_new
    }

    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.sequences.contains(&sequence)
    }

    pub(crate) fn read_begins(&mut self, token: u64, committed: u64) {
        self.reads.insert(token, committed);
    }

    /// The read was answered, and its answer looked at, or nobody waits for it any more.
    pub(crate) fn read_ends(&mut self, token: u64, committed: u64) {
        self.reads.remove(&token);
        self.forget(committed);
    }

    /// A read that begins now sees all deletions up to the batch `committed`.
    pub(crate) fn forget(&mut self, committed: u64) {
        let seen = self.reads.values().copied().fold(committed, u64::min);
        while let Some((_, sequence)) = self.deletions.pop_front_if(|(batch, _)| *batch <= seen) {
            self.sequences.remove(&sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_is_known_until_no_read_can_miss_it() {
        let mut gone = Gone::default();
        assert!(gone.insert(7, 3));
        assert!(!gone.insert(7, 4), "it is deleted once");
        gone.read_begins(1, 2);
        gone.forget(3);
        assert!(gone.contains(7), "the read began before");
        gone.read_begins(2, 3);
        gone.read_ends(1, 3);
        assert!(!gone.contains(7));
        gone.insert(8, 4);
        gone.read_ends(2, 3);
        assert!(gone.contains(8), "not committed");
        gone.forget(4);
        assert!(!gone.contains(8));
    }
}
