//! Taking entries from a master.

use crate::quorum::{Filled, State};
use crate::{Appended, Effect, Entries, Epoch, Hello, Message, NodeId, Position, Quorum, Sequence};

/// Following a master.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) master: NodeId,
    pub(crate) epoch: Epoch,
    /// Our promise of its epoch is not yet on the disk: no stream is open.
    pub(crate) waiting: bool,
    /// It sent us something.
    pub(crate) heard: bool,
    heard_ms: u64,
    /// The stamp to echo. Once there is one, what the master had us cut is cut.
    stamp_ms: Option<u64>,
    /// A checkpoint is being fetched.
    installing: bool,
    /// When filling: promises may be given again from here on.
    fill_target: Option<Sequence>,
}

impl Quorum {
    /// Follows a master of an epoch that is not lower than our promise.
    pub(crate) fn follow(&mut self, master: NodeId, epoch: Epoch, effects: &mut Vec<Effect>) {
        assert!(epoch >= self.promised, "a lower epoch is never followed");
        self.state = State::Replica(Replica {
            master: master.clone(),
            epoch,
            waiting: !self.has_promised(epoch),
            heard: false,
            heard_ms: self.now_ms,
            stamp_ms: None,
            installing: false,
            fill_target: None,
        });
        if self.has_promised(epoch) {
            self.join(effects);
        } else {
            self.begin_promise(epoch, None, effects);
            // The claim may be known before its promise is asked for: it is to be had. An older
            // promise of this epoch may have gone to another, if ZooKeeper gave it twice.
            self.promised_to = Some(master);
        }
    }

    /// Opens the stream to the master: our promise of its epoch is on the disk.
    pub(crate) fn join(&mut self, effects: &mut Vec<Effect>) {
        let State::Replica(replica) = &mut self.state else {
            return;
        };
        replica.waiting = false;
        replica.heard_ms = self.now_ms;
        effects.push(Effect::Follow {
            master: replica.master.clone(),
            hello: Hello {
                epoch: replica.epoch,
                last: self.log.last,
                history: self.log.history.clone(),
                unfilled: self.filled == Filled::No || self.outvoted_in == Some(replica.epoch),
            },
        });
    }

    /// Follows the master that the last claim names, if there is one to be had.
    pub(crate) fn try_known_master(&mut self, effects: &mut Vec<Effect>) -> bool {
        let State::Electing(_) = &self.state else {
            return false;
        };
        let (epoch, Some(master)) = self.known.clone() else {
            return false;
        };
        let present = self
            .keeper
            .as_ref()
            .is_none_or(|keeper| keeper.members.iter().any(|member| member.node == master));
        let possible = present
            && master != self.config.node
            && epoch >= self.promised
            && !self.unproven
            && !self.promise_under_way();
        if possible {
            self.follow(master, epoch, effects);
        }
        possible
    }

    pub(crate) fn heard_from(&mut self, from: &NodeId, epoch: Epoch) -> Option<&mut Replica> {
        let now_ms = self.now_ms;
        match &mut self.state {
            State::Replica(replica)
                if replica.master == *from && replica.epoch == epoch && !replica.waiting =>
            {
                replica.heard = true;
                replica.heard_ms = now_ms;
                Some(replica)
            }
            State::Electing(_) | State::Candidate(_) | State::Replica(_) | State::Master(_) => None,
        }
    }

    pub(crate) fn entries_came(
        &mut self,
        from: &NodeId,
        message: Entries,
        effects: &mut Vec<Effect>,
    ) {
        let last = self.log.last;
        let Some(replica) = self.heard_from(from, message.epoch) else {
            return;
        };
        replica.stamp_ms = Some(message.stamp_ms);
        if replica.installing {
            self.answer_master(effects);
            return;
        }
        if message.previous != last || !contiguous(&message) {
            self.give_up(
                format!(
                    "entries from {from} after {} do not continue our log at {last}",
                    message.previous
                ),
                effects,
            );
            return;
        }
        let answer_now = message.entries.is_empty();
        if !answer_now {
            self.log.append(message.entries, effects);
        }
        let committed = message.committed.min(self.log.last.sequence);
        self.log.commit(committed, effects);
        self.aim_filling(message.committed);
        if answer_now {
            self.answer_master(effects);
        }
    }

