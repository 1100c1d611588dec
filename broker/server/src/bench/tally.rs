//! What was sent and received in a run, and how late.

use std::cell::{Cell, RefCell};

use hdrhistogram::Histogram;

use super::stamp::Stamp;
use crate::clock;

/// Latencies are kept in microseconds with three digits, up to ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// When messages are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Messages sent from here on are measured.
    pub(super) from_ns: u64,
    /// Nothing is sent after this, if there is such a time.
    pub(super) until_ns: Option<u64>,
    /// So many messages are measured, if there is such a count.
    pub(super) count: Option<u64>,
}

/// Everything that is counted. One thread writes and reads it.
#[derive(Debug)]
pub(super) struct Tally {
    run: u64,
    window: Cell<Window>,
    /// Measured messages that producers have begun to send.
    begun: Cell<u64>,
    /// Messages with a receipt, measured or not.
    confirmed: Cell<u64>,
    confirmed_measured: Cell<u64>,
    last_confirmed_ns: Cell<u64>,
    /// Different messages that arrived, measured or not.
    received: Cell<u64>,
    received_measured: Cell<u64>,
    last_received_ns: Cell<u64>,
    redelivered: Cell<u64>,
    duplicated: Cell<u64>,
    /// Of another run.
    foreign: Cell<u64>,
    ledger: RefCell<Vec<Arrivals>>,
    receipts: RefCell<Histogram<u64>>,
    deliveries: RefCell<Histogram<u64>>,
}

/// Which messages of one producer have arrived: one bit each.
#[derive(Debug, Clone, Default)]
struct Arrivals(Vec<u64>);

impl Arrivals {
    /// Whether it is the first time.
    fn insert(&mut self, sequence: u64) -> bool {
        let word = usize::try_from(sequence / 64).expect("a run is not that long");
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let bit = 1 << (sequence % 64);
        let first = self.0[word] & bit == 0;
        self.0[word] |= bit;
        first
    }
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

fn histogram() -> RefCell<Histogram<u64>> {
    let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
    RefCell::new(histogram.expect("the bounds are in order"))
}

impl Tally {
    pub(super) fn new(run: u64, producers: u32) -> Self {
        let never = Window {
            from_ns: u64::MAX,
            until_ns: None,
            count: None,
        };
        Self {
            run,
            window: Cell::new(never),
            begun: Cell::new(0),
            confirmed: Cell::new(0),
            confirmed_measured: Cell::new(0),
            last_confirmed_ns: Cell::new(0),
            received: Cell::new(0),
            received_measured: Cell::new(0),
            last_received_ns: Cell::new(0),
            redelivered: Cell::new(0),
            duplicated: Cell::new(0),
            foreign: Cell::new(0),
            ledger: RefCell::new(vec![Arrivals::default(); producers as usize]),
            receipts: histogram(),
            deliveries: histogram(),
        }
    }

    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// The clock starts.
    pub(super) fn start(&self, warmup_ms: u64, measured_ms: Option<u64>, count: Option<u64>) {
        let from_ns = clock::monotonic_ns().saturating_add(warmup_ms.saturating_mul(1_000_000));
        let until_ns = measured_ms.map(|ms| from_ns.saturating_add(ms.saturating_mul(1_000_000)));
        self.window.set(Window {
            from_ns,
            until_ns,
            count,
        });
    }

    pub(super) fn window(&self) -> Window {
        self.window.get()
    }

    /// Whether a producer may send one more now.
    pub(super) fn begin(&self, now_ns: u64) -> bool {
        let window = self.window.get();
        if window.until_ns.is_some_and(|until| now_ns >= until) {
            return false;
        }
        if now_ns >= window.from_ns {
            if window.count.is_some_and(|count| self.begun.get() >= count) {
                return false;
            }
            add(&self.begun);
        }
        true
    }

    /// The receipt of a message has come.
    pub(super) fn confirm(&self, sent_ns: u64, now_ns: u64) {
        add(&self.confirmed);
        if sent_ns >= self.window.get().from_ns {
            add(&self.confirmed_measured);
            self.last_confirmed_ns.set(now_ns);
            record(&self.receipts, now_ns - sent_ns);
        }
    }

