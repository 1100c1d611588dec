//! Every message of a run: what was promised of it, and what became of it.
//!
//! Pure: the load tells what happened, the ledger judges.

/// A consumer's connection; no two are the same.
pub(crate) type Holder = u32;

/// Broken promises that are told one by one.
const TOLD_MAX: usize = 20;

/// What became of a message's latest delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Arrival {
    /// There was none.
    #[default]
    None,
    /// On that connection, and nothing was said of it.
    With(Holder),
    /// Its connection went before anything was said of it: there has to be another one.
    Owed,
    /// Its connection went before its acknowledgement was confirmed: there may be another one.
    Doubtful,
    /// Its acknowledgement was confirmed: there must not be another one.
    Consumed,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    confirmed: bool,
    arrival: Arrival,
}

impl Fate {
    fn is_settled(self) -> bool {
        self.confirmed && matches!(self.arrival, Arrival::Consumed | Arrival::Doubtful)
    }
}

/// What one producer sends.
#[derive(Debug, Default)]
struct Lane {
    /// One consumer takes all of it, so that its order counts.
    ordered: bool,
    fates: Vec<Fate>,
    /// The latest message that has arrived.
    latest: Option<u64>,
    /// All before it were settled once.
    settled: usize,
}

/// Sums over all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) consumed: u64,
    /// Acknowledged and never delivered, or delivered, not acknowledged, and not come again:
    /// lost, once nothing comes any more.
    pub(crate) missing: u64,
    /// Came again without the mark.
    pub(crate) duplicated: u64,
    /// Came again, with the mark, as they may.
    pub(crate) redelivered: u64,
    /// Came again after their consumption was confirmed.
    pub(crate) returned: u64,
    /// Arrived first after a later one.
    pub(crate) reordered: u64,
    /// Nobody has sent them, or only in a transaction that was aborted.
    pub(crate) unknown: u64,
    /// A client was told of an error, which no failover may do.
    pub(crate) errors: u64,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    lanes: Vec<Lane>,
    /// A broker may hold a consumer's old connection for alive, beside its new one.
    overlap: bool,
    counts: Counts,
    told: Vec<String>,
}

impl Ledger {
    /// One lane a producer, and whether its order counts.
    pub(crate) fn new(ordered: &[bool]) -> Self {
        let lane = |ordered: &bool| Lane {
            ordered: *ordered,
            ..Lane::default()
        };
        Self {
            lanes: ordered.iter().map(lane).collect(),
            overlap: false,
            counts: Counts::default(),
            told: Vec::new(),
        }
    }

    /// From here on a broker may, or may no longer, take a consumer's dead connection for
    /// alive: what it delivered there comes later than what the new connection got.
    pub(crate) fn overlap(&mut self, may: bool) {
        self.overlap = may;
    }

    /// A message is about to be sent; answers with its number.
    pub(crate) fn send(&mut self, lane: usize) -> u64 {
        let fates = &mut self.lanes[lane].fates;
        fates.push(Fate::default());
        self.counts.sent += 1;
        fates.len() as u64 - 1
    }

    /// Its receipt has come.
    pub(crate) fn confirm(&mut self, lane: usize, number: u64) {
        let fate = self.fate(lane, number).expect("it was sent");
        let before = fate.confirmed;
        fate.confirmed = true;
        self.counts.acknowledged += u64::from(!before);
    }

    /// It has arrived.
    pub(crate) fn deliver(&mut self, lane: usize, number: u64, redelivered: bool, by: Holder) {
        let Some(fate) = self.fate(lane, number) else {
            return self.deliver_unknown(&format!("{lane} {number}"));
        };
        let before = fate.arrival;
        if before != Arrival::Consumed {
            fate.arrival = Arrival::With(by);
        }
        match before {
            Arrival::None => self.order(lane, number, redelivered),
            Arrival::Consumed => {
                self.counts.returned += 1;
                self.tell(format!(
                    "{lane} {number} came after its consumption was confirmed (marked: {redelivered})"
                ));
            }
            _ if redelivered => self.counts.redelivered += 1,
            before => {
                self.counts.duplicated += 1;
                self.tell(format!(
                    "{lane} {number} came again on connection {by} without the mark; before: {before:?}"
                ));
            }
        }
    }

