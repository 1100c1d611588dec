//! One node's part in the replicated log: the state machine's entry point.
//!
//! The role decides which file answers an event: `candidate.rs` (no master, or
//! collecting promises), `replica.rs`, `master.rs`. What all share, the log's
//! cursors and the promise, lives here.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::candidate::{Candidate, Electing};
use crate::cursors::Cursors;
use crate::master::Master;
use crate::outlook::UNFILLED;
use crate::replica::Replica;
use crate::stall::Stall;
use crate::{
    AskAnswer, Effect, Epoch, Event, Keeper, Limits, Message, NodeId, Position, PromiseAnswer,
    Recovered, Role, Sequence, SyncMode,
};

/// Who this node is, and what it must wait for.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: NodeId,
    /// How many voters there are; the quorum is taken from it.
    pub replicas: usize,
    /// Preference among equals.
    pub weight: u32,
    /// What a commit waits for.
    pub sync: SyncMode,
    /// Bounds and intervals.
    pub limits: Limits,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Electing(Electing),
    Candidate(Candidate),
    Replica(Replica),
    Master(Master),
}

/// Whether the store holds all that this node ever acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    Yes,
    /// A checkpoint was installed; the log has yet to catch up with a master's commits.
    Filling,
    /// Wiped or damaged: it needs a checkpoint.
    No,
}

/// Who to answer once a promise is on the disk.
#[derive(Debug, Clone)]
struct Promising {
    epoch: Epoch,
    /// `None`: our own claim, or our decision to follow.
    to: Option<NodeId>,
}

/// One node's part in the replicated log. A copy goes on by itself from where it was made.
#[derive(Debug, Clone)]
pub struct Quorum {
    pub(crate) config: Config,
    pub(crate) now_ms: u64,
    pub(crate) log: Cursors,
    /// The highest epoch promised, on disk or on its way there.
    pub(crate) promised: Epoch,
    /// To whom, asked or not; unknown after a restart.
    pub(crate) promised_to: Option<NodeId>,
    promising: Option<Promising>,
    stall: Stall,
    /// The last thing ZooKeeper said; `None` while it cannot be reached.
    pub(crate) keeper: Option<Keeper>,
    /// Who has a place, by ZooKeeper's last word; `None` before its first.
    pub(crate) voters: Option<BTreeSet<NodeId>>,
    /// The last epoch known to be claimed, and by whom.
    pub(crate) known: (Epoch, Option<NodeId>),
    pub(crate) filled: Filled,
    /// In a mode whose commits do not survive the master: its successor in this epoch lacks some
    /// of ours, and fills us anew. Until then they are a vote like any other.
    pub(crate) outvoted_in: Option<Epoch>,
    /// This store may have been another once: until ZooKeeper was read, nobody
    /// knows what this node has already promised.
    pub(crate) unproven: bool,
    pub(crate) state: State,
    role: Role,
    lease: bool,
}

impl Quorum {
    /// A node as it starts.
    #[must_use]
    pub fn new(config: Config, recovered: &Recovered, now_ms: u64) -> Self {
        assert!(config.replicas > 0, "a cluster has voters");
        let empty = recovered.last == Position::default() && recovered.promised == Epoch(0);
        Self {
            now_ms,
            log: Cursors::new(
                recovered,
                config.sync.local,
                config.limits.applying_bytes_max,
            ),
            promised: recovered.promised.max(recovered.last.epoch),
            promised_to: None,
            promising: None,
            stall: Stall::default(),
            keeper: None,
            voters: None,
            known: (Epoch(0), None),
            filled: match (recovered.unfilled, recovered.filling) {
                (true, _) => Filled::No,
                (false, true) => Filled::Filling,
                (false, false) => Filled::Yes,
            },
            outvoted_in: None,
            unproven: recovered.unfilled || empty,
            state: State::Electing(Electing::new(now_ms, None)),
            role: Role::Electing,
            lease: false,
            config,
        }
    }

