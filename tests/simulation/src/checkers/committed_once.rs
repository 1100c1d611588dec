//! One batch is ever committed at a place, on all nodes and for all time, and
//! every store applies exactly that.

use prost::Message as _;
use replicamq_proto::store::v1::{Batch, Op};
use replicamq_quorum::{Entry, Epoch, Position, Sequence, majority};

use super::{Verdict, violation};
use crate::node::{Node, Process};
use crate::store::{Pairs, StoreState, change};

const NAME: &str = "committed once";

#[derive(Debug)]
struct Committed {
    position: Position,
    hash: u64,
    /// What it does to a store.
    ops: Vec<Op>,
    /// Of all up to here.
    digest: u64,
}

/// What was committed at each place.
#[derive(Debug)]
pub(super) struct CommittedOnce {
    /// The first is sequence 1.
    ledger: Vec<Committed>,
    /// How far each node knows.
    known: Vec<Sequence>,
    /// No replica is waited for: a failover may lose what no quorum has.
    may_part: bool,
    /// One did, or an earlier master went on by itself.
    has_parted: bool,
    /// The newest master's.
    branch: Epoch,
}

/// Of an entry: its place and all its bytes.
pub(super) fn hash(entry: &Entry) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut fold = |word: u64| {
        hash = (hash ^ word)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    };
    fold(entry.position.epoch.0);
    fold(entry.position.sequence.0);
    fold(u64::try_from(entry.batch.len()).expect("lengths fit 64 bits"));
    let (words, rest) = entry.batch.as_chunks::<8>();
    for word in words {
        fold(u64::from_le_bytes(*word));
    }
    for byte in rest {
        fold(u64::from(*byte));
    }
    hash
}

