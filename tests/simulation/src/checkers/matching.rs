//! Two logs that have an entry at the same position have the same entry there,
//! and the same one before it.

use std::collections::BTreeMap;

use replicamq_quorum::{Entry, Position};

use super::committed_once::hash;
use super::{Verdict, violation};
use crate::node::Node;

/// Everything ever appended anywhere.
#[derive(Debug, Default)]
pub(super) struct Matching {
    entries: BTreeMap<Position, (u64, Position)>,
}

impl Matching {
    pub(super) fn appends(&mut self, machine: &Node, entries: &[Entry]) -> Verdict {
        let Some(process) = &machine.process else {
            return Ok(());
        };
        let mut previous = process.given.last();
        for entry in entries {
            let found = (hash(entry), previous);
            let known = *self.entries.entry(entry.position).or_insert(found);
            if known != found {
                return violation(
                    "matching",
                    format!(
                        "{} appends another {} after {previous}; it was first seen after {}",
                        machine.name, entry.position, known.1
                    ),
                );
            }
            previous = entry.position;
        }
        Ok(())
    }
}