    /// Takes one event at a time that never goes back.
    pub fn step(&mut self, event: Event, now_ms: u64, effects: &mut Vec<Effect>) {
        self.now_ms = self.now_ms.max(now_ms);
        let own = self.log.own_copy();
        let stored = matches!(event, Event::Truncated { .. } | Event::PromiseStored { .. });
        let logged = matches!(event, Event::Logged { .. });
        match event {
            Event::Tick => self.log.hand_over(effects),
            Event::Keeper(keeper) => self.keeper_read(keeper, effects),
            Event::KeeperLost => self.keeper = None,
            Event::Unfilled => self.lost_store(effects),
            Event::Claimed { epoch, won } => self.claimed(epoch, won, effects),
            Event::Received { from, message } => self.received(from, message, effects),
            Event::Unlinked { node } => self.unlinked(&node, effects),
            Event::Logged { appended, durable } => {
                let tail_bytes_max = self.config.limits.tail_bytes_max;
                self.log.logged(appended, durable, tail_bytes_max);
                self.log_moved(effects);
            }
            Event::Truncated { keep: _ } => {
                self.log.truncated();
                self.log_moved(effects);
            }
            Event::PromiseStored { epoch } => self.promise_stored(epoch, effects),
            Event::Applied { sequence } => {
                self.log.applied(sequence);
                if let State::Master(master) = &mut self.state {
                    master.forget_applied(sequence);
                }
                self.log.hand_over_some(effects);
            }
            Event::LogRead { to, after, entries } => {
                self.log_read(&to, after, entries, effects);
            }
            Event::LogTrimmed { first } => self.log.first = self.log.first.max(first),
        }
        let answered = stored || (logged && self.log.own_copy() != own);
        self.watch_disk(answered, effects);
        self.tick(effects);
        self.report(effects);
    }

    /// A master takes a batch into the log. `None` if this node may not.
    pub fn propose(&mut self, batch: Bytes, effects: &mut Vec<Effect>) -> Option<Sequence> {
        let sequence = self.append_own(batch, effects)?;
        self.report(effects);
        Some(sequence)
    }

