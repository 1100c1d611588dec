//! A small cluster without chance: every order in which its few messages, syncs, timeouts and
//! crashes may come is tried, with the shipped state machine in it.
//!
//! What needs no choice is done at once: a store applies, a claim is answered, asks are. What a
//! message may do by being lost it does by never being chosen. Time stands still but for timeouts.

pub mod explore;
mod history;
mod machine;
mod wires;

use std::collections::VecDeque;

use bytes::Bytes;
use replicamq_quorum::{
    Effect, Entry, Epoch, EpochRecord, Event, Keeper, Member, Message, NodeId, Position, Quorum,
    Role,
};

use history::History;
use machine::Machine;
use wires::Wires;

/// Nodes; two are a quorum.
pub const NODES: usize = 3;

/// How much may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Times that a node misses its master, or an election takes too long.
    pub timeouts: u8,
    /// Processes that die; with their unsynced writes, or without.
    pub crashes: u8,
    /// Batches of clients.
    pub proposals: u8,
    /// Streams that break.
    pub breaks: u8,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A node's time passes, while it reaches only those of this set.
    Timeout(usize, [bool; NODES]),
    /// A promise is asked for, or answered.
    Unary(usize),
    /// The next message from a master to this replica.
    Down(usize),
    /// The next message from this replica to its master.
    Up(usize),
    /// This node learns that its stream to a replica is gone.
    Gone(usize, usize),
    /// The disk syncs all that waits.
    Sync(usize),
    /// A node reads `ZooKeeper`.
    Read(usize),
    /// A client sends a batch to a master.
    Propose(usize),
    /// A process dies and starts again; with the power, what was not synced is lost.
    Crash(usize, bool),
    /// The stream of this replica breaks.
    Break(usize),
}

/// The cluster at one moment.
#[derive(Debug, Clone)]
pub struct World {
    left: Bounds,
    machines: [Machine; NODES],
    wires: Wires,
    epoch: EpochRecord,
    history: History,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

/// Long enough that nothing is waited for any more.
const TIMEOUT_MS: u64 = 10_000;
/// Of an election's time, in ticks.
const TICKS: u32 = 60;
/// Between two ticks.
const TICK_MS: u64 = 50;

fn name(node: usize) -> NodeId {
    NodeId::new(["a", "b", "c"][node])
}

fn index(name: &NodeId) -> usize {
    match name.as_str() {
        "a" => 0,
        "b" => 1,
        _ => 2,
    }
}

impl World {
    /// Three empty nodes that have read `ZooKeeper`.
    pub fn empty(bounds: Bounds) -> Result<Self, Broken> {
        let mut world = Self {
            left: bounds,
            machines: [Machine::new(0), Machine::new(1), Machine::new(2)],
            wires: Wires::default(),
            epoch: EpochRecord::default(),
            history: History::default(),
        };
        for node in 0..NODES {
            world.read(node)?;
        }
        world.note_changes();
        Ok(world)
    }

    /// The first node leads the others, and all have the same log.
    pub fn settled(bounds: Bounds) -> Result<Self, Broken> {
        let mut world = Self::empty(Bounds {
            timeouts: 1,
            crashes: 0,
            proposals: 0,
            breaks: 0,
        })?;
        world.lead(true)?;
        world.left = bounds;
        Ok(world)
    }

    /// The first node led the others, and has just given up: nobody hears a master.
    pub fn orphaned(bounds: Bounds) -> Result<Self, Broken> {
        let mut world = Self::settled(Bounds {
            timeouts: 1,
            crashes: 0,
            proposals: 0,
            breaks: 0,
        })?;
        world.lead(false)?;
        world.left = bounds;
        Ok(world)
    }

    /// The first node's time passes, and all comes to rest.
    fn lead(&mut self, leads: bool) -> Result<(), Broken> {
        self.choose(Choice::Timeout(0, [true; NODES]))?;
        while let Some(&choice) = self.choices().first() {
            self.choose(choice)?;
        }
        let led = matches!(self.machines[0].quorum.role(), Role::Master { .. });
        assert_eq!(
            led, leads,
            "whether a healthy cluster has a master: {self:?}"
        );
        Ok(())
    }

    /// A number for this state: two states with the same one go on in the same ways.
    pub fn digest(&self) -> u128 {
        let Self {
            left,
            machines,
            wires,
            epoch,
            history,
        } = self;
        let digests: [u128; NODES] = std::array::from_fn(|node| machines[node].digest);
        digest(&format!("{left:?}{digests:?}{wires:?}{epoch:?}{history:?}"))
    }

    fn note_changes(&mut self) {
        for machine in &mut self.machines {
            if machine.digest == CHANGED {
                machine.digest = digest(&format!("{machine:?}")).max(CHANGED + 1);
            }
        }
    }

