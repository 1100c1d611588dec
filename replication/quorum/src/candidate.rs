//! Without a master: asking, claiming the next epoch, collecting promises.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::master::Master;
use crate::quorum::State;
use crate::{
    AskAnswer, Effect, Epoch, Hello, Message, NodeId, Position, PromiseAnswer, Quorum, majority,
};

/// Between two rounds of asking.
const ROUND_MS: u64 = 50;
/// After so many fruitless rounds they come slowly.
const ROUNDS_QUICK: u32 = 20;
/// Between two slow rounds.
const ROUND_SLOW_MS: u64 = 250;
/// An answer is news for so long.
const ANSWER_MS: u64 = 2 * ROUND_SLOW_MS;
/// For so long, another's word that it still hears the master that we lost is
/// taken as news that it has not noticed.
const HEARSAY_MS: u64 = 200;

/// Looking for a master.
#[derive(Debug, Clone)]
pub(crate) struct Electing {
    /// The master that we lost, if we had one.
    pub(crate) lost: Option<NodeId>,
    since_ms: u64,
    round_at_ms: u64,
    rounds: u32,
    /// The last of each, and when it came.
    pub(crate) answers: BTreeMap<NodeId, (u64, AskAnswer)>,
    /// When a quorum of willing answers was first there.
    enough_ms: Option<u64>,
    /// The master that we lost wants us in its place: we wait for nobody better.
    designated: bool,
}

impl Electing {
    pub(crate) fn new(now_ms: u64, lost: Option<NodeId>) -> Self {
        Self {
            lost,
            since_ms: now_ms,
            round_at_ms: now_ms,
            rounds: 0,
            answers: BTreeMap::new(),
            enough_ms: None,
            designated: false,
        }
    }

    /// Whether the master that wants us in its place says that it would promise.
    fn is_called(&self) -> bool {
        let master = self.lost.as_ref().filter(|_| self.designated);
        let answer = master.and_then(|master| self.answers.get(master));
        answer.is_some_and(|(_, answer)| answer.unwilling.is_none())
    }

    /// In the place of a master that leaves.
    pub(crate) fn designated(now_ms: u64, master: NodeId) -> Self {
        Self {
            designated: true,
            ..Self::new(now_ms, Some(master))
        }
    }

    /// After an attempt that failed: the next one waits for a moment.
    pub(crate) fn patient(now_ms: u64) -> Self {
        Self {
            round_at_ms: now_ms + ROUND_MS,
            ..Self::new(now_ms, None)
        }
    }
}

/// Claimed an epoch.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) epoch: Epoch,
    /// ZooKeeper said that the epoch is ours.
    won: bool,
    since_ms: u64,
    /// Of nodes whose logs end no later than ours: these alone count.
    promises: BTreeMap<NodeId, Position>,
    /// Promised, but with a log that ends later.
    ahead: BTreeSet<NodeId>,
    /// Replicas that follow us already.
    pub(crate) greetings: BTreeMap<NodeId, Hello>,
}

impl Candidate {
    /// Everybody who promised or greeted.
    pub(crate) fn heard(&self) -> impl Iterator<Item = &NodeId> {
        let promised = self.promises.keys().chain(&self.ahead);
        promised.chain(self.greetings.keys())
    }

    pub(crate) fn dismiss(&mut self, node: &NodeId) {
        self.promises.remove(node);
        self.ahead.remove(node);
        self.greetings.remove(node);
    }
}

/// Who stands before whom: the furthest log, then the operator's preference,
/// then who came first.
fn standing(durable: Position, weight: u32, rank: i64) -> (Position, u32, Reverse<i64>) {
    (durable, weight, Reverse(rank))
}

impl Quorum {
    pub(crate) fn tick_electing(&mut self, effects: &mut Vec<Effect>) {
        if self.promise_under_way() {
            return;
        }
        let now_ms = self.now_ms;
        let State::Electing(electing) = &mut self.state else {
            return;
        };
        electing
            .answers
            .retain(|_, (at_ms, _)| now_ms < *at_ms + ANSWER_MS);
        if now_ms >= electing.round_at_ms {
            electing.rounds += 1;
            let quick = electing.rounds <= ROUNDS_QUICK;
            electing.round_at_ms = now_ms + if quick { ROUND_MS } else { ROUND_SLOW_MS };
            let tired = electing.rounds % 8 == 0 && electing.answers.is_empty();
            if (self.keeper.is_none() || tired) && self.try_known_master(effects) {
                return;
            }
            self.ask_all(effects);
        }
        self.stand(effects);
    }