    /// Makes everything committed visible to reads of the store that follow.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        self.log.flush(effects);
    }

    /// Whether a master has room for another batch.
    pub fn accepts(&self) -> bool {
        match &self.state {
            State::Master(master) => master.has_room(&self.config.limits),
            State::Electing(_) | State::Candidate(_) | State::Replica(_) => false,
        }
    }

    /// Whether this node is master and, by its clock, a quorum heard it within
    /// the lease: only then may it answer and dispatch.
    #[must_use]
    pub fn lease_held(&self, now_ms: u64) -> bool {
        match &self.state {
            State::Master(master) => self.quorum_heard(master, now_ms, self.config.limits.lease_ms),
            State::Electing(_) | State::Candidate(_) | State::Replica(_) => false,
        }
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The last epoch claimed, and by whom, as far as is known.
    #[must_use]
    pub fn known_epoch(&self) -> (Epoch, Option<&NodeId>) {
        (self.known.0, self.known.1.as_ref())
    }

    /// How far the log is: given to the log, synced, committed, applied.
    #[must_use]
    pub fn positions(&self) -> (Position, Position, Sequence, Sequence) {
        (
            self.log.last,
            self.log.durable,
            self.log.committed,
            self.log.applied,
        )
    }

    /// The last entry that is both synced here and known to be committed: whatever
    /// happens, this node's log will reach at least so far.
    #[must_use]
    pub fn held(&self) -> Position {
        let committed = self.log.position(self.log.committed);
        committed.min(self.log.durable)
    }

    /// Who has a place in the cluster, by ZooKeeper's last word; empty before its first.
    pub fn voters(&self) -> impl Iterator<Item = &NodeId> {
        self.voters.iter().flatten()
    }

    /// The master whose clients are served, as far as this node knows: itself, or the one it hears.
    #[must_use]
    pub fn serving_master(&self) -> Option<NodeId> {
        let rising = matches!(self.role, Role::Rising { .. });
        let heard = self.heard_master().filter(|_| !rising);
        heard.map(|(master, _)| master)
    }

    /// Whether the store may be built upon.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled == Filled::Yes
    }

    fn keeper_read(&mut self, keeper: Keeper, effects: &mut Vec<Effect>) {
        self.learn(keeper.epoch.epoch, keeper.epoch.master.clone());
        let higher = keeper.epoch.epoch;
        let first = self.keeper.is_none();
        self.voters = Some(keeper.voters.clone());
        self.keeper = Some(keeper);
        self.dismiss_replaced(effects);
        let mine = match &self.state {
            State::Master(master) => Some(master.epoch),
            State::Candidate(candidate) => Some(candidate.epoch),
            State::Electing(_) | State::Replica(_) => None,
        };
        if mine.is_some_and(|mine| mine < higher) {
            self.give_up(format!("epoch {higher} was claimed"), effects);
        }
        self.prove(effects);
        if first {
            self.try_known_master(effects);
        }
    }

    /// Whether a node's word and its copies count. While there are free places, as after
    /// ZooKeeper lost its data, who is missing may just not have come yet.
    pub(crate) fn is_voter(&self, node: &NodeId) -> bool {
        let full = |voters: &&BTreeSet<NodeId>| voters.len() >= self.config.replicas;
        let voters = self.voters.as_ref().filter(full);
        voters.is_none_or(|voters| voters.contains(node))
    }

    /// Who lost its place, to another node perhaps, counts for nothing from now on. Its
    /// successor may be filled, and elect without what only we and the old one had.
    fn dismiss_replaced(&mut self, effects: &mut Vec<Effect>) {
        let linked: Vec<NodeId> = match &mut self.state {
            State::Electing(electing) => electing.answers.keys().cloned().collect(),
            State::Candidate(candidate) => candidate.heard().cloned().collect(),
            State::Master(master) => master.replicas.keys().cloned().collect(),
            State::Replica(_) => return,
        };
        for node in linked {
            if self.is_voter(&node) {
                continue;
            }
            match &mut self.state {
                State::Electing(electing) => drop(electing.answers.remove(&node)),
                State::Candidate(candidate) => candidate.dismiss(&node),
                State::Master(master) => drop(master.replicas.remove(&node)),
                State::Replica(_) => {}
            }
            effects.push(Effect::Note(format!(
                "{node} has no place in the cluster any more: it does not count"
            )));
            effects.push(Effect::Unlink { node });
        }
    }

    /// What this store held is not here: whatever it is doing, it needs a checkpoint first.
    fn lost_store(&mut self, effects: &mut Vec<Effect>) {
        self.filled = Filled::No;
        self.unproven = true;
        if let Some(promising) = &mut self.promising {
            promising.to = None;
        }
        if !matches!(self.state, State::Electing(_)) {
            self.give_up("this store must be filled first".to_owned(), effects);
        }
        self.prove(effects);
    }

    /// A store that lost what it held lost its promise too. None was of an
    /// epoch after the last that was claimed: that one binds it instead.
    fn prove(&mut self, effects: &mut Vec<Effect>) {
        let Some(keeper) = &self.keeper else {
            return;
        };
        let claimed = keeper.epoch.epoch;
        let lost = std::mem::take(&mut self.unproven) && self.filled == Filled::No;
        if lost && claimed > self.promised {
            self.begin_promise(claimed, None, effects);
        }
    }

    /// Whether this node's promise is worth something: the store holds all
    /// that it ever acknowledged.
    pub(crate) fn may_promise(&self) -> bool {
        self.is_filled() && !self.unproven
    }

    pub(crate) fn learn(&mut self, epoch: Epoch, master: Option<NodeId>) {
        let named = self.known.1.is_some() || master.is_none();
        if epoch > self.known.0 || (epoch == self.known.0 && !named) {
            self.known = (epoch, master);
        }
    }

    fn received(&mut self, from: NodeId, message: Message, effects: &mut Vec<Effect>) {
        match message {
            Message::Ask => self.asked(from, effects),
            Message::AskAnswer(answer) => self.ask_answered(from, answer, effects),
            Message::Promise { epoch } => self.promise_wanted(from, epoch, effects),
            Message::PromiseAnswer(answer) => self.promise_answered(from, &answer, effects),
            Message::Hello(hello) => self.greeted(from, hello, effects),
            Message::Appended(appended) => self.replica_answered(&from, appended, effects),
            Message::Entries(entries) => self.entries_came(&from, entries, effects),
            Message::Truncate { epoch, keep } => self.cut_wanted(&from, epoch, keep, effects),
            Message::TakeSnapshot { epoch } => self.snapshot_wanted(&from, epoch, effects),
            Message::Refused { epoch, reason } => self.refused(&from, epoch, &reason, effects),
            Message::Lead { epoch } => self.succeed(&from, epoch, effects),
        }
    }

    fn watch_disk(&mut self, answered: bool, effects: &mut Vec<Effect>) {
        let owes = self.promise_under_way() || !self.log.is_level();
        let was_ms = self.stall.ms(self.now_ms);
        self.stall.look(owes, answered, self.now_ms);
        let stalled = self.disk_stalled().is_some();
        if stalled == self.stall.told {
            return;
        }
        self.stall.told = stalled;
        effects.push(Effect::Note(if stalled {
            format!(
                "this node's disk owes an answer for {} ms: until it comes, this node neither leads nor counts as a promise",
                self.stall.ms(self.now_ms)
            )
        } else {
            format!("this node's disk answers again, after {was_ms} ms")
        }));
    }

    /// Why nobody should count on this node's disk now.
    pub(crate) fn disk_stalled(&self) -> Option<String> {
        let ms = self.stall.ms(self.now_ms);
        (ms > self.config.limits.disk_stall_ms)
            .then(|| format!("this node's disk has not answered for {ms} ms"))
    }

    /// Nothing changes by an ask: it only tells whether a promise is to be had.
    fn asked(&self, from: NodeId, effects: &mut Vec<Effect>) {
        let master = self.heard_master().filter(|_| !self.is_successor(&from));
        let unwilling = if let Some((node, epoch)) = &master {
            Some(format!("{node} is master in epoch {epoch}"))
        } else if !self.may_promise() {
            Some(UNFILLED.to_owned())
        } else if matches!(self.state, State::Candidate(_)) {
            Some("this node is a candidate itself".to_owned())
        } else if matches!(self.state, State::Replica(_)) {
            Some("this node has just promised another".to_owned())
        } else {
            self.disk_stalled()
        };
        let own = self.own_member();
        let answer = AskAnswer {
            unwilling,
            promised: self.promised,
            durable: self.log.last,
            weight: self.config.weight,
            rank: own.map_or(i64::MAX, |member| member.rank),
            master,
        };
        effects.push(Effect::Send {
            to: from,
            message: Message::AskAnswer(answer),
        });
    }

    fn promise_wanted(&mut self, from: NodeId, epoch: Epoch, effects: &mut Vec<Effect>) {
        let again = epoch == self.promised && self.promised_to.as_ref() == Some(&from);
        let refusal = if !self.is_voter(&from) {
            Some(format!("{from} has no place in this cluster"))
        } else if !self.may_promise() {
            Some(UNFILLED.to_owned())
        } else if epoch <= self.promised && !again {
            Some(format!("epoch {} was promised", self.promised))
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.answer_promise(from, Some(reason), effects);
            return;
        }
        self.learn(epoch, Some(from.clone()));
        if again {
            match &mut self.promising {
                Some(promising) => promising.to = Some(from),
                None => self.answer_promise(from, None, effects),
            }
            return;
        }
        self.leave(effects);
        self.state = State::Electing(Electing::new(self.now_ms, None));
        self.begin_promise(epoch, Some(from), effects);
    }

    fn answer_promise(&self, to: NodeId, refused: Option<String>, effects: &mut Vec<Effect>) {
        effects.push(Effect::Send {
            to,
            message: Message::PromiseAnswer(PromiseAnswer {
                refused,
                epoch: self.promised,
                durable: self.log.durable,
            }),
        });
    }

    /// Lower epochs are refused from now on; it counts once it is on the disk.
    /// `to` waits for our answer.
    pub(crate) fn begin_promise(
        &mut self,
        epoch: Epoch,
        to: Option<NodeId>,
        effects: &mut Vec<Effect>,
    ) {
        assert!(epoch > self.promised, "a promise is never taken back");
        self.promised = epoch;
        self.promised_to.clone_from(&to);
        self.promising = Some(Promising { epoch, to });
        effects.push(Effect::StorePromise { epoch });
    }

    fn promise_stored(&mut self, epoch: Epoch, effects: &mut Vec<Effect>) {
        let Some(promising) = self.promising.take_if(|promising| promising.epoch == epoch) else {
            return;
        };
        assert!(
            self.log.settled() || promising.to.is_none(),
            "a promise is stored after all that was appended before it"
        );
        match promising.to {
            Some(candidate) => {
                self.answer_promise(candidate.clone(), None, effects);
                self.follow(candidate, epoch, effects);
            }
            None => self.own_promise_stored(epoch, effects),
        }
    }

    /// The promise for `epoch` is on the disk.
    pub(crate) fn has_promised(&self, epoch: Epoch) -> bool {
        self.promised == epoch && self.promising.is_none()
    }

    pub(crate) fn promise_under_way(&self) -> bool {
        self.promising.is_some()
    }

    /// The master that this node is, or heard within the suspicion time.
    pub(crate) fn heard_master(&self) -> Option<(NodeId, Epoch)> {
        match &self.state {
            State::Master(master) => {
                let heard = self.quorum_heard(master, self.now_ms, self.config.limits.suspicion_ms);
                heard.then(|| (self.config.node.clone(), master.epoch))
            }
            State::Replica(replica) => replica
                .heard
                .then(|| (replica.master.clone(), replica.epoch)),
            State::Electing(_) | State::Candidate(_) => None,
        }
    }

    pub(crate) fn own_member(&self) -> Option<&crate::Member> {
        let keeper = self.keeper.as_ref()?;
        keeper
            .members
            .iter()
            .find(|member| member.node == self.config.node)
    }

    /// Ends whatever the current state holds open at the other nodes.
    pub(crate) fn leave(&mut self, effects: &mut Vec<Effect>) {
        match &self.state {
            State::Electing(_) => {}
            State::Candidate(candidate) => {
                for node in candidate.greetings.keys() {
                    effects.push(Effect::Unlink { node: node.clone() });
                }
            }
            State::Replica(_) => effects.push(Effect::Unfollow),
            State::Master(master) => {
                for node in master.replicas.keys() {
                    effects.push(Effect::Unlink { node: node.clone() });
                }
            }
        }
    }

    /// Back to looking for a master.
    pub(crate) fn give_up(&mut self, reason: String, effects: &mut Vec<Effect>) {
        let electing = match &self.state {
            State::Replica(replica) if replica.heard => {
                Electing::new(self.now_ms, Some(replica.master.clone()))
            }
            State::Replica(_) | State::Candidate(_) => Electing::patient(self.now_ms),
            State::Electing(_) | State::Master(_) => Electing::new(self.now_ms, None),
        };
        self.leave(effects);
        effects.push(Effect::Note(reason));
        self.state = State::Electing(electing);
    }

    fn unlinked(&mut self, node: &NodeId, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Electing(_) => {}
            State::Candidate(candidate) => {
                candidate.greetings.remove(node);
            }
            State::Replica(replica) => {
                if replica.master == *node && !replica.waiting {
                    let reason = if replica.heard {
                        format!("the stream to master {node} broke")
                    } else {
                        format!("{node} takes no replicas")
                    };
                    self.give_up(reason, effects);
                }
            }
            State::Master(master) => {
                master.replicas.remove(node);
            }
        }
    }

    fn log_moved(&mut self, effects: &mut Vec<Effect>) {
        match &self.state {
            State::Electing(_) | State::Candidate(_) => {}
            State::Replica(_) => self.answer_master(effects),
            State::Master(_) => self.count(effects),
        }
        self.log.hand_over_some(effects);
    }

    fn tick(&mut self, effects: &mut Vec<Effect>) {
        match &self.state {
            State::Electing(_) => self.tick_electing(effects),
            State::Candidate(_) => self.tick_candidate(effects),
            State::Replica(_) => self.tick_replica(effects),
            State::Master(_) => self.tick_master(effects),
        }
    }

    /// Says what changed: the role and the lease.
    fn report(&mut self, effects: &mut Vec<Effect>) {
        let role = match &self.state {
            State::Electing(_) => Role::Electing,
            State::Candidate(candidate) => Role::Candidate {
                epoch: candidate.epoch,
            },
            State::Replica(replica) => Role::Replica {
                master: replica.master.clone(),
                epoch: replica.epoch,
            },
            State::Master(master) if self.log.applied < master.first => Role::Rising {
                epoch: master.epoch,
            },
            State::Master(master) => Role::Master {
                epoch: master.epoch,
            },
        };
        let held = self.lease_held(self.now_ms);
        if held != self.lease {
            self.lease = held;
            effects.push(Effect::Lease { held });
        }
        if role != self.role {
            self.role = role.clone();
            effects.push(Effect::Role(role));
        }
    }
}
