//! Signs of life in both directions, without a clock.

/// What one end offers in its `heart-beat` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeartBeat {
    /// It can promise a sign of life this often; 0: it cannot.
    pub send_ms: u64,
    /// It would like one this often; 0: it does not care.
    pub receive_ms: u64,
}

impl HeartBeat {
    /// Reads a header value such as `10000,5000`.
    pub fn parse(value: &str) -> Option<Self> {
        let (send, receive) = value.split_once(',')?;
        Some(Self {
            send_ms: send.trim().parse().ok()?,
            receive_ms: receive.trim().parse().ok()?,
        })
    }

    /// What holds for this end, given what the other offers: the slower of
    /// what one promises and the other wants, nothing if either says nothing.
    #[must_use]
    pub fn agree(self, other: Self) -> Self {
        let slower = |promised: u64, wanted: u64| match (promised, wanted) {
            (0, _) | (_, 0) => 0,
            _ => promised.max(wanted),
        };
        Self {
            send_ms: slower(self.send_ms, other.receive_ms),
            receive_ms: slower(other.send_ms, self.receive_ms),
        }
    }
}

/// Who has last been heard, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    agreed: HeartBeat,
    sent_ms: u64,
    received_ms: u64,
}

/// The other end may be late by this factor: clocks and networks are not exact.
const GRACE: u64 = 2;

impl Pulse {
    pub(super) fn new(agreed: HeartBeat, now_ms: u64) -> Self {
        Self {
            agreed,
            sent_ms: now_ms,
            received_ms: now_ms,
        }
    }

    /// Something went out; it counts as a sign of life.
    pub(super) fn sent(&mut self, now_ms: u64) {
        self.sent_ms = now_ms;
    }

    /// Something came in.
    pub(super) fn received(&mut self, now_ms: u64) {
        self.received_ms = now_ms;
    }

    /// When this end owes a sign of life: early enough to arrive in time.
    pub(super) fn beat_due_ms(&self) -> Option<u64> {
        let every_ms = self.agreed.send_ms;
        let early_ms = every_ms / 4;
        (every_ms > 0).then(|| self.sent_ms.saturating_add(every_ms - early_ms))
    }

    /// When the other end counts as gone.
    pub(super) fn silent_at_ms(&self) -> Option<u64> {
        let patience_ms = self.agreed.receive_ms.saturating_mul(GRACE);
        (patience_ms > 0).then(|| self.received_ms.saturating_add(patience_ms))
    }

    /// Nobody looked for so long after the deadline that the other end's signs of
    /// life may be waiting unread: this process slept, or was held up itself.
    pub(super) fn overslept(&self, deadline_ms: u64, now_ms: u64) -> bool {
        let interval_ms = self.agreed.receive_ms;
        interval_ms > 0 && now_ms.saturating_sub(deadline_ms) >= interval_ms
    }

    /// How long the other end has said nothing.
    pub(super) fn silence_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.received_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(send_ms: u64, receive_ms: u64) -> HeartBeat {
        HeartBeat {
            send_ms,
            receive_ms,
        }
    }

    #[test]
    fn the_slower_of_promise_and_wish_holds() {
        let ours = offer(10_000, 5_000);
        assert_eq!(ours.agree(offer(1_000, 20_000)), offer(20_000, 5_000));
        assert_eq!(ours.agree(offer(8_000, 1_000)), offer(10_000, 8_000));
        assert_eq!(ours.agree(offer(0, 0)), offer(0, 0));
        assert_eq!(offer(0, 0).agree(ours), offer(0, 0));
    }

    #[test]
    fn offers_are_two_numbers() {
        assert_eq!(HeartBeat::parse("0,0"), Some(offer(0, 0)));
        assert_eq!(HeartBeat::parse(" 1, 20000 "), Some(offer(1, 20_000)));
        for wrong in ["", "1", "1,", ",1", "a,b", "-1,0", "1,2,3"] {
            assert_eq!(HeartBeat::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn beats_come_early_and_silence_late() {
        let mut pulse = Pulse::new(offer(1_000, 2_000), 10_000);
        assert_eq!(pulse.beat_due_ms(), Some(10_750));
        assert_eq!(pulse.silent_at_ms(), Some(14_000));
        pulse.sent(11_000);
        pulse.received(12_000);
        assert_eq!(pulse.beat_due_ms(), Some(11_750));
        assert_eq!(pulse.silent_at_ms(), Some(16_000));
        let never = Pulse::new(offer(0, 0), 10_000);
        assert_eq!((never.beat_due_ms(), never.silent_at_ms()), (None, None));
        let absurd = Pulse::new(offer(u64::MAX, u64::MAX), 10_000);
        assert_eq!(absurd.silent_at_ms(), Some(u64::MAX));
    }
}
