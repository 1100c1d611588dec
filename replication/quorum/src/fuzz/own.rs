//! The node's own world, which keeps its word: a disk that works off its orders in order, a store,
//! a ZooKeeper. It checks each effect.

use std::collections::VecDeque;

use bytes::Bytes;
use replicamq_fuzzing::Input;

use super::{NODES, node};
use crate::{
    Effect, Entry, Epoch, EpochHistory, EpochRecord, EpochStart, Event, Keeper, Member, NodeId,
    Position, Quorum, Recovered, Sequence,
};

/// A node as it starts: new, with ten entries of two epochs, or after a checkpoint.
pub(super) fn recovered(input: &mut Input<'_>) -> Recovered {
    let start = |epoch, first| EpochStart {
        epoch: Epoch(epoch),
        first: Sequence(first),
    };
    let ten = Recovered {
        promised: Epoch(3),
        last: Position::new(2, 10),
        applied: Sequence(7),
        history: EpochHistory::new(vec![start(1, 1), start(2, 6)]).expect("it rises"),
        log_first: Sequence(1),
        ..Recovered::default()
    };
    match input.below(6) {
        0 => Recovered {
            log_first: Sequence(1),
            ..Recovered::default()
        },
        1 => Recovered {
            unfilled: true,
            log_first: Sequence(1),
            ..Recovered::default()
        },
        2 => Recovered {
            filling: true,
            applied: Sequence(10),
            log_first: Sequence(11),
            ..ten
        },
        3 => Recovered {
            log_first: Sequence(6),
            ..ten
        },
        _ => ten,
    }
}

/// What the disk was told and has not done.
#[derive(Debug)]
enum Order {
    Append(Position),
    Truncate(Position),
    Promise(Epoch),
}

/// One node, its disk, its store and its ZooKeeper.
pub(super) struct Own {
    pub(super) quorum: Quorum,
    orders: VecDeque<Order>,
    /// What the disk holds, written and synced.
    log: Vec<Entry>,
    log_first: Sequence,
    promised: Epoch,
    /// What the store was told to hold, and holds.
    applying: Sequence,
    applied: Sequence,
    committed: Sequence,
    /// The epoch znode.
    record: EpochRecord,
    claims: VecDeque<(Epoch, i32)>,
    reads: VecDeque<(NodeId, Sequence)>,
    over: bool,
}

impl Own {
    pub(super) fn new(quorum: Quorum, recovered: &Recovered) -> Self {
        let first = recovered.log_first.0;
        let entry = |sequence| Entry {
            position: Position {
                epoch: recovered
                    .history
                    .epoch_at(Sequence(sequence))
                    .expect("the history tells"),
                sequence: Sequence(sequence),
            },
            batch: Bytes::from_static(b"batch"),
        };
        Self {
            quorum,
            orders: VecDeque::new(),
            log: (first..=recovered.last.sequence.0).map(entry).collect(),
            log_first: recovered.log_first,
            promised: recovered.promised,
            applying: recovered.applied,
            applied: recovered.applied,
            committed: recovered.applied,
            record: EpochRecord {
                epoch: recovered.promised,
                ..EpochRecord::default()
            },
            claims: VecDeque::new(),
            reads: VecDeque::new(),
            over: false,
        }
    }

