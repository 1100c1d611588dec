//! Producers and consumers that live through every fault, and what they share.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use replicamq_harness::load::take_all;
use replicamq_harness::stomp::{Client, Frame};
use replicamq_harness::wait::{self, Since};

use crate::consumer::Consumer;
use crate::ledger::{Counts, Ledger};
use crate::producer::{Manner, Producer};

/// Most clients take a broker for dead after so long a silence.
const QUICK: Duration = Duration::from_secs(1);

/// Some stay with a master that stands still, and hear what it says when it wakes.
const PATIENT: Duration = Duration::from_secs(15);

/// Between two looks at whether the run is over.
const TICK: Duration = Duration::from_millis(50);

/// After a round through all nodes that was in vain.
const AGAIN: Duration = Duration::from_millis(20);

/// What has arrived, once nothing is sent any more.
const DRAINED_WITHIN: Duration = Duration::from_mins(2);

const QUEUES: [&str; 4] = [
    "/queue/ordered",
    "/queue/ordered-large",
    "/queue/joint",
    "/queue/shared",
];

/// Of each producer: its queue, its bodies' size, what it does, and how long it waits.
const PRODUCERS: [(usize, usize, Manner, Duration); 5] = [
    (0, 100, Manner::Pipelined, QUICK),
    (1, 2048, Manner::Pipelined, QUICK),
    (2, 100, Manner::Joint, QUICK),
    (3, 100, Manner::Pipelined, QUICK),
    (3, 100, Manner::Pipelined, PATIENT),
];

/// Of each consumer: its queue, whether it acknowledges in transactions, and how long it waits.
const CONSUMERS: [(usize, bool, Duration); 5] = [
    (0, false, QUICK),
    (1, true, QUICK),
    (2, true, QUICK),
    (3, false, QUICK),
    (3, false, PATIENT),
];

/// The queue that two consumers share.
const SHARED: usize = 3;

/// What the load is to do, in the order in which it does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Gate {
    Send,
    /// Producers wait for their last receipts, and consumers acknowledge all.
    Drain,
    End,
}

/// When sends were acknowledged.
#[derive(Debug)]
struct Pulse {
    armed: Since,
    last: Duration,
    longest: Duration,
}

