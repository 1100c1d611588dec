//! Being master: taking batches, shipping them, counting copies.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::progress::Progress;
use crate::quorum::State;
use crate::sync::Copy;
use crate::tail::weight;
use crate::transfer::Leaving;
use crate::{
    Appended, Effect, Entries, Entry, Epoch, Hello, Limits, Message, NodeId, Position, Quorum,
    Sequence, majority,
};

/// How far a replica is, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Which.
    pub node: NodeId,
    /// Written there.
    pub appended: Position,
    /// Synced there.
    pub durable: Position,
    /// Visible there.
    pub applied: Sequence,
    /// Entries of ours that it has not synced, or not written if that is enough.
    pub lag_entries: u64,
    /// Their size, estimated where they are no longer in memory.
    pub lag_bytes: u64,
    /// Since when it has not been level with us.
    pub lag_ms: u64,
    /// It takes a checkpoint.
    pub filling: bool,
}

/// Leading an epoch.
#[derive(Debug, Clone)]
pub(crate) struct Master {
    pub(crate) epoch: Epoch,
    /// Our own first entry. Clients are served once it is applied.
    pub(crate) first: Sequence,
    since_ms: u64,
    pub(crate) replicas: BTreeMap<NodeId, Progress>,
    uncommitted: Proposed,
    /// Not applied: these and what is committed.
    unapplied: Proposed,
    pub(crate) leaving: Option<Leaving>,
}

impl Master {
    pub(crate) fn new(epoch: Epoch, first: Sequence, now_ms: u64) -> Self {
        Self {
            epoch,
            first,
            since_ms: now_ms,
            replicas: BTreeMap::new(),
            uncommitted: Proposed::default(),
            unapplied: Proposed::default(),
            leaving: None,
        }
    }

    pub(crate) fn forget_applied(&mut self, applied: Sequence) {
        self.unapplied.forget(applied);
    }

    /// Neither the other nodes nor our own store are too far behind, and it is to stay.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.leaving.is_none()
            && self.uncommitted.bytes < limits.pipeline_bytes_max
            && self.unapplied.bytes < limits.unapplied_bytes_max
            && self.unapplied.entries.len() < limits.unapplied_entries_max
    }
}

/// Own entries that something has yet to happen to, in order, with their bytes.
#[derive(Debug, Clone, Default)]
struct Proposed {
    entries: VecDeque<(Sequence, usize)>,
    bytes: usize,
}

impl Proposed {
    fn add(&mut self, sequence: Sequence, bytes: usize) {
        self.entries.push_back((sequence, bytes));
        self.bytes += bytes;
    }

    fn forget(&mut self, to: Sequence) {
        while let Some(&(sequence, bytes)) = self.entries.front()
            && sequence <= to
        {
            self.bytes -= bytes;
            self.entries.pop_front();
        }
    }
}

impl Quorum {
    /// Appends an entry of our epoch and ships it. `None` if we are not master.
    pub(crate) fn append_own(
        &mut self,
        batch: Bytes,
        effects: &mut Vec<Effect>,
    ) -> Option<Sequence> {
        let State::Master(master) = &mut self.state else {
            return None;
        };
        let entry = Entry {
            position: Position {
                epoch: master.epoch,
                sequence: self.log.last.sequence.next(),
            },
            batch,
        };
        let sequence = entry.position.sequence;
        let bytes = weight(&entry);
        master.uncommitted.add(sequence, bytes);
        master.unapplied.add(sequence, bytes);
        self.log.append(vec![entry], effects);
        self.ship_all(effects);
        Some(sequence)
    }

    /// A replica opened its stream.
    pub(crate) fn greeted(&mut self, from: NodeId, hello: Hello, effects: &mut Vec<Effect>) {
        if !self.is_voter(&from) {
            let reason = format!("{from} has no place in this cluster");
            self.refuse(from, reason, effects);
            return;
        }
        match &mut self.state {
            State::Master(_) => self.admit(from, &hello, effects),
            State::Candidate(candidate) if candidate.epoch == hello.epoch => {
                candidate.greetings.insert(from, hello);
            }
            State::Electing(_) | State::Candidate(_) | State::Replica(_) => {
                self.refuse(from, "this node is not master".to_owned(), effects);
            }
        }
    }

    fn refuse(&self, to: NodeId, reason: String, effects: &mut Vec<Effect>) {
        effects.push(Effect::Send {
            to: to.clone(),
            message: Message::Refused {
                epoch: self.known.0.max(self.promised),
                reason,
            },
        });
        effects.push(Effect::Unlink { node: to });
    }