    fn ask_all(&self, effects: &mut Vec<Effect>) {
        // Without a znode of its own it could not stand.
        let (Some(keeper), Some(_)) = (&self.keeper, self.own_member()) else {
            return;
        };
        for member in &keeper.members {
            if member.node != self.config.node {
                effects.push(Effect::Send {
                    to: member.node.clone(),
                    message: Message::Ask,
                });
            }
        }
    }

    pub(crate) fn ask_answered(
        &mut self,
        from: NodeId,
        answer: AskAnswer,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_voter(&from) {
            return;
        }
        let busy = self.promise_under_way() || self.unproven;
        let State::Electing(electing) = &mut self.state else {
            return;
        };
        if let Some((master, epoch)) = answer.master.clone()
            && master != self.config.node
        {
            let hearsay = electing.lost.as_ref() == Some(&master)
                && self.now_ms < electing.since_ms + HEARSAY_MS;
            if epoch >= self.promised && !hearsay && !busy {
                self.learn(epoch, Some(master.clone()));
                self.follow(master, epoch, effects);
                return;
            }
        }
        let led = answer.master.as_ref().map(|(_, epoch)| *epoch);
        electing.answers.insert(from, (self.now_ms, answer));
        if !busy && let Some(led) = led {
            self.restore_epoch(led, effects);
        }
    }

    /// A master of an epoch below our promise leads, and we may never follow it: `ZooKeeper`
    /// lost what was claimed since. Told of that again, it has the master give way, and the
    /// next one leads an epoch that all can follow.
    fn restore_epoch(&self, led: Epoch, effects: &mut Vec<Effect>) {
        let Some(keeper) = &self.keeper else {
            return;
        };
        if led < self.promised && keeper.epoch.epoch < self.promised {
            effects.push(Effect::Claim {
                epoch: self.promised,
                version: keeper.epoch.version,
            });
        }
    }

    /// Claims the next epoch if this node is the furthest on of a willing quorum,
    /// or those further on had their time: they may have a disk that hangs, or
    /// be heard without hearing.
    fn stand(&mut self, effects: &mut Vec<Effect>) {
        if !self.may_promise() || !self.log.written_out() {
            return;
        }
        let (Some(keeper), Some(own)) = (&self.keeper, self.own_member()) else {
            return;
        };
        let version = keeper.epoch.version;
        let mine = standing(self.log.last, self.config.weight, own.rank);
        let others: Vec<NodeId> = keeper
            .members
            .iter()
            .filter(|member| member.node != self.config.node)
            .map(|member| member.node.clone())
            .collect();
        let State::Electing(electing) = &mut self.state else {
            return;
        };
        let willing: Vec<&AskAnswer> = electing
            .answers
            .values()
            .map(|(_, answer)| answer)
            .filter(|answer| answer.unwilling.is_none())
            .collect();
        // The others still hear the master that leaves: its own word is enough to be asked for
        // promises, which are what counts.
        let designated = electing.is_called();
        if !designated && willing.len() + 1 < majority(self.config.replicas) {
            electing.enough_ms = None;
            return;
        }
        let enough_ms = *electing.enough_ms.get_or_insert(self.now_ms);
        let better = willing
            .iter()
            .filter(|a| standing(a.durable, a.weight, a.rank) > mine)
            .count();
        let deference_ms =
            self.config.limits.deference_ms * u64::try_from(better).expect("nodes are few");
        if self.now_ms < enough_ms + deference_ms && !designated {
            return;
        }
        let all_answered = others
            .iter()
            .all(|n| electing.answers.contains_key(n) || electing.lost.as_ref() == Some(n));
        let settled = all_answered || designated;
        if !settled && self.now_ms < enough_ms + self.config.limits.settle_ms {
            return;
        }
        let highest = willing.iter().map(|a| a.promised).max().unwrap_or_default();
        let Some(epoch) = self.known.0.max(self.promised).max(highest).next() else {
            // No cluster is that old: somebody told us nonsense. Claimed all the same it
            // would be epoch 0, which everybody left behind.
            return;
        };
        self.state = State::Candidate(Candidate {
            epoch,
            won: false,
            since_ms: self.now_ms,
            promises: BTreeMap::new(),
            ahead: BTreeSet::new(),
            greetings: BTreeMap::new(),
        });
        effects.push(Effect::Claim { epoch, version });
    }