    /// The node has stopped by itself: an operator must look.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn step(&mut self, event: Event, now_ms: u64) {
        let mut effects = Vec::new();
        self.quorum.step(event, now_ms, &mut effects);
        self.take(effects);
    }

    pub(super) fn propose(&mut self, input: &mut Input<'_>) {
        let mut effects = Vec::new();
        let batch = Bytes::copy_from_slice(input.bytes());
        if self.quorum.accepts() {
            let proposed = self.quorum.propose(batch, &mut effects);
            assert!(proposed.is_some(), "a node takes what it has room for");
        }
        self.quorum.flush(&mut effects);
        self.take(effects);
    }

    pub(super) fn hand_over(&mut self, input: &mut Input<'_>) {
        let mut effects = Vec::new();
        let to = input.bool().then(|| node(input));
        if self.quorum.transfer(to.as_ref(), &mut effects).is_err() {
            assert!(effects.is_empty(), "nothing is changed by a refusal");
        }
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.carry_out(effect);
        }
        self.check();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Append(entries) => {
                let ends = entries.iter().map(|entry| Order::Append(entry.position));
                self.orders.extend(ends);
                self.log.extend(entries);
            }
            Effect::Truncate { keep } => {
                assert!(keep.sequence >= self.committed, "a committed entry is cut");
                let kept = |entry: &Entry| entry.position.sequence <= keep.sequence;
                self.log.retain(kept);
                self.orders.push_back(Order::Truncate(keep));
            }
            Effect::StorePromise { epoch } => {
                assert!(epoch > self.promised, "a promise is taken back");
                self.promised = epoch;
                self.orders.push_back(Order::Promise(epoch));
            }
            Effect::Apply(entries) => {
                for entry in entries {
                    assert_eq!(entry.position.sequence, self.applying.next());
                    assert!(
                        self.log.contains(&entry),
                        "what is applied is not in the log"
                    );
                    self.applying = entry.position.sequence;
                }
            }
            Effect::Replay { to } => {
                assert!(to > self.applying, "nothing is replayed twice");
                self.applying = to;
            }
            Effect::Committed { sequence } => {
                assert!(sequence > self.committed, "a commit is taken back");
                self.committed = sequence;
            }
            Effect::ReadLog { to, after, .. } => self.reads.push_back((to, after)),
            Effect::Claim { epoch, version } => {
                assert!(
                    epoch >= self.promised,
                    "an epoch is claimed that was left behind"
                );
                self.claims.push_back((epoch, version));
            }
            // Another checkpoint, or a human, comes next; both begin with another process.
            Effect::Diverged(_) => self.over = true,
            Effect::Send { .. }
            | Effect::Follow { .. }
            | Effect::Unfollow
            | Effect::Unlink { .. }
            | Effect::Install { .. }
            | Effect::Filled
            | Effect::Role(_)
            | Effect::Lease { .. }
            | Effect::Note(_) => {}
        }
    }

    fn check(&self) {
        let (last, durable, committed, applied) = self.quorum.positions();
        let end = self.log.last().map(|entry| entry.position);
        assert!(end.is_none_or(|end| end == last), "the log is not the log");
        assert!(
            durable <= last && committed <= last.sequence,
            "beyond the log"
        );
        assert!(applied <= self.applying && self.applying <= committed);
        let adjacent = |pair: &[Entry]| {
            let [before, after] = pair else { return true };
            before.position.sequence.next() == after.position.sequence
                && before.position.epoch <= after.position.epoch
        };
        assert!(self.log.windows(2).all(adjacent), "the log has a gap");
        // What operators are shown must not fail either.
        drop(self.quorum.replicas());
        drop(self.quorum.outlook());
        assert!(self.quorum.held() <= last);
    }

    /// The disk does the next of its orders.
    pub(super) fn disk_answers(&mut self) -> Option<Event> {
        Some(match self.orders.pop_front()? {
            Order::Append(end) => Event::Logged {
                appended: end,
                durable: end,
            },
            Order::Truncate(keep) => Event::Truncated { keep },
            Order::Promise(epoch) => Event::PromiseStored { epoch },
        })
    }

    pub(super) fn store_answers(&mut self) -> Option<Event> {
        let behind = self.applied < self.applying;
        self.applied = self.applying;
        let sequence = self.applied;
        behind.then_some(Event::Applied { sequence })
    }

    /// A claim is decided, or ZooKeeper is read or lost.
    pub(super) fn keeper_answers(&mut self, input: &mut Input<'_>) -> Event {
        if let Some((epoch, version)) = self.claims.pop_front() {
            let won = version == self.record.version && !input.bool();
            if won {
                self.record = EpochRecord {
                    epoch,
                    master: Some(NodeId::new("b")),
                    version: version + 1,
                };
            }
            return Event::Claimed { epoch, won };
        }
        match input.below(8) {
            0 => return Event::KeeperLost,
            1 => return Event::Unfilled,
            // Another one claimed an epoch.
            2 => {
                self.record = EpochRecord {
                    epoch: Epoch(self.record.epoch.0.saturating_add(1)),
                    master: Some(node(input)),
                    version: self.record.version + 1,
                };
            }
            _ => {}
        }
        let names = NODES.into_iter().zip(1..).take(3 - input.below(2));
        let member = |(name, rank): (&str, i64)| Member {
            node: NodeId::new(name),
            rank,
            weight: 1,
            durable: Position::default(),
        };
        let members: Vec<Member> = names.map(member).collect();
        Event::Keeper(Keeper {
            voters: members.iter().map(|member| member.node.clone()).collect(),
            members,
            epoch: self.record.clone(),
        })
    }

    pub(super) fn log_read(&mut self) -> Option<Event> {
        let (to, after) = self.reads.pop_front()?;
        let whole = after.next() >= self.log_first;
        let following = |entry: &&Entry| entry.position.sequence > after;
        let entries = self.log.iter().filter(following).take(3).cloned();
        Some(Event::LogRead {
            to,
            after,
            entries: if whole { entries.collect() } else { Vec::new() },
        })
    }
}