    /// All that may happen now.
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        choices.extend((0..self.wires.unary.len()).map(Choice::Unary));
        for node in 0..NODES {
            let machine = &self.machines[node];
            if !machine.pending.is_empty() {
                choices.push(Choice::Sync(node));
            }
            if self.wires.has_down(node) {
                choices.push(Choice::Down(node));
            }
            if self.wires.has_up(node) {
                choices.push(Choice::Up(node));
            }
            let gone = &self.wires.gone;
            let lost = gone.iter().filter(|(master, _)| *master == node);
            choices.extend(lost.map(|&(master, replica)| Choice::Gone(master, replica)));
            if machine.seen < self.epoch.version {
                choices.push(Choice::Read(node));
            }
            self.harm(node, &mut choices);
        }
        choices
    }

    fn harm(&self, node: usize, choices: &mut Vec<Choice>) {
        let machine = &self.machines[node];
        if self.left.proposals > 0 && matches!(machine.quorum.role(), Role::Master { .. }) {
            choices.push(Choice::Propose(node));
        }
        if self.left.timeouts > 0 {
            let (one, other) = ((node + 1) % NODES, (node + 2) % NODES);
            for reached in [vec![one, other], vec![one], vec![other]] {
                let reached = std::array::from_fn(|peer| reached.contains(&peer));
                choices.push(Choice::Timeout(node, reached));
            }
        }
        if self.left.crashes > 0 {
            choices.push(Choice::Crash(node, true));
            if !machine.pending.is_empty() {
                choices.push(Choice::Crash(node, false));
            }
        }
        if self.left.breaks > 0 && self.wires.streams[node].is_some() {
            choices.push(Choice::Break(node));
        }
    }

    /// It happens.
    pub fn choose(&mut self, choice: Choice) -> Result<(), Broken> {
        self.happen(choice)?;
        self.note_changes();
        Ok(())
    }

    fn happen(&mut self, choice: Choice) -> Result<(), Broken> {
        match choice {
            Choice::Timeout(node, reached) => {
                self.left.timeouts -= 1;
                self.time_out(node, reached)
            }
            Choice::Unary(at) => {
                let (from, to, message) = self.wires.unary.remove(at);
                self.receive(from, to, message)
            }
            Choice::Down(replica) => match self.wires.down(replica) {
                Some((master, Some(message))) => self.receive(master, replica, message),
                Some((master, None)) => self.step(replica, Event::Unlinked { node: name(master) }),
                None => Ok(()),
            },
            Choice::Up(replica) => match self.wires.up(replica) {
                Some((master, message)) => {
                    let again = matches!(message, Message::Hello(_))
                        && self.wires.gone.remove(&(master, replica));
                    if again {
                        let node = name(replica);
                        self.step(master, Event::Unlinked { node })?;
                    }
                    self.receive(replica, master, message)
                }
                None => Ok(()),
            },
            Choice::Gone(master, replica) => {
                self.wires.gone.remove(&(master, replica));
                let node = name(replica);
                self.step(master, Event::Unlinked { node })
            }
            Choice::Sync(node) => {
                for event in self.machines[node].sync() {
                    self.step(node, event)?;
                }
                Ok(())
            }
            Choice::Read(node) => self.read(node),
            Choice::Propose(node) => self.propose(node),
            Choice::Crash(node, power) => {
                self.left.crashes -= 1;
                self.wires.crash(node);
                self.machines[node].restart(node, power);
                self.read(node)
            }
            Choice::Break(replica) => {
                self.left.breaks -= 1;
                self.wires.cut(replica);
                Ok(())
            }
        }
    }

    fn receive(&mut self, from: usize, to: usize, message: Message) -> Result<(), Broken> {
        let from = name(from);
        self.step(to, Event::Received { from, message })
    }

    fn read(&mut self, node: usize) -> Result<(), Broken> {
        self.machines[node].seen = self.epoch.version;
        let members = (0..NODES).map(|node| Member {
            node: name(node),
            rank: i64::try_from(node).expect("three nodes"),
            weight: 1,
            durable: Position::default(),
        });
        let keeper = Keeper {
            members: members.collect(),
            voters: (0..NODES).map(name).collect(),
            epoch: self.epoch.clone(),
        };
        self.step(node, Event::Keeper(keeper))
    }

    fn propose(&mut self, node: usize) -> Result<(), Broken> {
        self.left.proposals -= 1;
        let mut effects = Vec::new();
        let batch = Bytes::from(vec![self.left.proposals + 1]);
        let taken = self.machines[node].quorum.propose(batch, &mut effects);
        if taken.is_none() {
            return Err(Broken(format!("master {} refuses a batch", name(node))));
        }
        self.carry_out(node, effects)
    }

