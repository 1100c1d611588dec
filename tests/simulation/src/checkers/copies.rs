//! A commit has its copies, and nobody speaks of a copy that is not there.

use replicamq_quorum::{Appended, Copy, Role, Sequence, SyncMode, majority};

use super::{Verdict, violation};
use crate::node::Node;

const NAME: &str = "copies";

/// A master commits: so many disks hold it now.
pub(super) fn commits(
    nodes: &[Node],
    machine: &Node,
    sequence: Sequence,
    sync: SyncMode,
) -> Verdict {
    let Some(process) = &machine.process else {
        return Ok(());
    };
    let position = process.given.position(sequence);
    let epoch = match process.quorum().role() {
        Role::Master { epoch } | Role::Rising { epoch } => *epoch,
        Role::Electing | Role::Candidate { .. } | Role::Replica { .. } => return Ok(()),
    };
    let Some(position) = position.filter(|position| position.epoch == epoch) else {
        return violation(
            NAME,
            format!(
                "master {} of epoch {epoch} commits {position:?}, which is not its own",
                machine.name
            ),
        );
    };
    let places = nodes.iter().filter(|node| node.place);
    let replicas = places.clone().count();
    let copies = places
        .filter(|node| {
            let waits_for = if node.name == machine.name {
                sync.local
            } else {
                sync.remote
            };
            let image = match waits_for {
                Copy::Disk => &node.disk.durable,
                Copy::Memory => &node.disk.written,
                Copy::None if node.name == machine.name => &node.disk.written,
                Copy::None => return false,
            };
            node.disk.lost || image.log.holds(position)
        })
        .count();
    let needed = match sync.remote {
        Copy::None => 1,
        Copy::Disk | Copy::Memory => majority(replicas),
    };
    if copies < needed {
        return violation(
            NAME,
            format!("{} commits {position} with {copies} copies", machine.name),
        );
    }
    Ok(())
}

/// A replica tells its master what it has.
pub(super) fn told(machine: &Node, appended: &Appended) -> Verdict {
    let disk = &machine.disk;
    if !disk.durable.log.holds(appended.durable) || !disk.written.log.holds(appended.appended) {
        return violation(
            NAME,
            format!(
                "{} answers {appended:?}, but its disk holds {} and {}",
                machine.name,
                disk.durable.log.last(),
                disk.written.log.last()
            ),
        );
    }
    if appended.applied > disk.store.applied() {
        return violation(
            NAME,
            format!(
                "{} answers {appended:?}, but applied {}",
                machine.name,
                disk.store.applied()
            ),
        );
    }
    Ok(())
}
