//! What was promised, led and committed, and what must never be after that.

use std::collections::BTreeMap;

use replicamq_quorum::{Entry, Epoch, Message, Position, Role, Sequence, majority};

use super::machine::Machine;
use super::{Broken, NODES, name};

/// All that ever happened, as far as it binds.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// The first is sequence 1.
    committed: Vec<Entry>,
    /// Which process led an epoch.
    led: BTreeMap<Epoch, (usize, u8)>,
    /// To whom a node gave its promise.
    promised: BTreeMap<(usize, Epoch), usize>,
}

fn broken<T>(text: String) -> Result<T, Broken> {
    Err(Broken(text))
}

impl History {
    /// A node knows of commits: one entry a place, for all and ever; on a quorum of disks.
    pub(super) fn commits(
        &mut self,
        node: usize,
        machines: &[Machine; NODES],
        sequence: Sequence,
    ) -> Result<(), Broken> {
        let own = &machines[node];
        for sequence in (1..=sequence.0).map(Sequence) {
            let Some(entry) = own.given.get(sequence) else {
                return broken(format!("{} commits {sequence}, which it lacks", name(node)));
            };
            let known = usize::try_from(sequence.0 - 1).ok();
            match known.and_then(|index| self.committed.get(index)) {
                Some(known) if known == entry => {}
                Some(known) => {
                    return broken(format!(
                        "{} commits {}, but {} was committed there",
                        name(node),
                        entry.position,
                        known.position
                    ));
                }
                None => {
                    let held = machines
                        .iter()
                        .filter(|machine| machine.durable.log.holds(entry.position));
                    if held.count() < majority(NODES) {
                        return broken(format!(
                            "{} commits {}, which is on too few disks",
                            name(node),
                            entry.position
                        ));
                    }
                    self.committed.push(entry.clone());
                }
            }
        }
        Ok(())
    }

    /// One process leads an epoch, by a quorum of promises, and its log has all that was committed.
    pub(super) fn role(
        &mut self,
        node: usize,
        machines: &[Machine; NODES],
        role: &Role,
    ) -> Result<(), Broken> {
        let (Role::Rising { epoch } | Role::Master { epoch }) = role else {
            return Ok(());
        };
        let machine = &machines[node];
        let promised = machines
            .iter()
            .filter(|machine| machine.durable.promised >= *epoch);
        if promised.count() < majority(NODES) {
            return broken(format!("too few promised {} its epoch {epoch}", name(node)));
        }
        let process = (node, machine.life);
        if *self.led.entry(*epoch).or_insert(process) != process {
            return broken(format!(
                "{} leads epoch {epoch}, which has its master",
                name(node)
            ));
        }
        let newest = self.led.keys().next_back() == Some(epoch);
        let lacks = |entry: &&Entry| machine.given.get(entry.position.sequence) != Some(*entry);
        match self.committed.iter().find(lacks) {
            Some(entry) if newest => broken(format!(
                "{} leads epoch {epoch} without {}, which is committed",
                name(node),
                entry.position
            )),
            _ => Ok(()),
        }
    }

    /// What is committed is never cut where it is known to be; elsewhere another has it.
    pub(super) fn truncates(machine: &Machine, keep: Position) -> Result<(), Broken> {
        let (_, _, committed, _) = machine.quorum.positions();
        if keep.sequence < committed {
            return broken(format!("a log is cut at {keep}, below {committed}"));
        }
        Ok(())
    }

    /// A promise is on the disk before it is told, and is given once an epoch.
    pub(super) fn promises(
        &mut self,
        from: usize,
        to: usize,
        machine: &Machine,
        message: &Message,
    ) -> Result<(), Broken> {
        let Message::PromiseAnswer(answer) = message else {
            return Ok(());
        };
        if answer.refused.is_some() {
            return Ok(());
        }
        if machine.durable.promised < answer.epoch {
            return broken(format!(
                "{} tells a promise that is not on its disk",
                name(from)
            ));
        }
        if *self.promised.entry((from, answer.epoch)).or_insert(to) != to {
            return broken(format!(
                "{} promises epoch {} twice",
                name(from),
                answer.epoch
            ));
        }
        Ok(())
    }
}
