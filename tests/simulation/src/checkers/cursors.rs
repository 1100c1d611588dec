//! applied <= committed, applied <= durable <= appended (in a memory mode, applied
//! <= appended); on a master committed <= durable as well. None goes back but by a cut, and each is true of the disk.

use replicamq_quorum::{Copy, Role, Sequence, SyncMode};

use super::{Verdict, violation};
use crate::node::Node;

const NAME: &str = "cursors";

/// How far each process said to be.
#[derive(Debug)]
pub(super) struct Cursors {
    committed: Vec<(Sequence, Sequence)>,
}

impl Cursors {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            committed: vec![Default::default(); nodes],
        }
    }

    pub(super) fn started(&mut self, node: usize) {
        self.committed[node] = Default::default();
    }

    pub(super) fn stepped(&mut self, node: usize, machine: &Node, sync: SyncMode) -> Verdict {
        let Some(process) = &machine.process else {
            return Ok(());
        };
        let (last, durable, committed, applied) = process.quorum().positions();
        let bad = |what: &str| {
            violation(
                NAME,
                format!(
                    "{} {:?}: {what}: applied {applied}, committed {committed}, durable {durable}, last {last}",
                    machine.name,
                    process.quorum().role()
                ),
            )
        };
        if last != process.given.last() {
            return bad("the last entry is another");
        }
        let own = match sync.local {
            Copy::Disk => durable,
            Copy::Memory | Copy::None => machine.disk.written.log.last(),
        };
        if applied > committed || applied > own.sequence || durable > last {
            return bad("the cursors are out of order");
        }
        if committed > last.sequence {
            return bad("more is committed than there is");
        }
        let masters = matches!(
            process.quorum().role(),
            Role::Master { .. } | Role::Rising { .. }
        );
        if masters && sync.local == Copy::Disk && committed > durable.sequence {
            return bad("committed without an own durable copy");
        }
        if !machine.disk.durable.log.holds(durable) || applied > machine.disk.store.applied() {
            return bad("the disk is not so far");
        }
        let before = &mut self.committed[node];
        if committed < before.0 || applied < before.1 {
            return bad("a cursor went back");
        }
        *before = (committed, applied);
        Ok(())
    }
}
