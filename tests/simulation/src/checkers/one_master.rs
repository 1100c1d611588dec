//! An epoch has one master: one process.

use std::collections::BTreeMap;

use replicamq_quorum::Epoch;

use super::{Verdict, violation};
use crate::node::Node;

/// Who led each epoch.
#[derive(Debug, Default)]
pub(super) struct OneMaster {
    epochs: BTreeMap<Epoch, (usize, u64)>,
}

impl OneMaster {
    /// Whether this epoch has had its master.
    pub(super) fn had(&self, epoch: Epoch) -> bool {
        self.epochs.contains_key(&epoch)
    }

    pub(super) fn rises(&mut self, node: usize, machine: &Node, epoch: Epoch) -> Verdict {
        let life = machine.process.as_ref().map_or(0, |process| process.life);
        let first = *self.epochs.entry(epoch).or_insert((node, life));
        if first != (node, life) {
            return violation(
                "one master",
                format!(
                    "{} leads epoch {epoch} after another process did",
                    machine.name
                ),
            );
        }
        Ok(())
    }
}