    fn order(&mut self, lane: usize, number: u64, redelivered: bool) {
        let known = &mut self.lanes[lane];
        let latest = known.latest;
        known.latest = latest.max(Some(number));
        let excused = redelivered && self.overlap;
        if known.ordered && !excused && latest.is_some_and(|latest| number < latest) {
            self.counts.reordered += 1;
            self.tell(format!("{lane} {number} came first after {latest:?}"));
        }
    }

    /// One that nobody has sent has arrived.
    pub(crate) fn deliver_unknown(&mut self, what: &str) {
        self.counts.unknown += 1;
        self.tell(format!("nobody has sent {what:?}"));
    }

    /// The acknowledgement of its delivery was confirmed: it must not come back.
    pub(crate) fn consume(&mut self, lane: usize, number: u64) {
        let Some(fate) = self.fate(lane, number) else {
            return;
        };
        let before = fate.arrival;
        fate.arrival = Arrival::Consumed;
        self.counts.consumed += u64::from(before != Arrival::Consumed);
    }

    /// The connection that it came on is gone. Whether something was said of it there is
    /// `acknowledged`, which was not confirmed.
    pub(crate) fn give_back(&mut self, lane: usize, number: u64, acknowledged: bool, by: Holder) {
        let Some(fate) = self.fate(lane, number) else {
            return;
        };
        // It may be somebody else's by now.
        if fate.arrival == Arrival::With(by) {
            fate.arrival = if acknowledged {
                Arrival::Doubtful
            } else {
                Arrival::Owed
            };
        } else if fate.arrival == Arrival::Owed && acknowledged {
            fate.arrival = Arrival::Doubtful;
        }
    }

    /// A client was told of an error.
    pub(crate) fn tell_error(&mut self, text: &str) {
        self.counts.errors += 1;
        self.tell(format!("a client was told {text}"));
    }

