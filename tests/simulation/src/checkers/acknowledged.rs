//! No acknowledged batch is lost: every later master's store contains it.

use std::collections::BTreeMap;

use replicamq_quorum::{Epoch, Role, Sequence};

use super::{Verdict, violation};
use crate::node::{Node, Proposal};

const NAME: &str = "acknowledged";

/// What clients were promised.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// The highest place of a batch that was acknowledged in each epoch.
    last: BTreeMap<Epoch, Sequence>,
    /// By which process, and which one: the order of answers is the log's.
    previous: Option<(u64, Sequence)>,
}

impl Acknowledged {
    /// A node answers its client. What is committed at that place is known.
    pub(super) fn answered(
        &mut self,
        nodes: &[Node],
        node: usize,
        proposal: Proposal,
        committed: Option<u64>,
    ) -> Verdict {
        let name = &nodes[node].name;
        if committed != Some(proposal.id) {
            return violation(
                NAME,
                format!("{name} acknowledged {proposal:?}, but {committed:?} is committed there"),
            );
        }
        let life = nodes[node]
            .process
            .as_ref()
            .map_or(0, |process| process.life);
        if let Some((previous, sequence)) = self.previous
            && previous == life
            && sequence >= proposal.sequence
        {
            return violation(
                NAME,
                format!("{name} acknowledged {} after {sequence}", proposal.sequence),
            );
        }
        self.previous = Some((life, proposal.sequence));
        let own = epoch(&nodes[node]);
        let last = self.last.entry(own.unwrap_or_default()).or_default();
        *last = proposal.sequence.max(*last);
        for other in nodes {
            if epoch(other) > own && other.disk.store.applied < proposal.sequence {
                return violation(
                    NAME,
                    format!(
                        "{name} acknowledged {}, which the later master {} does not have",
                        proposal.sequence, other.name
                    ),
                );
            }
        }
        Ok(())
    }

    /// A node serves, or, without an epoch, the run is over. That the store
    /// holds the right batches is seen by its digest.
    pub(super) fn serves(&self, machine: &Node, epoch: Option<Epoch>) -> Verdict {
        let applied = machine.disk.store.applied;
        let earlier = self
            .last
            .iter()
            .filter(|&(&e, _)| epoch.is_none_or(|epoch| e < epoch));
        let last = earlier.map(|(_, &last)| last).max().unwrap_or_default();
        if applied < last {
            return violation(
                NAME,
                format!(
                    "{} serves with {applied} applied, but {last} was acknowledged",
                    machine.name
                ),
            );
        }
        Ok(())
    }
}

/// The epoch in which a node serves; none is below all.
fn epoch(node: &Node) -> Option<Epoch> {
    let process = node.process.as_ref()?;
    match process.quorum.role() {
        Role::Master { epoch } => Some(*epoch),
        Role::Electing | Role::Candidate { .. } | Role::Replica { .. } | Role::Rising { .. } => {
            None
        }
    }
}
