//! Who serves clients, and whether all is well again once the faults have stopped.

use replicamq_core::Receipt;
use replicamq_quorum::{Epoch, Role, Sequence};

use crate::world::{Happening, Phase, World};

/// After the faults stopped, a batch must be acknowledged within this…
pub const SERVED_US_MAX: u64 = 8_000_000;
/// …and every node be level with the master within this since the last message was consumed.
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
                && matches!(process.quorum().role(), Role::Master { .. })
                && process
                    .quorum()
                    .lease_held(process.clock.now_ms(self.now_us))
        })
    }

    /// A node says that it knows of commits.
    pub fn committed(&mut self, node: usize, sequence: Sequence) {
        self.checkers
            .commits(&self.nodes, node, sequence, self.plan.sync);
    }

    /// A node answers a client: if its message is safe there, an outage may be over.
    pub fn answered(&mut self, node: usize, receipt: Receipt) {
        if !self.checkers.ledger.is_of_send(receipt) {
            return;
        }
        let process = self.nodes[node].process.as_ref();
        let serves = process.and_then(|process| process.serves);
        let ended = |&mut (_, epoch): &mut (u64, Epoch)| Some(epoch) < serves;
        if let Some((since_us, _)) = self.orphaned.take_if(ended) {
            let outage_us = self.now_us - since_us;
            self.figures.outage_us_max = self.figures.outage_us_max.max(outage_us);
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
        // Where much waits and is taken one by one, it takes long to consume it all.
        let idle_us = self.now_us - self.consumed_us.max(since_us);
        let is_late = match self.phase {
            Phase::Joining { .. } => idle_us > RECOVERY_US_MAX,
            Phase::Faulty | Phase::Healing { .. } | Phase::Done => waited_us > SERVED_US_MAX,
        };
        if is_late {
            let states: Vec<String> = self.nodes.iter().map(|node| {
                let process = node.process.as_ref();
                process.map_or_else(
                    || format!("{} is down", node.name),
                    |process| {
                        let (last, durable, committed, applied) = process.quorum().positions();
                        format!(
                            "{} {:?} last {last} durable {durable} committed {committed} applied {applied} filled {}",
                            node.name, process.quorum().role(), process.quorum().is_filled()
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

    /// One master, whose clients have sent and consumed everything, and the same whole log
    /// everywhere.
    fn joined(&self) -> bool {
        let Some(master) = self.master() else {
            return false;
        };
        let is_empty = self.checkers.has_parted() || self.checkers.ledger.is_empty();
        if !is_empty || !self.clients_are_done() || !self.is_drained(master) {
            return false;
        }
        let Some(process) = &self.nodes[master].process else {
            return false;
        };
        let (last, ..) = process.quorum().positions();
        let places = self.nodes.iter().filter(|node| node.place);
        places.into_iter().all(|node| {
            node.process.as_ref().is_some_and(|process| {
                let (own, durable, committed, applied) = process.quorum().positions();
                own == last
                    && durable == last
                    && committed == last.sequence
                    && applied == last.sequence
                    && node.disk.store.applied() == applied
                    && !node.disk.lost
                    && process.quorum().is_filled()
            })
        })
    }

    /// Nothing waits in any destination, nor to be stored.
    fn is_drained(&self, master: usize) -> bool {
        let process = self.nodes[master].process.as_ref();
        let destinations = process.map(|process| process.node.destinations());
        let mut destinations = destinations.into_iter().flatten();
        let is_sealed = process.is_some_and(|process| process.node.seal_due_ms().is_none());
        is_sealed && destinations.all(|one| one.depth == 0 && one.in_flight == 0)
    }
}