    /// A node waits in vain for whomever it waits for, then asks, and stands if it may.
    fn time_out(&mut self, node: usize, reached: [bool; NODES]) -> Result<(), Broken> {
        let machine = &mut self.machines[node];
        machine.now_ms = (machine.now_ms / TIMEOUT_MS + 1) * TIMEOUT_MS;
        self.step(node, Event::Tick)?;
        for _ in 0..TICKS {
            if !matches!(self.machines[node].quorum.role(), Role::Electing) {
                break;
            }
            self.machines[node].now_ms += TICK_MS;
            self.step(node, Event::Tick)?;
            for peer in std::mem::take(&mut self.machines[node].asks) {
                if reached[peer] {
                    self.receive(node, peer, Message::Ask)?;
                    let answer = self.machines[peer].answer.take();
                    if let Some(answer) = answer {
                        self.receive(peer, node, answer)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One event, and all that follows at once.
    fn step(&mut self, node: usize, event: Event) -> Result<(), Broken> {
        let mut effects = Vec::new();
        let machine = &mut self.machines[node];
        machine.quorum.step(event, machine.now_ms, &mut effects);
        self.carry_out(node, effects)
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) -> Result<(), Broken> {
        let mut events = VecDeque::new();
        self.machines[node].digest = CHANGED;
        for effect in effects {
            self.effect(node, effect, &mut events)?;
        }
        for event in events {
            self.step(node, event)?;
        }
        Ok(())
    }

    fn effect(
        &mut self,
        node: usize,
        effect: Effect,
        events: &mut VecDeque<Event>,
    ) -> Result<(), Broken> {
        match effect {
            Effect::Append(entries) => self.machines[node].append(entries),
            Effect::Truncate { keep } => {
                History::truncates(&self.machines[node], keep)?;
                self.machines[node].truncate(keep);
            }
            Effect::StorePromise { epoch } => self.machines[node].promise(epoch),
            Effect::Apply(entries) => {
                let last = entries.last().map(|entry| entry.position.sequence);
                events.extend(last.map(|sequence| self.machines[node].apply(sequence)));
            }
            Effect::Replay { to } => events.push_back(self.machines[node].apply(to)),
            Effect::Send { to, message } => self.send(node, index(&to), message)?,
            Effect::Follow { master, hello } => {
                self.wires.follow(node, index(&master), hello);
            }
            Effect::Unfollow => self.wires.unfollow(node),
            Effect::Unlink { node: replica } => self.wires.unlink(node, index(&replica)),
            Effect::ReadLog {
                to,
                after,
                bytes_max,
            } => {
                let entries: Vec<Entry> = self.machines[node].given.read(after, bytes_max);
                events.push_back(Event::LogRead { to, after, entries });
            }
            Effect::Claim { epoch, version } => events.extend(self.claim(node, epoch, version)),
            Effect::Role(role) => self.history.role(node, &self.machines, &role)?,
            Effect::Committed { sequence } => {
                let replicas = &self.machines;
                self.history.commits(node, replicas, sequence)?;
            }
            Effect::Diverged(found) => return Err(Broken(found)),
            Effect::Install { .. } | Effect::Filled => {
                return Err(Broken("a whole store is to be filled".to_owned()));
            }
            Effect::Lease { .. } | Effect::Note(_) => {}
        }
        Ok(())
    }

    fn claim(&mut self, node: usize, epoch: Epoch, version: i32) -> Vec<Event> {
        let won = self.epoch.version == version;
        if won {
            self.epoch = EpochRecord {
                epoch,
                master: Some(name(node)),
                version: version + 1,
            };
        } else {
            // It is read again, once that is chosen.
            self.machines[node].seen = -1;
        }
        vec![Event::Claimed { epoch, won }]
    }

    fn send(&mut self, from: usize, to: usize, message: Message) -> Result<(), Broken> {
        match message {
            Message::Ask => self.machines[from].asks.push(to),
            Message::AskAnswer(_) => self.machines[from].answer = Some(message),
            Message::Promise { .. } => self.wires.unary(from, to, message),
            Message::PromiseAnswer(_) => {
                self.history
                    .promises(from, to, &self.machines[from], &message)?;
                self.wires.unary(from, to, message);
            }
            Message::Hello(_) | Message::Appended(_) => self.wires.send_up(from, to, message),
            Message::Entries(_)
            | Message::Truncate { .. }
            | Message::TakeSnapshot { .. }
            | Message::Lead { .. }
            | Message::Refused { .. } => self.wires.send_down(from, to, message),
        }
        Ok(())
    }
}

/// A machine whose digest is to be made anew.
const CHANGED: u128 = 0;

/// Two sums of different kinds over eight bytes at a time.
fn digest(text: &str) -> u128 {
    let (mut one, mut other) = (0x9E37_79B9_7F4A_7C15_u64, 0xC2B2_AE3D_27D4_EB4F_u64);
    for chunk in text.as_bytes().chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        let word = u64::from_le_bytes(bytes);
        one = (one ^ word)
            .wrapping_mul(0xBF58_476D_1CE4_E5B9)
            .rotate_left(29);
        other = (other.rotate_left(23) ^ word.wrapping_mul(0xFF51_AFD7_ED55_8CCD))
            .wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    }
    one ^= one >> 31;
    other ^= other >> 33;
    (u128::from(one) << 64) | u128::from(other)
}

/// How a process is configured.
fn quorum(node: usize, recovered: &replicamq_quorum::Recovered, now_ms: u64) -> Quorum {
    let config = replicamq_quorum::Config {
        node: name(node),
        replicas: NODES,
        weight: 1,
        sync: replicamq_quorum::SyncMode::QUORUM_DISK,
        limits: replicamq_quorum::Limits::default(),
    };
    Quorum::new(config, recovered, now_ms)
}
