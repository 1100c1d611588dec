//! Every message of a drill: what was promised of it, and what became of it.
//!
//! Pure: the load tells what happened, the ledger judges.

/// What is known of one message.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    /// Its receipt has come.
    confirmed: bool,
    arrival: Arrival,
}

/// What became of its latest delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Arrival {
    /// There was none.
    #[default]
    None,
    /// It is with the consumer.
    Here,
    /// Its connection went without an acknowledgement: there has to be another one.
    Owed,
    /// Its acknowledgement was confirmed: there must not be another one.
    Consumed,
}

/// One producer, one queue, one consumer.
#[derive(Debug, Default)]
struct Lane {
    /// By sequence number.
    fates: Vec<Fate>,
    /// The latest message that has arrived.
    latest: Option<u64>,
}

/// Sums over all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) confirmed: u64,
    /// Different messages that arrived.
    pub(super) delivered: u64,
    /// Confirmed and not arrived, or arrived and not acknowledged, and not come again:
    /// lost, once nothing comes any more.
    pub(super) missing: u64,
    /// Came twice without the mark, or again after their consumption was confirmed.
    pub(super) duplicated: u64,
    /// Came twice, with the mark, as they may.
    pub(super) redelivered: u64,
    /// Arrived first after a later one.
    pub(super) reordered: u64,
    /// Nobody has sent them.
    pub(super) unknown: u64,
}

#[derive(Debug)]
pub(super) struct Ledger {
    lanes: Vec<Lane>,
    duplicated: u64,
    redelivered: u64,
    reordered: u64,
    unknown: u64,
}

impl Ledger {
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            duplicated: 0,
            redelivered: 0,
            reordered: 0,
            unknown: 0,
        }
    }

    /// A message is about to be sent; answers with its sequence number.
    pub(super) fn send(&mut self, lane: usize) -> u64 {
        let fates = &mut self.lanes[lane].fates;
        fates.push(Fate::default());
        fates.len() as u64 - 1
    }

    /// Its receipt has come.
    pub(super) fn confirm(&mut self, lane: usize, sequence: u64) {
        self.fate(lane, sequence).confirmed = true;
    }

    /// Whether it was sent.
    pub(super) fn knows(&self, lane: usize, sequence: u64) -> bool {
        let lane = self.lanes.get(lane);
        lane.is_some_and(|lane| sequence < lane.fates.len() as u64)
    }

    /// One that nobody has sent has arrived.
    pub(super) fn deliver_unknown(&mut self) {
        self.unknown += 1;
    }

    /// It has arrived.
    pub(super) fn deliver(&mut self, lane: usize, sequence: u64, redelivered: bool) {
        let fate = self.fate(lane, sequence);
        let before = fate.arrival;
        let consumed = before == Arrival::Consumed;
        if !consumed {
            fate.arrival = Arrival::Here;
        }
        if before == Arrival::None {
            let latest = &mut self.lanes[lane].latest;
            if latest.is_some_and(|latest| sequence < latest) {
                self.reordered += 1;
            }
            *latest = (*latest).max(Some(sequence));
        } else if consumed || !redelivered {
            self.duplicated += 1;
        } else {
            self.redelivered += 1;
        }
    }

    /// The acknowledgement of its delivery was confirmed: it must not come back.
    pub(super) fn consume(&mut self, lane: usize, sequence: u64) {
        self.fate(lane, sequence).arrival = Arrival::Consumed;
    }

    /// The connection that it came on is gone, and nothing was said of it before: it must
    /// come back.
    pub(super) fn return_unacknowledged(&mut self, lane: usize, sequence: u64) {
        let fate = self.fate(lane, sequence);
        if fate.arrival != Arrival::Consumed {
            fate.arrival = Arrival::Owed;
        }
    }

    fn fate(&mut self, lane: usize, sequence: u64) -> &mut Fate {
        let at = usize::try_from(sequence).expect("a drill is not that long");
        &mut self.lanes[lane].fates[at]
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            duplicated: self.duplicated,
            redelivered: self.redelivered,
            reordered: self.reordered,
            unknown: self.unknown,
            ..Counts::default()
        };
        for fate in self.lanes.iter().flat_map(|lane| &lane.fates) {
            counts.sent += 1;
            counts.confirmed += u64::from(fate.confirmed);
            counts.delivered += u64::from(fate.arrival != Arrival::None);
            counts.missing += u64::from(match fate.arrival {
                Arrival::None => fate.confirmed,
                Arrival::Owed => true,
                Arrival::Here | Arrival::Consumed => false,
            });
        }
        counts
    }
}

