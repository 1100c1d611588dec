//! A promise is on the disk before it is given, is given to one candidate an
//! epoch, never goes back, and is kept. A quorum of them makes a master.

use std::collections::BTreeMap;

use replicamq_quorum::{Entry, Epoch, Message, majority};

use super::{Verdict, violation};
use crate::node::Node;

/// What a restart would find: an entry shows that its epoch was promised.
fn on_disk(machine: &Node) -> Epoch {
    let image = &machine.disk.durable;
    image.promised.max(image.log.last().epoch)
}

const NAME: &str = "promises";

/// Who promised what.
#[derive(Debug)]
pub(super) struct Promises {
    /// The highest that each node's disk held, or that it told.
    fences: Vec<Epoch>,
    /// To whom.
    given: BTreeMap<(usize, Epoch), usize>,
}

impl Promises {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            fences: vec![Epoch(0); nodes],
            given: BTreeMap::new(),
        }
    }

    pub(super) fn wiped(&mut self, node: usize) {
        self.fences[node] = Epoch(0);
        self.given.retain(|&(giver, _), _| giver != node);
    }

    pub(super) fn on_disk(&mut self, node: usize, machine: &Node) -> Verdict {
        let promised = on_disk(machine);
        let fence = self.fences[node];
        if promised < fence {
            return violation(
                NAME,
                format!("{} has {promised} on its disk after {fence}", machine.name),
            );
        }
        self.fences[node] = promised;
        Ok(())
    }

    fn keeps(&mut self, node: usize, machine: &Node, epoch: Epoch, deed: &str) -> Verdict {
        self.on_disk(node, machine)?;
        let fence = self.fences[node];
        if epoch < fence {
            return violation(
                NAME,
                format!(
                    "{} {deed} in epoch {epoch} after it promised {fence}",
                    machine.name
                ),
            );
        }
        if on_disk(machine) < epoch {
            return violation(
                NAME,
                format!(
                    "{} {deed} in epoch {epoch} before its promise is synced",
                    machine.name
                ),
            );
        }
        Ok(())
    }

    /// A new master: a quorum of disks refuses every lower epoch. A lost one is bound otherwise.
    pub(super) fn elects(nodes: &[Node], machine: &Node, epoch: Epoch) -> Verdict {
        let places = nodes.iter().filter(|node| node.place);
        let replicas = places.clone().count();
        let promised = places.filter(|node| node.disk.lost || on_disk(node) >= epoch);
        let promises = promised.count();
        if promises < majority(replicas) {
            return violation(
                NAME,
                format!(
                    "{} leads epoch {epoch} by {promises} promises",
                    machine.name
                ),
            );
        }
        Ok(())
    }

    pub(super) fn follows(&mut self, node: usize, machine: &Node, epoch: Epoch) -> Verdict {
        self.keeps(node, machine, epoch, "follows")
    }

    pub(super) fn appends(&mut self, node: usize, machine: &Node, entries: &[Entry]) -> Verdict {
        match entries.last() {
            Some(last) if last.position.epoch > on_disk(machine) => {
                let epoch = last.position.epoch;
                self.keeps(node, machine, epoch, "appends")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn sends(
        &mut self,
        (from, to): (usize, usize),
        machine: &Node,
        message: &Message,
        moot: bool,
    ) -> Verdict {
        match message {
            Message::Appended(appended) => self.keeps(from, machine, appended.epoch, "answers"),
            Message::PromiseAnswer(answer) if answer.refused.is_none() => {
                self.keeps(from, machine, answer.epoch, "promises")?;
                // Once its candidate leads, a promise that is asked for again means nothing.
                let last = machine.process.as_ref().map(|process| process.given.last());
                let whole = moot || last == Some(answer.durable);
                if !whole {
                    return violation(
                        NAME,
                        format!(
                            "{} promises with {}, its log ends at {last:?}",
                            machine.name, answer.durable
                        ),
                    );
                }
                let first = *self.given.entry((from, answer.epoch)).or_insert(to);
                if first != to {
                    return violation(
                        NAME,
                        format!("{} promises epoch {} twice", machine.name, answer.epoch),
                    );
                }
                Ok(())
            }
            Message::Ask
            | Message::AskAnswer(_)
            | Message::Promise { .. }
            | Message::PromiseAnswer(_)
            | Message::Hello(_)
            | Message::Entries(_)
            | Message::Truncate { .. }
            | Message::Lead { .. }
            | Message::TakeSnapshot { .. }
            | Message::Refused { .. } => Ok(()),
        }
    }
}