    pub(crate) fn claimed(&mut self, epoch: Epoch, won: bool, effects: &mut Vec<Effect>) {
        if !won {
            // What we knew of ZooKeeper is old; it is read again by itself.
            self.keeper = None;
        }
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        if candidate.epoch != epoch || candidate.won {
            return;
        }
        if !won {
            self.give_up(format!("epoch {epoch} went to another"), effects);
            return;
        }
        if epoch <= self.promised {
            self.give_up(format!("epoch {epoch} came too late"), effects);
            return;
        }
        candidate.won = true;
        self.learn(epoch, Some(self.config.node.clone()));
        self.begin_promise(epoch, None, effects);
        let members = self.keeper.iter().flat_map(|keeper| &keeper.members);
        for member in members.filter(|member| member.node != self.config.node) {
            effects.push(Effect::Send {
                to: member.node.clone(),
                message: Message::Promise { epoch },
            });
        }
    }

    pub(crate) fn own_promise_stored(&mut self, epoch: Epoch, effects: &mut Vec<Effect>) {
        match &self.state {
            State::Candidate(candidate) if candidate.epoch == epoch => self.rise(effects),
            State::Replica(_) => self.join(effects),
            State::Electing(_) | State::Candidate(_) | State::Master(_) => {}
        }
    }

    pub(crate) fn promise_answered(
        &mut self,
        from: NodeId,
        answer: &PromiseAnswer,
        effects: &mut Vec<Effect>,
    ) {
        // Synced with our own promise, without which we do not rise.
        let last = self.log.last;
        if !self.is_voter(&from) {
            return;
        }
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        if answer.epoch > candidate.epoch {
            let reason = format!("{from} promised epoch {}", answer.epoch);
            self.learn(answer.epoch, None);
            self.give_up(reason, effects);
            return;
        }
        if answer.epoch < candidate.epoch || answer.refused.is_some() {
            return;
        }
        if answer.durable > last {
            // What it has beyond us may be committed, as far as it and we know: only a
            // quorum of promises without its own tells that it is not.
            let reason = format!("{from} is further on, at {}", answer.durable);
            candidate.ahead.insert(from);
            let left = self.config.replicas - candidate.ahead.len();
            if left < majority(self.config.replicas) {
                self.give_up(reason, effects);
            } else {
                effects.push(Effect::Note(reason));
            }
            return;
        }
        candidate.promises.insert(from, answer.durable);
        self.rise(effects);
    }

    /// Master, once a quorum has durably promised.
    fn rise(&mut self, effects: &mut Vec<Effect>) {
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        let epoch = candidate.epoch;
        let own = candidate.won && self.promised == epoch;
        let promises = candidate.promises.len() + 1;
        let greetings = std::mem::take(&mut candidate.greetings);
        if !own || self.promise_under_way() || promises < majority(self.config.replicas) {
            if let State::Candidate(candidate) = &mut self.state {
                candidate.greetings = greetings;
            }
            return;
        }
        effects.push(Effect::Note(format!(
            "elected master in epoch {epoch} by {promises} promises"
        )));
        self.state = State::Master(Master::new(
            epoch,
            self.log.last.sequence.next(),
            self.now_ms,
        ));
        for (node, hello) in greetings {
            self.admit(node, &hello, effects);
        }
        let first = self.append_own(bytes::Bytes::new(), effects);
        assert!(first.is_some(), "a new master takes its own entry");
    }

    pub(crate) fn tick_candidate(&mut self, effects: &mut Vec<Effect>) {
        let State::Candidate(candidate) = &self.state else {
            return;
        };
        if self.now_ms >= candidate.since_ms + self.config.limits.election_ms {
            let reason = format!("no quorum promised epoch {} in time", candidate.epoch);
            self.give_up(reason, effects);
        }
    }
}