impl Counts {
    /// What happened since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            confirmed: self.confirmed - before.confirmed,
            delivered: self.delivered - before.delivered,
            // What was missing before may have come since.
            missing: self.missing.saturating_sub(before.missing),
            duplicated: self.duplicated - before.duplicated,
            redelivered: self.redelivered - before.redelivered,
            reordered: self.reordered - before.reordered,
            unknown: self.unknown - before.unknown,
        }
    }

    /// Every promise was kept.
    pub(super) fn is_clean(self) -> bool {
        self.missing == 0 && self.duplicated == 0 && self.reordered == 0 && self.unknown == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger of one lane with `count` messages sent and confirmed.
    fn ledger(count: u64) -> Ledger {
        let mut ledger = Ledger::new(1);
        for sequence in 0..count {
            assert_eq!(ledger.send(0), sequence);
            ledger.confirm(0, sequence);
        }
        ledger
    }

    #[test]
    fn a_confirmed_message_that_does_not_come_is_missing() {
        let mut ledger = ledger(3);
        ledger.deliver(0, 0, false);
        ledger.deliver(0, 2, false);
        assert_eq!(ledger.counts().missing, 1);
        assert!(!ledger.counts().is_clean());
        ledger.deliver(0, 1, false);
        assert_eq!((ledger.counts().missing, ledger.counts().reordered), (0, 1));
    }

    #[test]
    fn a_message_that_was_not_acknowledged_and_does_not_come_again_is_missing() {
        let mut ledger = ledger(1);
        ledger.deliver(0, 0, false);
        assert!(ledger.counts().is_clean());
        ledger.return_unacknowledged(0, 0);
        assert_eq!(ledger.counts().missing, 1);
        ledger.deliver(0, 0, true);
        assert!(ledger.counts().is_clean());
        assert_eq!(ledger.counts().redelivered, 1);
    }

    #[test]
    fn an_unconfirmed_message_may_come_or_not() {
        let mut ledger = ledger(1);
        ledger.deliver(0, 0, false);
        ledger.send(0);
        assert!(ledger.counts().is_clean());
        ledger.deliver(0, 1, false);
        assert!(ledger.counts().is_clean());
    }

    #[test]
    fn a_second_delivery_must_say_so() {
        let mut ledger = ledger(2);
        ledger.deliver(0, 0, false);
        ledger.deliver(0, 0, true);
        assert_eq!(
            (ledger.counts().redelivered, ledger.counts().duplicated),
            (1, 0)
        );
        ledger.deliver(0, 1, true);
        assert_eq!(
            ledger.counts().redelivered,
            1,
            "the mark means may, not must"
        );
        ledger.deliver(0, 1, false);
        assert_eq!(ledger.counts().duplicated, 1);
    }

    #[test]
    fn a_consumed_message_must_not_come_back_even_with_the_mark() {
        let mut ledger = ledger(1);
        ledger.deliver(0, 0, false);
        ledger.consume(0, 0);
        ledger.deliver(0, 0, true);
        assert_eq!(ledger.counts().duplicated, 1);
    }

    #[test]
    fn a_redelivery_does_not_disturb_the_order() {
        let mut ledger = ledger(4);
        for sequence in [0, 1, 2] {
            ledger.deliver(0, sequence, false);
        }
        ledger.deliver(0, 1, true);
        ledger.deliver(0, 2, true);
        ledger.deliver(0, 3, false);
        assert!(ledger.counts().is_clean());
    }

    #[test]
    fn what_nobody_sent_is_unknown() {
        let mut ledger = ledger(1);
        assert!(ledger.knows(0, 0) && !ledger.knows(0, 1) && !ledger.knows(3, 0));
        ledger.deliver(0, 0, false);
        ledger.deliver_unknown();
        assert_eq!(ledger.counts().unknown, 1);
        assert!(!ledger.counts().is_clean());
    }

    #[test]
    fn a_round_counts_what_happened_in_it() {
        let mut ledger = ledger(2);
        ledger.deliver(0, 0, false);
        let before = ledger.counts();
        ledger.deliver(0, 1, false);
        let sequence = ledger.send(0);
        ledger.confirm(0, sequence);
        let round = ledger.counts().since(before);
        assert_eq!((round.sent, round.delivered, round.missing), (1, 1, 0));
    }
}
