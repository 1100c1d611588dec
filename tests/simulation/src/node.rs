//! A simulated machine: its disk, and the process on it while it lives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use replicamq_core::{Command, ConnectionId, Effect as ClientEffect, LoadRequest};
use replicamq_node::{Event, Now};
use replicamq_quorum::{Entry, Epoch, NodeId, Quorum, Sequence};

use crate::calendar;
use crate::disk::{Disk, LogOperation};
use crate::keeper::KeeperClient;
use crate::log::Log;
use crate::network::StreamId;

/// A machine.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: NodeId,
    /// Its preference.
    pub weight: u32,
    /// It is one of the voters, by what lies in ZooKeeper.
    pub place: bool,
    /// What survives.
    pub disk: Disk,
    /// What does not.
    pub process: Option<Process>,
    /// The machine is off: not even a refusal comes back.
    pub powerless: bool,
    /// The disk is slow until then.
    pub slow_disk_until_us: u64,
    /// Writes and syncs end no sooner: no error, no answer.
    pub hung_disk_until_us: u64,
    /// Writes fail until then: there is no space.
    pub full_disk_until_us: u64,
    /// The next sync fails.
    pub sync_fails: bool,
    /// How far its calendar is off.
    pub calendar_off_ms: i64,
}

/// A clock that starts with its process and runs a little fast or slow.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// When it started.
    pub started_us: u64,
    /// Millionths of a second that it counts in a second.
    pub rate_ppm: u64,
}

impl Clock {
    /// What it shows.
    pub fn now_ms(&self, now_us: u64) -> u64 {
        (now_us - self.started_us) * self.rate_ppm / 1_000_000 / 1_000
    }

    /// When it shows this.
    pub fn shows_us(&self, ms: u64) -> u64 {
        self.started_us + (ms * 1_000 * 1_000_000).div_ceil(self.rate_ppm)
    }
}

/// The one thread that writes the log.
#[derive(Debug, Default)]
pub struct Writer {
    /// Waits for the next group.
    pub queue: VecDeque<LogOperation>,
    /// Being written.
    pub group: Vec<LogOperation>,
    /// A group is under way.
    pub busy: bool,
}

/// What the store was asked to do.
#[derive(Debug)]
pub enum ApplyJob {
    /// These entries.
    Entries(Vec<Entry>),
    /// From the log, up to here.
    Replay(Sequence),
    /// Read.
    Load(LoadRequest),
}

/// The thread that applies.
#[derive(Debug, Default)]
pub struct Applier {
    /// In order.
    pub queue: VecDeque<ApplyJob>,
    /// One is under way.
    pub busy: bool,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Tells processes apart.
    pub life: u64,
    /// What is tested.
    pub node: replicamq_node::Node,
    /// Its time.
    pub clock: Clock,
    /// Stopped: what comes meanwhile waits here.
    pub inbox: Option<VecDeque<Event>>,
    /// What came since its last turn, and is taken with the next.
    pub turn: Option<VecDeque<Event>>,
    /// Everything given to the log, in the order of the effects.
    pub given: Log,
    /// The log's thread.
    pub writer: Writer,
    /// The store's thread.
    pub applier: Applier,
    /// Our stream to a master, and which node that is.
    pub upstream: Option<(StreamId, usize)>,
    /// The replicas' streams to us.
    pub downstreams: BTreeMap<usize, StreamId>,
    /// Our end of ZooKeeper.
    pub keeper: KeeperClient,
    /// The epoch in which its client port is open.
    pub serves: Option<Epoch>,
    /// Its ends of clients' connections.
    pub links: BTreeSet<ConnectionId>,
    /// What clients asked and the node has not taken.
    pub commands: VecDeque<(ConnectionId, Vec<Command>)>,
    /// What this turn has for clients.
    pub outbox: Vec<(ConnectionId, Vec<ClientEffect>)>,
    /// When it is to be woken to seal a batch.
    pub seal_due_ms: Option<u64>,
    /// A checkpoint under way; a later one takes its place.
    pub install: u64,
}

impl Process {
    /// The replicated log's part.
    pub fn quorum(&self) -> &Quorum {
        self.node.quorum()
    }
}

impl Node {
    /// What its clocks show to its process.
    pub fn now(&self, now_us: u64) -> Option<Now> {
        let process = self.process.as_ref()?;
        Some(Now {
            monotonic_ms: process.clock.now_ms(now_us),
            unix_ms: calendar::unix_ms(now_us, self.calendar_off_ms),
        })
    }

    /// Whether its process is stopped.
    pub fn paused(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.inbox.is_some())
    }

    /// Whether no process may run here: it is yet to come, or was told that it is out.
    pub fn is_out(&self) -> bool {
        !self.place && self.process.is_none()
    }

    /// Its process, where it is known to live.
    pub fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("the caller saw it alive")
    }
}