impl Pulse {
    fn new() -> Self {
        Self {
            armed: Since::now(),
            last: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    fn beat(&mut self) {
        let now = self.armed.elapsed();
        self.longest = self.longest.max(now.saturating_sub(self.last));
        self.last = now;
    }
}

/// What all clients know.
#[derive(Debug)]
pub(crate) struct Shared {
    addresses: Vec<SocketAddr>,
    ledger: Mutex<Ledger>,
    pulse: Mutex<Pulse>,
    gate: AtomicU8,
    connections: AtomicU32,
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A send is safe.
    pub(crate) fn confirm(&self, lane: usize, number: u64) {
        self.pulse().beat();
        self.ledger().confirm(lane, number);
    }

    /// Whether more is to be sent.
    pub(crate) fn sends(&self) -> bool {
        self.gate.load(Ordering::Relaxed) < Gate::Drain as u8
    }

    /// Whether everything is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.gate.load(Ordering::Relaxed) >= Gate::End as u8
    }

    /// A name for a connection.
    pub(crate) fn number_connection(&self) -> u32 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection to whoever takes it, beginning with `next`; `None` at the end of the run.
    pub(crate) fn dial(&self, next: &mut usize) -> Option<Client> {
        let count = self.addresses.len();
        for turn in 0_usize.. {
            if self.has_ended() {
                return None;
            }
            match Client::connect_within(self.addresses[*next % count], QUICK) {
                Ok(client) => {
                    client.wait_at_most(TICK);
                    return Some(client);
                }
                Err(error) if error.kind() == ErrorKind::Other => {
                    self.ledger().tell_error(&error.to_string());
                }
                Err(_) => {}
            }
            *next += 1;
            if turn % count == count - 1 {
                wait::pause(AGAIN);
            }
        }
        unreachable!("a range without an end has none")
    }

    /// The next frame. `None` after a moment without one; an error after a long silence, at
    /// the end of the run, and for an ERROR frame, which the ledger keeps.
    pub(crate) fn read(
        &self,
        client: &mut Client,
        silence: &mut Silence,
    ) -> io::Result<Option<Frame>> {
        if self.has_ended() {
            return Err(ErrorKind::Interrupted.into());
        }
        match client.read() {
            Ok(frame) if frame.command == "ERROR" => {
                let text = format!("{frame:?}: {}", frame.text());
                self.ledger().tell_error(&text);
                Err(io::Error::other(text))
            }
            Ok(frame) => {
                silence.since = Since::now();
                Ok(Some(frame))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if silence.since.elapsed() < silence.longest {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// How long a broker has said nothing, and how long it may.
#[derive(Debug)]
pub(crate) struct Silence {
    since: Since,
    longest: Duration,
}

impl Silence {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            since: Since::now(),
            longest,
        }
    }

    /// A question begins: what was before it does not count.
    pub(crate) fn begin(&mut self) {
        self.since = Since::now();
    }
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    producers: Vec<JoinHandle<()>>,
    consumers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to send and to consume.
    pub(crate) fn start(addresses: &[SocketAddr]) -> Self {
        let ordered: Vec<bool> = PRODUCERS.iter().map(|one| one.0 != SHARED).collect();
        let shared = Arc::new(Shared {
            addresses: addresses.to_vec(),
            ledger: Mutex::new(Ledger::new(&ordered)),
            pulse: Mutex::new(Pulse::new()),
            gate: AtomicU8::new(Gate::Send as u8),
            connections: AtomicU32::new(1),
        });
        let mut load = Self {
            shared,
            producers: Vec::new(),
            consumers: Vec::new(),
        };
        for (queue, in_transactions, silence) in CONSUMERS {
            let shared = Arc::clone(&load.shared);
            let consumer = Consumer::new(shared, QUEUES[queue], in_transactions, silence);
            load.consumers
                .push(std::thread::spawn(move || consumer.run()));
        }
        for (lane, (queue, size, manner, silence)) in PRODUCERS.into_iter().enumerate() {
            let shared = Arc::clone(&load.shared);
            let producer = Producer::new(shared, lane, QUEUES[queue], (size, manner, silence));
            load.producers
                .push(std::thread::spawn(move || producer.run()));
        }
        load
    }

    /// How many sends are safe.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.ledger().acknowledged()
    }

    /// All sums as they are now.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.ledger().counts()
    }

    /// Whether so many more sends are safe within a time: somebody is being served.
    pub(crate) fn goes_on(&self, more: u64, time: Duration) -> bool {
        let wanted = self.acknowledged() + more;
        wait::within(time, || (self.acknowledged() >= wanted).then_some(())).is_some()
    }

    /// Brokers may, or may no longer, take dead connections of clients for alive.
    pub(crate) fn overlap(&self, may: bool) {
        self.shared.ledger().overlap(may);
    }

    /// Interruptions count from here.
    pub(crate) fn arm(&self) {
        *self.shared.pulse() = Pulse::new();
    }

    /// The longest time without an acknowledged send since [`Load::arm`].
    pub(crate) fn interruption(&self) -> Duration {
        let mut pulse = self.shared.pulse();
        pulse.beat();
        pulse.longest
    }

    /// What was sent until now is acknowledged and consumed within a time, and no promise
    /// was broken; otherwise what is wrong.
    pub(crate) fn settles(&self, time: Duration) -> Result<(), String> {
        let sent = self.shared.ledger().sent();
        let settled = wait::within(time, || {
            self.shared.ledger().is_settled(&sent).then_some(())
        });
        let ledger = self.shared.ledger();
        if let Some(broken) = ledger.broken() {
            return Err(broken);
        }
        settled.ok_or_else(|| format!("lost, or stuck for {time:?}:\n{}", ledger.open()))
    }

    /// What promises were broken so far, in words.
    pub(crate) fn broken(&self) -> String {
        let broken = self.shared.ledger().broken();
        broken.unwrap_or_else(|| "no other promise was broken so far".to_owned())
    }

    /// Sends no more, consumes all that there is, and settles the account.
    pub(crate) fn finish(mut self) -> Result<Counts, String> {
        self.set(Gate::Drain);
        for producer in self.producers.drain(..) {
            producer.join().expect("a producer does not fail");
        }
        self.settles(DRAINED_WITHIN)?;
        self.end();
        // What is still there may only be what was perhaps consumed.
        for queue in QUEUES {
            for frame in take_all(&self.shared.addresses, queue) {
                crate::consumer::note(&mut self.shared.ledger(), &frame, u32::MAX);
            }
        }
        let ledger = self.shared.ledger();
        let counts = ledger.counts();
        match ledger.broken() {
            Some(broken) => Err(broken),
            None if counts.missing > 0 => Err(format!("lost: {counts:?}\n{}", ledger.open())),
            None => Ok(counts),
        }
    }

    fn set(&self, gate: Gate) {
        self.shared.gate.store(gate as u8, Ordering::Relaxed);
    }

    fn end(&mut self) {
        self.set(Gate::End);
        for client in self.producers.drain(..).chain(self.consumers.drain(..)) {
            client.join().expect("a client does not fail");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.set(Gate::End);
        for client in self.producers.drain(..).chain(self.consumers.drain(..)) {
            // Whoever drops a load that runs is failing already.
            drop(client.join());
        }
    }
}