    fn tell(&mut self, text: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(text);
        }
    }

    fn fate(&mut self, lane: usize, number: u64) -> Option<&mut Fate> {
        let at = usize::try_from(number).ok()?;
        self.lanes.get_mut(lane)?.fates.get_mut(at)
    }

    /// How many sends are safe.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.counts.acknowledged
    }

    /// How much each lane has sent.
    pub(crate) fn sent(&self) -> Vec<usize> {
        self.lanes.iter().map(|lane| lane.fates.len()).collect()
    }

    /// Whether all of these are acknowledged and consumed, or were once.
    pub(crate) fn is_settled(&mut self, up_to: &[usize]) -> bool {
        self.lanes.iter_mut().zip(up_to).all(|(lane, up_to)| {
            let rest = lane.fates[lane.settled..].iter();
            lane.settled += rest.take_while(|fate| fate.is_settled()).count();
            lane.settled >= *up_to
        })
    }

    /// All sums, those of what is missing among them.
    pub(crate) fn counts(&self) -> Counts {
        let fates = self.lanes.iter().flat_map(|lane| &lane.fates);
        let missing = fates.filter(|fate| match fate.arrival {
            Arrival::None => fate.confirmed,
            Arrival::Owed => true,
            Arrival::With(_) | Arrival::Doubtful | Arrival::Consumed => false,
        });
        Counts {
            missing: missing.count() as u64,
            ..self.counts
        }
    }

    /// What promises were broken so far, in words; what is missing is not yet one.
    pub(crate) fn broken(&self) -> Option<String> {
        let counts = self.counts;
        let all = [
            counts.duplicated,
            counts.returned,
            counts.reordered,
            counts.unknown,
            counts.errors,
        ];
        let broken = all.iter().any(|count| *count > 0);
        broken.then(|| format!("{counts:?}\n{}", self.told.join("\n")))
    }

    /// Some that are not settled, in words.
    pub(crate) fn open(&self) -> String {
        let mut lines = Vec::new();
        for (index, lane) in self.lanes.iter().enumerate() {
            let fates = lane.fates.iter().enumerate().skip(lane.settled);
            let open = fates.filter(|(_, fate)| !fate.is_settled()).take(3);
            lines.extend(open.map(|(number, fate)| format!("{index} {number}: {fate:?}")));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One ordered lane with so many sent and acknowledged.
    fn ledger(count: u64) -> Ledger {
        let mut ledger = Ledger::new(&[true]);
        for number in 0..count {
            assert_eq!(ledger.send(0), number);
            ledger.confirm(0, number);
        }
        ledger
    }

    #[test]
    fn an_even_ledger_is_even() {
        let mut ledger = ledger(2);
        assert!(!ledger.is_settled(&[2]));
        for number in 0..2 {
            ledger.deliver(0, number, false, 1);
            ledger.consume(0, number);
        }
        assert!(ledger.is_settled(&[2]));
        assert_eq!(ledger.broken(), None);
        let counts = ledger.counts();
        assert_eq!(
            (counts.acknowledged, counts.consumed, counts.missing),
            (2, 2, 0)
        );
    }

    #[test]
    fn a_ledger_sees_what_is_lost() {
        let mut ledger = ledger(2);
        ledger.deliver(0, 1, false, 1);
        ledger.consume(0, 1);
        assert!(!ledger.is_settled(&[2]));
        assert_eq!(ledger.counts().missing, 1);
        ledger.deliver(0, 0, true, 1);
        ledger.give_back(0, 0, false, 1);
        assert_eq!(ledger.counts().missing, 1, "nobody has it any more");
        assert_eq!(ledger.counts().reordered, 1);
    }

    #[test]
    fn a_ledger_sees_what_comes_back() {
        let mut ledger = ledger(1);
        ledger.deliver(0, 0, false, 1);
        ledger.consume(0, 0);
        assert_eq!(ledger.broken(), None);
        ledger.deliver(0, 0, true, 2);
        assert_eq!(ledger.counts().returned, 1);
        assert!(ledger.broken().is_some());
    }

    #[test]
    fn a_ledger_sees_a_second_delivery_without_the_mark() {
        let mut ledger = ledger(1);
        ledger.deliver(0, 0, false, 1);
        ledger.give_back(0, 0, false, 1);
        ledger.deliver(0, 0, true, 2);
        assert_eq!(
            (ledger.counts().redelivered, ledger.counts().duplicated),
            (1, 0)
        );
        ledger.give_back(0, 0, true, 2);
        ledger.deliver(0, 0, false, 3);
        assert_eq!(ledger.counts().duplicated, 1);
    }

    #[test]
    fn a_doubtful_one_may_come_again_or_not() {
        let mut ledger = ledger(1);
        ledger.deliver(0, 0, false, 1);
        ledger.give_back(0, 0, true, 1);
        assert!(ledger.is_settled(&[1]));
        ledger.deliver(0, 0, true, 2);
        assert_eq!(ledger.broken(), None);
    }

    #[test]
    fn a_late_word_of_an_old_connection_takes_nothing_from_the_new_one() {
        let mut ledger = ledger(1);
        ledger.deliver(0, 0, false, 1);
        ledger.deliver(0, 0, true, 2);
        ledger.give_back(0, 0, false, 1);
        assert_eq!(ledger.counts().missing, 0);
        ledger.consume(0, 0);
        ledger.give_back(0, 0, true, 2);
        assert!(ledger.is_settled(&[1]));
    }

    #[test]
    fn what_nobody_sent_and_what_a_client_is_told_count() {
        let mut ledger = ledger(1);
        ledger.deliver(0, 7, false, 1);
        ledger.deliver_unknown("aborted 3");
        ledger.tell_error("no");
        let counts = ledger.counts();
        assert_eq!((counts.unknown, counts.errors), (2, 1));
        assert!(
            ledger
                .broken()
                .is_some_and(|text| text.contains("aborted 3"))
        );
    }

    #[test]
    fn a_marked_one_may_be_late_while_two_connections_may_overlap() {
        let mut ledger = ledger(4);
        ledger.overlap(true);
        ledger.deliver(0, 3, false, 1);
        ledger.deliver(0, 0, true, 1);
        assert_eq!(ledger.broken(), None);
        ledger.deliver(0, 1, false, 1);
        ledger.overlap(false);
        ledger.deliver(0, 2, true, 1);
        assert_eq!(ledger.counts().reordered, 2);
    }

    #[test]
    fn order_counts_only_where_one_consumer_takes_all() {
        let mut ledger = Ledger::new(&[false]);
        for number in 0..2 {
            ledger.send(0);
            ledger.confirm(0, number);
        }
        ledger.deliver(0, 1, false, 1);
        ledger.deliver(0, 0, false, 2);
        assert_eq!(ledger.broken(), None);
    }
}
