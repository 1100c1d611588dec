//! Nothing acknowledged is lost: every later master's store contains it.

use std::collections::BTreeMap;

use replicamq_quorum::{Epoch, Role, Sequence};

use super::{Verdict, violation};
use crate::node::Node;

const NAME: &str = "acknowledged";

/// What clients were promised.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// How far the log was committed when somebody was last answered in each epoch.
    last: BTreeMap<Epoch, Sequence>,
}

impl Acknowledged {
    /// A node answers its client, and knows that so much is committed.
    pub(super) fn answered(
        &mut self,
        nodes: &[Node],
        node: usize,
        committed: Sequence,
        ledger: Sequence,
    ) -> Verdict {
        let name = &nodes[node].name;
        if committed > ledger {
            return violation(
                NAME,
                format!("{name} answers with {committed}, but {ledger} is committed"),
            );
        }
        let own = epoch(&nodes[node]);
        let last = self.last.entry(own.unwrap_or_default()).or_default();
        *last = committed.max(*last);
        for other in nodes {
            if epoch(other) > own && other.disk.store.applied() < committed {
                return violation(
                    NAME,
                    format!(
                        "{name} answered with {}, which the later master {} does not have",
                        committed, other.name
                    ),
                );
            }
        }
        Ok(())
    }

    /// A node serves, or, without an epoch, the run is over. That the store
    /// holds the right batches is seen by its digest.
    pub(super) fn serves(&self, machine: &Node, epoch: Option<Epoch>) -> Verdict {
        let applied = machine.disk.store.applied();
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
    match process.quorum().role() {
        Role::Master { epoch } => Some(*epoch),
        Role::Electing | Role::Candidate { .. } | Role::Replica { .. } | Role::Rising { .. } => {
            None
        }
    }
}
