//! The loop's body: events in, effects out, nothing else.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use replicamq_core::{BootError, Broker, Command, ConnectionId, DestinationStatus, LoadRequest};
use replicamq_quorum::{Epoch, NodeId, Quorum, Recovered, Role, Sequence, TransferError};

use crate::boot::{Boot, Step};
use crate::event::{Effect, Event, Now};

/// The broker's own part of a load's token; the mastership's number is above it.
const TOKEN_BITS: u32 = 40;

/// A batch of this size is not let grow any further by other commands.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Acknowledgements that nobody waits for are stored at the latest when so much
/// time has passed since the last batch…
const PATIENCE_MS: u64 = 5;

/// …or when they are so many bytes.
const PATIENT_BYTES_MAX: usize = 16 << 10;

/// What a node is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The replicated log's part.
    pub quorum: replicamq_quorum::Config,
    /// The broker's bounds.
    pub limits: replicamq_core::Limits,
}

/// What stands between this node and its clients.
#[derive(Debug)]
enum Service {
    /// Not master: no clients.
    Closed,
    /// Master; the broker is being built.
    Booting { epoch: Epoch, boot: Box<Boot> },
    /// Master, with clients.
    Open(Box<Open>),
}

#[derive(Debug)]
struct Open {
    broker: Broker,
    /// When a batch was last taken.
    sealed_ms: u64,
    /// What came while the lease was not held: nothing is answered or
    /// dispatched before it is held again. Few commands are among it: none are
    /// taken from their queue while [`Node::accepts_commands`] says no.
    deferred: VecDeque<Deferred>,
}

#[derive(Debug)]
enum Deferred {
    Command(ConnectionId, Box<Command>),
    Committed(Sequence),
    Loaded(Page),
}

/// The answer to a read of the store.
#[derive(Debug)]
struct Page {
    token: u64,
    pairs: Vec<(Bytes, Bytes)>,
    more: bool,
}

/// One node of the cluster.
#[derive(Debug)]
pub struct Node {
    config: Config,
    quorum: Quorum,
    service: Service,
    /// How often this node became master since it started.
    boots: u64,
    quorum_effects: Vec<replicamq_quorum::Effect>,
    broker_effects: Vec<replicamq_core::Effect>,
}

impl Node {
    /// A node as it starts.
    #[must_use]
    pub fn new(config: Config, recovered: &Recovered, now: Now) -> Self {
        Self {
            quorum: Quorum::new(config.quorum.clone(), recovered, now.monotonic_ms),
            config,
            service: Service::Closed,
            boots: 0,
            quorum_effects: Vec::new(),
            broker_effects: Vec::new(),
        }
    }

    /// Takes one event. Call [`Node::seal`] after the last of a turn.
    pub fn step(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        match event {
            Event::Quorum(event) => {
                let tick = matches!(event, replicamq_quorum::Event::Tick);
                self.quorum
                    .step(event, now.monotonic_ms, &mut self.quorum_effects);
                self.quorum_moved(now, effects);
                if tick && self.may_serve(now) {
                    self.with_broker(|broker, out| broker.tick(now.unix_ms, out));
                }
            }
            Event::Command {
                connection,
                command,
            } => {
                self.commanded(connection, command, now);
                if matches!(&self.service, Service::Open(open) if open.broker.batch_bytes() >= BATCH_BYTES_MAX)
                    && !self.quorum.is_leaving()
                {
                    self.propose(now, effects);
                }
            }
            Event::Loaded { token, pairs, more } => {
                self.loaded(Page { token, pairs, more }, now, effects);
            }
        }
        self.catch_up(now);
        self.pass_on(effects);
    }

    /// Ends a turn: everything that the broker wants stored becomes one entry,
    /// unless nobody waits for it and it is young and small.
    pub fn seal(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let leaving = self.quorum.is_leaving();
        let Service::Open(open) = &mut self.service else {
            return;
        };
        if leaving {
            return;
        }
        let young = now.monotonic_ms < open.sealed_ms + PATIENCE_MS;
        if young && !open.broker.is_urgent() && open.broker.batch_bytes() < PATIENT_BYTES_MAX {
            return;
        }
        self.propose(now, effects);
    }

