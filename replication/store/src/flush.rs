//! When RocksDB is to flush, so that the log that a start would replay stays short.

use std::collections::VecDeque;

use replicamq_quorum::Sequence;

/// RocksDB is asked how far it flushed after so much.
const LOOK_BYTES: u64 = 1 << 20;

/// Bytes are counted from the start of the process.
#[derive(Debug)]
pub(crate) struct FlushPolicy {
    /// Flush once so much was applied that is not flushed.
    bytes_max: u64,
    applied: u64,
    /// How much of that is known to be flushed.
    flushed: u64,
    /// How much was applied when a flush was last asked for…
    asked: u64,
    /// …and when RocksDB was.
    looked: u64,
    /// The last entry applied and the bytes until then, now and then, from what is flushed on.
    looks: VecDeque<(Sequence, u64)>,
}

impl FlushPolicy {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            applied: 0,
            flushed: 0,
            asked: 0,
            looked: 0,
            looks: VecDeque::new(),
        }
    }

    pub(crate) fn applied(&mut self, bytes: u64) {
        self.applied += bytes;
    }

    /// Whether it is time to ask how far RocksDB has flushed.
    pub(crate) fn wants_look(&self) -> bool {
        self.applied - self.looked >= LOOK_BYTES
    }

    /// Whether to flush, given how far entries are applied and flushed. A flush takes its time, and
    /// what was applied meanwhile is not in it.
    pub(crate) fn look(&mut self, applied: Sequence, flushed: Sequence) -> bool {
        if self.wants_look() {
            self.looked = self.applied;
            self.looks.push_back((applied, self.applied));
        }
        while let Some((_, bytes)) = self
            .looks
            .pop_front_if(|(sequence, _)| *sequence <= flushed)
        {
            self.flushed = bytes;
        }
        let is_due = self.applied - self.flushed.max(self.asked) >= self.bytes_max;
        if is_due {
            self.asked = self.applied;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Applies one entry of a MiB after the other; a flush is seen so many entries later.
    fn flushes(takes: u64) -> Vec<u64> {
        let mut policy = FlushPolicy::new(64 * MIB);
        let mut asked: Vec<u64> = Vec::new();
        for sequence in 1..=200 {
            policy.applied(MIB);
            let seen = asked.iter().rfind(|asked| *asked + takes <= sequence);
            let flushed = Sequence(seen.copied().unwrap_or_default());
            if policy.look(Sequence(sequence), flushed) {
                asked.push(sequence);
            }
        }
        asked
    }

    /// What came while a flush was under way used to count as flushed with it: a start could have
    /// had to replay any amount.
    #[test]
    fn a_flush_is_asked_for_after_so_much_however_long_the_last_one_takes() {
        for takes in [0, 30, 63, 64, 100, 1_000] {
            assert_eq!(flushes(takes), [64, 128, 192], "{takes}");
        }
    }

    #[test]
    fn a_trickle_is_looked_at_without_being_remembered() {
        let mut policy = FlushPolicy::new(64 * MIB);
        for sequence in 1..10_000 {
            policy.applied(10);
            assert!(!policy.look(Sequence(sequence), Sequence(0)));
        }
        assert_eq!(policy.looks.len(), 0);
    }
}