    /// Finds where the replica's log and ours part, and ships from there.
    pub(crate) fn admit(&mut self, node: NodeId, hello: &Hello, effects: &mut Vec<Effect>) {
        let State::Master(master) = &mut self.state else {
            return;
        };
        let epoch = master.epoch;
        if hello.epoch != epoch {
            let reason = format!("this is epoch {epoch}, not {}", hello.epoch);
            self.refuse(node, reason, effects);
            return;
        }
        let common = self
            .log
            .history
            .last_common(self.log.last, &hello.history, hello.last);
        let mut progress = Progress::new(common.sequence.next(), self.now_ms);
        let whole = self.log.first <= Sequence(1) && !self.log.history.is_full();
        let reaches =
            common.sequence.next() >= self.log.first && (common != Position::default() || whole);
        if hello.unfilled || !reaches {
            progress.snapshot = true;
            effects.push(Effect::Note(format!(
                "replica {node} at {} needs a checkpoint: our log begins at {}",
                hello.last, self.log.first
            )));
            effects.push(Effect::Send {
                to: node.clone(),
                message: Message::TakeSnapshot { epoch },
            });
        } else {
            effects.push(Effect::Note(format!(
                "replica {node} joins at {common}; its log ended at {}, ours at {}",
                hello.last, self.log.last
            )));
            if hello.last != common {
                effects.push(Effect::Send {
                    to: node.clone(),
                    message: Message::Truncate {
                        epoch,
                        keep: common,
                    },
                });
            }
        }
        master.replicas.insert(node.clone(), progress);
        self.beat(&node, effects);
        self.ship(&node, effects);
    }

    fn ship_all(&mut self, effects: &mut Vec<Effect>) {
        let State::Master(master) = &self.state else {
            return;
        };
        let nodes: Vec<NodeId> = master.replicas.keys().cloned().collect();
        for node in nodes {
            self.ship(&node, effects);
        }
    }

    /// Sends what the replica has room for, from memory; asks the log for older entries.
    fn ship(&mut self, node: &NodeId, effects: &mut Vec<Effect>) {
        let limits = self.config.limits;
        let State::Master(master) = &mut self.state else {
            return;
        };
        let Some(progress) = master.replicas.get_mut(node) else {
            return;
        };
        while progress.next <= self.log.last.sequence && progress.has_room(limits.ship_bytes_max) {
            let entries = self.log.tail.slice(
                progress.next,
                self.log.last.sequence,
                limits.message_bytes_max,
            );
            let previous = self.log.position(Sequence(progress.next.0 - 1));
            let Some(last) = entries.last() else {
                progress.reading = true;
                effects.push(Effect::ReadLog {
                    to: node.clone(),
                    after: previous.sequence,
                    bytes_max: limits.message_bytes_max,
                });
                return;
            };
            progress.shipped(last.position.sequence, entries.iter().map(weight).sum());
            let ours = self.log.committed >= master.first;
            progress.sent(ours.then_some(self.log.committed), self.now_ms);
            effects.push(Effect::Send {
                to: node.clone(),
                message: Message::Entries(Entries {
                    epoch: master.epoch,
                    previous,
                    entries,
                    committed: self.log.committed,
                    stamp_ms: self.now_ms,
                }),
            });
        }
    }

    /// A heartbeat; it also carries how far we have committed.
    fn beat(&mut self, node: &NodeId, effects: &mut Vec<Effect>) {
        let State::Master(master) = &mut self.state else {
            return;
        };
        let Some(progress) = master.replicas.get_mut(node) else {
            return;
        };
        let ours = self.log.committed >= master.first;
        progress.sent(ours.then_some(self.log.committed), self.now_ms);
        effects.push(Effect::Send {
            to: node.clone(),
            message: Message::Entries(Entries {
                epoch: master.epoch,
                previous: self.log.position(Sequence(progress.next.0 - 1)),
                entries: Vec::new(),
                committed: self.log.committed,
                stamp_ms: self.now_ms,
            }),
        });
    }

    pub(crate) fn log_read(
        &mut self,
        to: &NodeId,
        after: Sequence,
        entries: Vec<Entry>,
        effects: &mut Vec<Effect>,
    ) {
        let State::Master(master) = &mut self.state else {
            return;
        };
        let Some(progress) = master.replicas.get_mut(to) else {
            return;
        };
        if !progress.reading || progress.next != after.next() {
            return;
        }
        progress.reading = false;
        if !entries.iter().all(|entry| self.log.holds(entry.position)) {
            // Read before the log was cut, when this node last led: the next read is ours.
            self.ship(to, effects);
            return;
        }
        let Some(last) = entries.last() else {
            if after.next() >= self.log.first {
                // Read when we led before, or of a log that begins later, as it will be
                // reported: the replica's next answer has it read again.
                return;
            }
            progress.snapshot = true;
            effects.push(Effect::Send {
                to: to.clone(),
                message: Message::TakeSnapshot {
                    epoch: master.epoch,
                },
            });
            return;
        };
        progress.shipped(last.position.sequence, entries.iter().map(weight).sum());
        let ours = self.log.committed >= master.first;
        progress.sent(ours.then_some(self.log.committed), self.now_ms);
        effects.push(Effect::Send {
            to: to.clone(),
            message: Message::Entries(Entries {
                epoch: master.epoch,
                previous: self.log.position(after),
                entries,
                committed: self.log.committed,
                stamp_ms: self.now_ms,
            }),
        });
        self.ship(to, effects);
    }