    /// While filling: once the master has committed an entry of its own epoch,
    /// everything that this node ever acknowledged lies at or below its commit.
    fn aim_filling(&mut self, committed: Sequence) {
        let writer = self.log.history.epoch_at(committed);
        let State::Replica(replica) = &mut self.state else {
            return;
        };
        let held = committed <= self.log.last.sequence;
        let aimless = self.filled == Filled::Filling && replica.fill_target.is_none();
        if aimless && held && writer == Some(replica.epoch) {
            replica.fill_target = Some(committed);
        }
    }

    /// Tells the master how far we are. While a checkpoint is fetched that is
    /// nowhere, but the master is heard, and may count on it for its lease.
    pub(crate) fn answer_master(&mut self, effects: &mut Vec<Effect>) {
        let State::Replica(replica) = &self.state else {
            return;
        };
        if !replica.heard {
            return;
        }
        let (appended, durable, applied) = if replica.installing {
            Default::default()
        } else {
            (self.log.written, self.log.durable, self.log.applied)
        };
        let filled = replica
            .fill_target
            .is_some_and(|target| target <= durable.sequence);
        if self.filled == Filled::Filling && filled {
            // Before the answer, by which the master may know it.
            self.filled = Filled::Yes;
            effects.push(Effect::Filled);
            effects.push(Effect::Note(format!(
                "the store is filled again, up to {durable}; this node counts as a voter"
            )));
        }
        effects.push(Effect::Send {
            to: replica.master.clone(),
            message: Message::Appended(Appended {
                epoch: replica.epoch,
                appended,
                durable,
                applied,
                stamp_ms: replica.stamp_ms.unwrap_or_default(),
            }),
        });
    }

    pub(crate) fn cut_wanted(
        &mut self,
        from: &NodeId,
        epoch: Epoch,
        keep: Position,
        effects: &mut Vec<Effect>,
    ) {
        let Some(replica) = self.heard_from(from, epoch) else {
            return;
        };
        if replica.stamp_ms.is_some() {
            // It answers an earlier greeting of ours, which the master took together with our
            // last one. What came since, and what we answered, may be committed.
            let reason = format!("{from} wants a cut after {keep}, which came too late");
            self.give_up(reason, effects);
            return;
        }
        let last = self.log.last;
        if keep.sequence < self.log.committed || !self.log.holds(keep) {
            let found = format!(
                "master {from} continues after {keep}, but entries up to {} were committed here",
                self.log.committed
            );
            if self.config.sync.survives_the_master() {
                effects.push(Effect::Diverged(found));
                return;
            }
            effects.push(Effect::Note(format!(
                "{found}, as can be in this sync mode: a checkpoint replaces them"
            )));
            self.outvoted_in = Some(epoch);
            effects.push(Effect::Unfollow);
            self.follow(from.clone(), epoch, effects);
            return;
        }
        effects.push(Effect::Note(format!(
            "cutting the log from {last} back to {keep}: what follows was never committed"
        )));
        self.log.truncate(keep, effects);
    }

    pub(crate) fn snapshot_wanted(
        &mut self,
        from: &NodeId,
        epoch: Epoch,
        effects: &mut Vec<Effect>,
    ) {
        let Some(replica) = self.heard_from(from, epoch) else {
            return;
        };
        if !replica.installing {
            replica.installing = true;
            effects.push(Effect::Install {
                master: from.clone(),
                epoch,
            });
        }
    }

    pub(crate) fn refused(
        &mut self,
        from: &NodeId,
        epoch: Epoch,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        let State::Replica(replica) = &self.state else {
            return;
        };
        if replica.master == *from {
            self.learn(epoch, None);
            self.give_up(format!("{from} refused us: {reason}"), effects);
        }
    }

    pub(crate) fn tick_replica(&mut self, effects: &mut Vec<Effect>) {
        let State::Replica(replica) = &self.state else {
            return;
        };
        let silent_ms = self.now_ms.saturating_sub(replica.heard_ms);
        if silent_ms > self.config.limits.suspicion_ms {
            let reason = format!("heard nothing from {} for {silent_ms} ms", replica.master);
            self.give_up(reason, effects);
        }
    }
}

fn contiguous(message: &Entries) -> bool {
    let mut previous = message.previous;
    message.entries.iter().all(|entry| {
        let fits = entry.position.sequence == previous.sequence.next()
            && entry.position.epoch >= previous.epoch
            && entry.position.epoch <= message.epoch;
        previous = entry.position;
        fits
    })
}