    /// A message has come.
    pub(super) fn receive(&self, body: &[u8], redelivered: bool, now_ns: u64) {
        let Some(stamp) = Stamp::from_body(body).filter(|stamp| stamp.run == self.run) else {
            add(&self.foreign);
            return;
        };
        let mut ledger = self.ledger.borrow_mut();
        let Some(arrivals) = ledger.get_mut(stamp.producer as usize) else {
            add(&self.foreign);
            return;
        };
        if redelivered {
            add(&self.redelivered);
        }
        if !arrivals.insert(stamp.sequence) {
            if !redelivered {
                add(&self.duplicated);
            }
            return;
        }
        add(&self.received);
        if stamp.sent_ns >= self.window.get().from_ns {
            add(&self.received_measured);
            self.last_received_ns.set(now_ns);
            record(&self.deliveries, now_ns.saturating_sub(stamp.sent_ns));
        }
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.get()
    }

    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Confirmed, and not arrived (yet).
    pub(super) fn missing(&self) -> u64 {
        self.confirmed.get().saturating_sub(self.received.get())
    }

    pub(super) fn redelivered(&self) -> u64 {
        self.redelivered.get()
    }

    pub(super) fn duplicated(&self) -> u64 {
        self.duplicated.get()
    }

    pub(super) fn foreign(&self) -> u64 {
        self.foreign.get()
    }

    /// Measured messages with a receipt, and how long it took to get all of these.
    pub(super) fn sends(&self) -> (u64, u64) {
        let took = self
            .last_confirmed_ns
            .get()
            .saturating_sub(self.window.get().from_ns);
        (self.confirmed_measured.get(), took)
    }

    /// Measured messages that arrived, and how long it took until all of these had.
    pub(super) fn arrivals(&self) -> (u64, u64) {
        let took = self
            .last_received_ns
            .get()
            .saturating_sub(self.window.get().from_ns);
        (self.received_measured.get(), took)
    }

    pub(super) fn receipt_latency(&self) -> Histogram<u64> {
        self.receipts.borrow().clone()
    }

    pub(super) fn delivery_latency(&self) -> Histogram<u64> {
        self.deliveries.borrow().clone()
    }
}

fn record(histogram: &RefCell<Histogram<u64>>, latency_ns: u64) {
    histogram
        .borrow_mut()
        .saturating_record((latency_ns / 1_000).max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        from_ns: 1_000_000,
        until_ns: None,
        count: Some(2),
    };

    fn tally() -> Tally {
        let tally = Tally::new(9, 2);
        tally.window.set(WINDOW);
        tally
    }

    fn body(run: u64, producer: u32, sequence: u64, sent_ns: u64) -> [u8; 32] {
        Stamp {
            run,
            producer,
            sequence,
            sent_ns,
        }
        .to_bytes()
    }

    #[test]
    fn warm_up_is_sent_and_not_measured() {
        let tally = tally();
        assert!((0..10).all(|at| tally.begin(at)));
        tally.confirm(10, 20);
        tally.receive(&body(9, 0, 0, 10), false, 30);
        assert_eq!((tally.confirmed(), tally.received()), (1, 1));
        assert_eq!((tally.sends().0, tally.arrivals().0), (0, 0));
        assert!(tally.begin(1_000_000) && tally.begin(1_000_001));
        assert!(!tally.begin(1_000_002), "the count is full");
        tally.confirm(1_000_000, 4_000_000);
        assert_eq!(tally.sends(), (1, 3_000_000));
        assert_eq!(tally.receipt_latency().min(), 3_000);
    }

    #[test]
    fn time_ends_the_sending() {
        let tally = tally();
        tally.window.set(Window {
            until_ns: Some(2_000_000),
            count: None,
            ..WINDOW
        });
        assert!(tally.begin(1_999_999));
        assert!(!tally.begin(2_000_000));
    }

    #[test]
    fn what_comes_twice_is_a_duplicate_unless_it_says_so() {
        let tally = tally();
        tally.receive(&body(9, 1, 70, 5), false, 10);
        tally.receive(&body(9, 1, 70, 5), true, 11);
        assert_eq!((tally.duplicated(), tally.redelivered()), (0, 1));
        tally.receive(&body(9, 1, 70, 5), false, 12);
        assert_eq!((tally.received(), tally.duplicated()), (1, 1));
    }

    #[test]
    fn what_did_not_come_is_missing_and_strangers_do_not_count() {
        let tally = tally();
        tally.confirm(1, 2);
        tally.confirm(1, 2);
        tally.receive(&body(9, 0, 1, 1), false, 3);
        tally.receive(&body(8, 0, 0, 1), false, 3);
        tally.receive(&body(9, 2, 0, 1), false, 3);
        tally.receive(b"hello", false, 3);
        assert_eq!((tally.missing(), tally.foreign()), (1, 3));
    }
}
