//! No acknowledged batch is lost: every later master's store contains it.

use replicamq_quorum::{Role, Sequence};

use super::{Verdict, violation};
use crate::node::{Node, Proposal};

const NAME: &str = "acknowledged";

/// What clients were promised.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// The highest place of an acknowledged batch.
    last: Sequence,
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
        self.last = self.last.max(proposal.sequence);
        let own = epoch(&nodes[node]);
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

    /// A node serves, or the run is over. That the store holds the right
    /// batches is seen by its digest.
    pub(super) fn serves(&self, machine: &Node) -> Verdict {
        let applied = machine.disk.store.applied;
        if applied < self.last {
            return violation(
                NAME,
                format!(
                    "{} serves with {applied} applied, but {} was acknowledged",
                    machine.name, self.last
                ),
            );
        }
        Ok(())
    }
}

/// The epoch in which a node serves; none is below all.
fn epoch(node: &Node) -> Option<replicamq_quorum::Epoch> {
    let process = node.process.as_ref()?;
    match process.quorum.role() {
        Role::Master { epoch } => Some(*epoch),
        Role::Electing | Role::Candidate { .. } | Role::Replica { .. } | Role::Rising { .. } => {
            None
        }
    }
}
