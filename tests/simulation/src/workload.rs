//! The clients: they propose to whoever serves, and remember what was acknowledged.

use bytes::{BufMut, Bytes, BytesMut};
use replicamq_quorum::{Role, Sequence};

use crate::node::Proposal;
use crate::world::{Happening, Phase, World};

/// After the faults stopped, a batch must be acknowledged within this…
pub const SERVED_US_MAX: u64 = 8_000_000;
/// …and every node be level with the master within this.
pub const RECOVERY_US_MAX: u64 = 20_000_000;

impl World {
    /// The node that serves, if there is one.
    pub fn master(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|&node| self.serves(node))
    }

    /// Whether clients find a master there: listeners open, lease held.
    pub fn serves(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.is_some_and(|process| {
            process.inbox.is_none()
                && matches!(process.quorum.role(), Role::Master { .. })
                && process.quorum.lease_held(process.clock.now_ms(self.now_us))
        })
    }

    /// A round of sends, to every node that serves.
    pub fn propose_round(&mut self) {
        if matches!(self.phase, Phase::Joining { .. } | Phase::Done) {
            return;
        }
        let at = self.random.between(self.plan.propose_every_us);
        self.after(at, Happening::Propose);
        for node in 0..self.nodes.len() {
            if !self.nodes[node].paused() {
                self.end_turn(node);
            }
            let batches = self.random.between((1, self.plan.burst_max));
            for _ in 0..batches {
                if self.serves(node) {
                    self.propose(node);
                }
            }
            if self.serves(node) && self.random.chance(200_000) {
                self.read(node);
            }
        }
    }

    fn propose(&mut self, node: usize) {
        let id = self.name();
        let padding = self.random.below(self.plan.batch_bytes_max);
        let mut batch = BytesMut::new();
        batch.put_u64(id);
        batch.put_bytes(0x2e, usize::try_from(padding).expect("a small number"));
        let at_us = self.now_us;
        let process = self.nodes[node].process_mut();
        let life = process.life;
        if !process.quorum.accepts() {
            return;
        }
        let mut effects = Vec::new();
        let Some(sequence) = process.quorum.propose(batch.freeze(), &mut effects) else {
            self.checkers
                .fail("serving", "a master that serves refused a batch");
            return;
        };
        process.proposals.push_back(Proposal {
            sequence,
            id,
            at_us,
        });
        self.figures.proposed += 1;
        let name = &self.nodes[node].name;
        self.trace
            .line(at_us, || format!("{name} takes batch {id} at {sequence}"));
        self.carry_out(node, life, &mut effects);
    }

    /// The broker is about to read its store, and an operator asks for the replicas.
    fn read(&mut self, node: usize) {
        let process = self.nodes[node].process_mut();
        let life = process.life;
        let mut effects = Vec::new();
        process.quorum.flush(&mut effects);
        let status = process.quorum.replicas();
        let lag = status.iter().map(|replica| replica.lag_entries).max();
        self.trace.fold(lag.unwrap_or_default());
        self.carry_out(node, life, &mut effects);
    }

    /// A node says that it knows of commits.
    pub fn committed(&mut self, node: usize, sequence: Sequence) {
        self.checkers
            .commits(&self.nodes, node, sequence, self.plan.sync);
        let process = self.nodes[node].process_mut();
        while process
            .proposals
            .front()
            .is_some_and(|first| first.sequence <= sequence)
        {
            let first = process.proposals.pop_front();
            process.answerable.extend(first);
        }
        self.answer(node);
    }

    /// The lease came or went.
    pub fn lease(&mut self, node: usize, held: bool) {
        if held {
            self.answer(node);
        }
    }

    fn answer(&mut self, node: usize) {
        let process = self.nodes[node].process_mut();
        if !process.quorum.lease_held(process.clock.now_ms(self.now_us)) {
            return;
        }
        let life = process.life;
        let answerable = std::mem::take(&mut process.answerable);
        for proposal in answerable {
            self.figures.acknowledged += 1;
            if let Some((since_us, _)) = self.orphaned.take_if(|&mut (_, master)| master != life) {
                let outage_us = self.now_us - since_us;
                self.figures.outage_us_max = self.figures.outage_us_max.max(outage_us);
            }
            if let Phase::Healing { since_us } = self.phase
                && proposal.at_us > since_us
            {
                self.phase = Phase::Joining { since_us };
                self.figures.served_us = self.now_us - since_us;
            }
            self.checkers.acknowledged(&self.nodes, node, proposal);
        }
    }

    /// After the faults: is all well?
    pub fn look(&mut self) {
        let (Phase::Healing { since_us } | Phase::Joining { since_us }) = self.phase else {
            return;
        };
        let waited_us = self.now_us - since_us;
        if matches!(self.phase, Phase::Joining { .. }) && self.joined() {
            self.figures.recovered_us = waited_us;
            self.phase = Phase::Done;
            self.checkers.ends(&self.nodes);
            return;
        }
        let waits_us_max = match self.phase {
            Phase::Joining { .. } => RECOVERY_US_MAX,
            Phase::Faulty | Phase::Healing { .. } | Phase::Done => SERVED_US_MAX,
        };
        if waited_us > waits_us_max {
            let states: Vec<String> = self.nodes.iter().map(|node| {
                let process = node.process.as_ref();
                process.map_or_else(
                    || format!("{} is down", node.name),
                    |process| {
                        let (last, durable, committed, applied) = process.quorum.positions();
                        format!(
                            "{} {:?} last {last} durable {durable} committed {committed} applied {applied} filled {}",
                            node.name, process.quorum.role(), process.quorum.is_filled()
                        )
                    },
                )
            }).collect();
            let text = format!(
                "{:?} after {waited_us} us: {}",
                self.phase,
                states.join("; ")
            );
            self.checkers.fail("liveness", &text);
            return;
        }
        self.after(20_000, Happening::Look);
    }

    /// One master, and the same whole log everywhere.
    fn joined(&self) -> bool {
        let Some(master) = self.master() else {
            return false;
        };
        let Some(process) = &self.nodes[master].process else {
            return false;
        };
        let (last, ..) = process.quorum.positions();
        self.nodes.iter().filter(|node| node.place).all(|node| {
            node.process.as_ref().is_some_and(|process| {
                let (own, durable, committed, applied) = process.quorum.positions();
                own == last
                    && durable == last
                    && committed == last.sequence
                    && applied == last.sequence
                    && node.disk.store.applied == applied
                    && !node.disk.lost
                    && process.quorum.is_filled()
            })
        })
    }
}

/// The name of a batch; 0 for an epoch's first, empty one.
pub fn batch_id(batch: &Bytes) -> u64 {
    let mut id = [0; 8];
    match batch.get(..8) {
        Some(bytes) => {
            id.copy_from_slice(bytes);
            u64::from_be_bytes(id)
        }
        None => 0,
    }
}