    pub(crate) fn replica_answered(
        &mut self,
        from: &NodeId,
        answer: Appended,
        effects: &mut Vec<Effect>,
    ) {
        let State::Master(master) = &mut self.state else {
            return;
        };
        let ours = self.log.holds(answer.appended) && self.log.holds(answer.durable);
        if answer.epoch != master.epoch || !ours {
            return;
        }
        let Some(progress) = master.replicas.get_mut(from) else {
            return;
        };
        progress.heard_ms = progress.heard_ms.max(answer.stamp_ms.min(self.now_ms));
        progress.applied = answer.applied;
        progress.answered(answer.appended, answer.durable);
        progress.answered_at(answer.stamp_ms);
        if progress.copy(self.config.sync.remote) == self.log.last {
            progress.level_ms = self.now_ms;
        }
        self.count(effects);
        self.ship(from, effects);
    }

    /// Commits what enough copies hold, if it ends with an entry of our epoch.
    pub(crate) fn count(&mut self, effects: &mut Vec<Effect>) {
        let State::Master(master) = &mut self.state else {
            return;
        };
        let sync = self.config.sync;
        let own = self.log.own_copy();
        let needed = majority(self.config.replicas) - 1;
        let committable = if needed == 0 || sync.remote == Copy::None {
            own
        } else {
            let mut copies: Vec<Position> = master
                .replicas
                .values()
                .map(|progress| progress.copy(sync.remote))
                .collect();
            copies.sort_unstable_by(|a, b| b.cmp(a));
            match copies.get(needed - 1) {
                Some(&copy) => copy.min(own),
                None => return,
            }
        };
        if committable.epoch == master.epoch && committable.sequence > self.log.committed {
            master.uncommitted.forget(committable.sequence);
            self.log.commit(committable.sequence, effects);
        }
    }

    /// What a master knows of its replicas; empty on any other node.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        let State::Master(master) = &self.state else {
            return Vec::new();
        };
        let status = |(node, progress): (&NodeId, &Progress)| {
            let copy = progress.copy(self.config.sync.remote).sequence;
            let entries = self.log.last.sequence.0 - copy.0;
            let (held_bytes, held) = self.log.tail.bytes_after(copy);
            // Entries no longer in memory are taken to be like those that are.
            let mean = held_bytes / held.max(1);
            ReplicaStatus {
                node: node.clone(),
                appended: progress.appended,
                durable: progress.durable,
                applied: progress.applied,
                lag_entries: entries,
                lag_bytes: held_bytes + (entries - held) * mean,
                lag_ms: match entries {
                    0 => 0,
                    _ => self.now_ms.saturating_sub(progress.level_ms),
                },
                filling: progress.snapshot,
            }
        };
        master.replicas.iter().map(status).collect()
    }

    /// Whether, within the last `window_ms`, enough replicas to make a quorum
    /// with us answered something that we sent in that time.
    pub(crate) fn quorum_heard(&self, master: &Master, now_ms: u64, window_ms: u64) -> bool {
        let fresh = |at_ms: u64| now_ms < at_ms + window_ms;
        let heard = master
            .replicas
            .values()
            .filter(|progress| fresh(progress.heard_ms))
            .count();
        fresh(master.since_ms) || heard + 1 >= majority(self.config.replicas)
    }

    pub(crate) fn tick_master(&mut self, effects: &mut Vec<Effect>) {
        let limits = self.config.limits;
        let State::Master(master) = &self.state else {
            return;
        };
        if self.log.applied < master.first {
            // Clients wait for the store to be whole.
            self.log.hand_over(effects);
        }
        if !self.quorum_heard(master, self.now_ms, limits.step_down_ms) {
            let reason = format!(
                "no quorum answered for {} ms: epoch {} ends here",
                limits.step_down_ms, master.epoch
            );
            self.give_up(reason, effects);
            return;
        }
        // Alone it has nobody to leave its clients to.
        if self.config.replicas > 1
            && let Some(stalled) = self.disk_stalled()
        {
            let reason = format!("{stalled}: epoch {} ends here", master.epoch);
            self.give_up(reason, effects);
            return;
        }
        self.tick_transfer(effects);
        let State::Master(master) = &self.state else {
            return;
        };
        let due: Vec<NodeId> = master
            .replicas
            .iter()
            .filter(|(_, progress)| self.now_ms >= progress.sent_ms + limits.heartbeat_ms)
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            self.beat(&node, effects);
        }
    }
}