    /// When [`Node::seal`] has something to do even if nothing happens until then.
    #[must_use]
    pub fn seal_due_ms(&self) -> Option<u64> {
        match &self.service {
            Service::Open(open) if open.broker.has_batch() && !self.quorum.is_leaving() => {
                Some(open.sealed_ms + PATIENCE_MS)
            }
            Service::Open(_) | Service::Closed | Service::Booting { .. } => None,
        }
    }

    /// Stores what is left, and begins to hand the mastership over; to whom. No commands are
    /// taken meanwhile.
    pub fn transfer(
        &mut self,
        to: Option<&NodeId>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<NodeId, TransferError> {
        self.propose(now, effects);
        let begun = self.quorum.transfer(to, &mut self.quorum_effects);
        self.quorum_moved(now, effects);
        self.pass_on(effects);
        begun
    }

    /// Whether a master has proposed what is not committed yet.
    #[must_use]
    pub fn has_uncommitted(&self) -> bool {
        let (last, _, committed, _) = self.quorum.positions();
        matches!(self.quorum.role(), Role::Master { .. }) && committed < last.sequence
    }

    fn propose(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Service::Open(open) = &mut self.service else {
            return;
        };
        open.sealed_ms = now.monotonic_ms;
        let Some(batch) = open.broker.take_batch() else {
            return;
        };
        let sequence = self
            .quorum
            .propose(batch, &mut self.quorum_effects)
            .expect("a broker is open only while its node is master");
        open.broker.sealed(sequence.0);
        self.quorum_moved(now, effects);
        self.pass_on(effects);
    }

    /// Whether commands may come now. While not, they wait in their queue, and
    /// their senders feel it.
    #[must_use]
    pub fn accepts_commands(&self, now: Now) -> bool {
        matches!(self.service, Service::Open(_))
            && self.quorum.accepts()
            && self.quorum.lease_held(now.monotonic_ms)
    }

    /// The replicated log's part, to be looked at.
    #[must_use]
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// The destinations of an open broker.
    #[must_use]
    pub fn destinations(&self) -> Vec<DestinationStatus> {
        match &self.service {
            Service::Open(open) => open.broker.destinations(),
            Service::Closed | Service::Booting { .. } => Vec::new(),
        }
    }

    fn may_serve(&self, now: Now) -> bool {
        self.quorum.lease_held(now.monotonic_ms)
    }

    fn with_broker(&mut self, act: impl FnOnce(&mut Broker, &mut Vec<replicamq_core::Effect>)) {
        if let Service::Open(open) = &mut self.service {
            act(&mut open.broker, &mut self.broker_effects);
        }
    }

    /// Takes the quorum's effects: those that concern the broker are heard here.
    fn quorum_moved(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut moved = std::mem::take(&mut self.quorum_effects);
        for effect in moved.drain(..) {
            if let replicamq_quorum::Effect::Committed { sequence } = &effect
                && let Service::Open(open) = &mut self.service
            {
                open.deferred.push_back(Deferred::Committed(*sequence));
            }
            let role = match &effect {
                replicamq_quorum::Effect::Role(role) => Some(role.clone()),
                _ => None,
            };
            effects.push(Effect::Quorum(effect));
            if let Some(role) = role {
                self.role_changed(&role, effects);
            }
        }
        self.quorum_effects = moved;
        self.catch_up(now);
    }

    fn role_changed(&mut self, role: &Role, effects: &mut Vec<Effect>) {
        let epoch = match role {
            Role::Master { epoch } => Some(*epoch),
            Role::Electing
            | Role::Candidate { .. }
            | Role::Replica { .. }
            | Role::Rising { .. } => None,
        };
        if !matches!(self.service, Service::Closed) {
            self.service = Service::Closed;
            self.broker_effects.clear();
            effects.push(Effect::Retire);
        }
        if let Some(epoch) = epoch {
            self.boots += 1;
            let boot = Box::new(Boot::new(self.config.limits.clone()));
            let step = boot.next();
            self.service = Service::Booting { epoch, boot };
            self.boot_step(Ok(step), effects);
        }
    }

    fn boot_step(&mut self, step: Result<Step, BootError>, effects: &mut Vec<Effect>) {
        let built = match step {
            Ok(Step::Read(request)) => {
                self.flush(effects);
                effects.push(self.load(request));
                return;
            }
            Ok(Step::Done) => match std::mem::replace(&mut self.service, Service::Closed) {
                Service::Booting { epoch, boot } => {
                    boot.finish(epoch.0).map(|broker| (epoch, broker))
                }
                Service::Closed | Service::Open(_) => unreachable!("only a boot is done"),
            },
            Err(error) => Err(error),
        };
        match built {
            Ok((epoch, broker)) => {
                self.service = Service::Open(Box::new(Open {
                    broker,
                    sealed_ms: 0,
                    deferred: VecDeque::new(),
                }));
                effects.push(Effect::Serve { epoch });
            }
            Err(error) => effects.push(Effect::Unreadable {
                reason: error.to_string(),
            }),
        }
    }

    fn loaded(&mut self, mut page: Page, now: Now, effects: &mut Vec<Effect>) {
        if page.token >> TOKEN_BITS != self.boots {
            return;
        }
        page.token &= (1 << TOKEN_BITS) - 1;
        match &mut self.service {
            Service::Closed => {}
            Service::Booting { boot, .. } => {
                let step = boot.loaded(page.pairs, page.more);
                self.boot_step(step, effects);
            }
            Service::Open(open) => {
                open.deferred.push_back(Deferred::Loaded(page));
                self.catch_up(now);
            }
        }
    }

    /// The process may have stood still since it was asked whether commands may come: a
    /// command that outlived the lease waits, in its place, or goes with its connection.
    fn commanded(&mut self, connection: ConnectionId, command: Command, now: Now) {
        let held = self.may_serve(now);
        self.catch_up(now);
        let Service::Open(open) = &mut self.service else {
            return;
        };
        if held {
            let out = &mut self.broker_effects;
            open.broker.step(connection, command, now.unix_ms, out);
        } else {
            let command = Box::new(command);
            open.deferred
                .push_back(Deferred::Command(connection, command));
        }
    }

    /// Tells the broker what happened, as long as the lease is held.
    fn catch_up(&mut self, now: Now) {
        let held = self.may_serve(now);
        let Service::Open(open) = &mut self.service else {
            return;
        };
        while held && let Some(deferred) = open.deferred.pop_front() {
            let out = &mut self.broker_effects;
            match deferred {
                Deferred::Command(connection, command) => {
                    open.broker.step(connection, *command, now.unix_ms, out);
                }
                Deferred::Committed(sequence) => {
                    open.broker.committed(sequence.0, now.unix_ms, out);
                }
                Deferred::Loaded(Page { token, pairs, more }) => {
                    open.broker.loaded(token, pairs, more, now.unix_ms, out);
                }
            }
        }
    }

    fn pass_on(&mut self, effects: &mut Vec<Effect>) {
        let mut passed = std::mem::take(&mut self.broker_effects);
        for effect in passed.drain(..) {
            let effect = match effect {
                replicamq_core::Effect::Load(request) => {
                    self.flush(effects);
                    self.load(request)
                }
                effect => Effect::Client(effect),
            };
            effects.push(effect);
        }
        self.broker_effects = passed;
    }

    /// What the broker knows to be committed is applied before it reads.
    fn flush(&mut self, effects: &mut Vec<Effect>) {
        let mut flushed = Vec::new();
        self.quorum.flush(&mut flushed);
        effects.extend(flushed.into_iter().map(Effect::Quorum));
    }

    /// A read whose answer cannot be mistaken for one to an earlier mastership's.
    fn load(&self, mut request: LoadRequest) -> Effect {
        assert!(
            request.token >> TOKEN_BITS == 0,
            "the broker's tokens are small"
        );
        request.token |= self.boots << TOKEN_BITS;
        Effect::Load(request)
    }
}