fn digest(before: u64, hash: u64) -> u64 {
    (before.rotate_left(7) ^ hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl CommittedOnce {
    pub(super) fn new(nodes: usize, may_part: bool) -> Self {
        Self {
            ledger: Vec::new(),
            known: vec![Sequence(0); nodes],
            may_part,
            has_parted: false,
            branch: Epoch(0),
        }
    }

    pub(super) fn has_parted(&self) -> bool {
        self.has_parted
    }

    /// A master begins. What it lacks is lost: nothing may be where replicas are waited for, and
    /// elsewhere nothing that a quorum has.
    pub(super) fn elected(&mut self, nodes: &[Node], machine: &Node, epoch: Epoch) -> Verdict {
        let Some(process) = machine.process.as_ref().filter(|_| self.may_part) else {
            return Ok(());
        };
        if epoch < self.branch {
            return Ok(());
        }
        self.branch = epoch;
        let mut lost = None;
        while let Some(last) = self.ledger.last() {
            if process.given.holds(last.position) {
                break;
            }
            lost = Some(last.position);
            self.ledger.pop();
        }
        let Some(lost) = lost else {
            return Ok(());
        };
        self.has_parted = true;
        let places = nodes.iter().filter(|node| node.place);
        let replicas = places.clone().count();
        let copies = places.filter(|node| node.disk.durable.log.holds(lost));
        let copies = copies.count();
        if copies >= majority(replicas) {
            return violation(
                NAME,
                format!(
                    "{} leads epoch {epoch} without {lost}, of which there are {copies} copies",
                    machine.name
                ),
            );
        }
        Ok(())
    }

    /// Whether an earlier master than the newest says so. What it commits beyond that one's log
    /// is lost already.
    fn is_stale(&mut self, process: &Process, sequence: Sequence) -> bool {
        let Some(position) = process.given.position(sequence) else {
            return false;
        };
        if !self.may_part || position.epoch >= self.branch {
            return false;
        }
        let same = self.at(sequence).map(|committed| committed.position) == Some(position);
        self.has_parted |= !same;
        true
    }

    fn at(&self, sequence: Sequence) -> Option<&Committed> {
        let index = usize::try_from(sequence.0.checked_sub(1)?).ok()?;
        self.ledger.get(index)
    }

    /// The last one that is known to be committed.
    pub(super) fn last(&self) -> Sequence {
        Sequence(u64::try_from(self.ledger.len()).expect("lengths fit 64 bits"))
    }

    /// How far a node said that it knows of commits.
    pub(super) fn known(&self, node: usize) -> Sequence {
        self.known[node]
    }

    /// What the entry committed there does.
    pub(super) fn ops(&self, sequence: Sequence) -> &[Op] {
        self.at(sequence).map_or(&[], |committed| &committed.ops)
    }

    /// What a store that has everything holds.
    pub(super) fn pairs(&self) -> Pairs {
        let mut pairs = Pairs::new();
        for committed in &self.ledger {
            change(&mut pairs, &committed.ops, |_, _| {});
        }
        pairs
    }

    pub(super) fn started(&mut self, node: usize, applied: Sequence) {
        self.known[node] = applied;
    }

    pub(super) fn commits(&mut self, node: usize, machine: &Node, sequence: Sequence) -> Verdict {
        let Some(process) = &machine.process else {
            return Ok(());
        };
        let known = self.known[node];
        if sequence <= known {
            return violation(
                NAME,
                format!("{} commits {sequence} after {known}", machine.name),
            );
        }
        if self.is_stale(process, sequence) {
            self.known[node] = sequence;
            return Ok(());
        }
        // Of what another master lost, this one may have more.
        let from = if self.may_part {
            known.min(self.last())
        } else {
            known
        };
        for sequence in (from.0 + 1..=sequence.0).map(Sequence) {
            let Some(entry) = process.given.get(sequence) else {
                return violation(
                    NAME,
                    format!(
                        "{} commits {sequence}, which it does not have",
                        machine.name
                    ),
                );
            };
            let hash = hash(entry);
            if let Some(committed) = self.at(sequence) {
                if committed.hash != hash {
                    return violation(
                        NAME,
                        format!(
                            "{} commits {} ({} bytes), but another {} was committed there",
                            machine.name,
                            entry.position,
                            entry.batch.len(),
                            committed.position,
                        ),
                    );
                }
                continue;
            }
            let before = self.ledger.last().map_or(0, |last| last.digest);
            let batch = Batch::decode(entry.batch.clone()).expect("a broker made it");
            self.ledger.push(Committed {
                position: entry.position,
                hash,
                ops: batch.ops,
                digest: digest(before, hash),
            });
            if self.at(sequence).is_none() {
                return violation(NAME, format!("{} leaves a gap at {sequence}", machine.name));
            }
        }
        self.known[node] = sequence;
        Ok(())
    }

    /// Nothing that is known to be committed is ever cut.
    pub(super) fn truncates(&self, node: usize, keep: Position) -> Verdict {
        if keep.sequence < self.known[node] {
            return violation(
                NAME,
                format!("a log is cut at {keep}, below {}", self.known[node]),
            );
        }
        Ok(())
    }

    /// The store takes entries: the next ones, and the committed ones.
    pub(super) fn applies(&self, node: usize, machine: &mut Node, entries: &[Entry]) -> Verdict {
        for entry in entries {
            let state = machine.disk.store.state();
            let sequence = entry.position.sequence;
            if sequence != state.applied.next() || sequence > self.known[node] {
                return violation(
                    NAME,
                    format!(
                        "{} applies {sequence} after {}, committed {}",
                        machine.name, state.applied, self.known[node]
                    ),
                );
            }
            let digest = digest(state.digest, hash(entry));
            let applied = sequence;
            let state = StoreState { applied, digest };
            if self.may_part {
                let batch = Batch::decode(entry.batch.clone()).expect("a broker made it");
                machine.disk.store.apply(&batch.ops, state);
            } else {
                machine.disk.store.apply(self.ops(sequence), state);
            }
        }
        self.still_same(machine)
    }

    pub(super) fn installed(&self, machine: &Node) -> Verdict {
        self.still_same(machine)
    }

    /// Who goes on from what was lost is another until it is filled.
    fn still_same(&self, machine: &Node) -> Verdict {
        if self.has_parted {
            return Ok(());
        }
        self.same(machine)
    }

    pub(super) fn ends(&self, machine: &Node, pairs: &Pairs) -> Verdict {
        self.same(machine)?;
        let is_last = machine.disk.store.applied() == self.last();
        if is_last && machine.disk.store.pairs() != pairs {
            return violation(
                NAME,
                format!(
                    "the store of {} holds something else than what the committed entries make",
                    machine.name
                ),
            );
        }
        Ok(())
    }

    fn same(&self, machine: &Node) -> Verdict {
        let state = machine.disk.store.state();
        let expected = match state.applied {
            Sequence(0) => Some(0),
            applied => self.at(applied).map(|committed| committed.digest),
        };
        if expected != Some(state.digest) {
            return violation(
                NAME,
                format!(
                    "the store of {} does not hold what was committed up to {}",
                    machine.name, state.applied
                ),
            );
        }
        Ok(())
    }
}
