//! A node that stands alone, with a disk that answers when a test says so.

use replicamq_core::{
    Acknowledge, AcknowledgeMode, Command, ConnectionId, Delivery, Disposition, Receipt, Send,
    Subscribe, SubscriptionId,
};
use replicamq_proto::store::v1::Message;
use replicamq_quorum::{
    Effect as QuorumEffect, EpochRecord, Event as QuorumEvent, Keeper, Limits, Member, NodeId,
    Position, SyncMode,
};

use super::super::*;

const CLIENT: ConnectionId = ConnectionId(1);

struct Alone {
    node: Node,
    now: Now,
    /// What the disk was asked and has not answered.
    asked: VecDeque<Effect>,
    deliveries: VecDeque<Delivery>,
}

impl Alone {
    /// A master with one client, which subscribes to a queue and has a message from it.
    fn serving() -> Self {
        let name = NodeId::new("alone");
        let config = Config {
            quorum: replicamq_quorum::Config {
                node: name.clone(),
                replicas: 1,
                weight: 1,
                sync: SyncMode::QUORUM_DISK,
                limits: Limits::default(),
            },
            limits: replicamq_core::Limits::default(),
        };
        let now = Now {
            monotonic_ms: 1_000,
            unix_ms: 1_700_000_000_000,
        };
        let mut alone = Self {
            node: Node::new(config, &Recovered::default(), now),
            now,
            asked: VecDeque::new(),
            deliveries: VecDeque::new(),
        };
        let member = Member {
            node: name.clone(),
            rank: 0,
            weight: 1,
            durable: Position::default(),
        };
        alone.step(Event::Quorum(QuorumEvent::Keeper(Keeper {
            members: vec![member],
            voters: [name].into(),
            epoch: EpochRecord::default(),
        })));
        alone.answer_all();
        let receipt = Receipt(0);
        alone.command(Command::Connect {
            client_id: None,
            receipt,
        });
        alone.command(Command::Subscribe(Box::new(Subscribe {
            subscription: SubscriptionId(1),
            destination: "/queue/q".to_owned(),
            mode: AcknowledgeMode::Individual,
            credit: 10,
            browse: false,
            durable: None,
            selector: None,
            priority: 0,
            exclusive: false,
            receipt: None,
        })));
        alone.command(Command::Send(Box::new(Send {
            message: Message {
                destination: "/queue/q".to_owned(),
                persistent: true,
                ..Message::default()
            },
            duplicate_key: None,
            transaction: None,
            receipt: None,
        })));
        alone.pass(10);
        alone.answer_all();
        assert_eq!(alone.deliveries.len(), 1);
        assert_eq!(
            (alone.node.seal_due_ms(), alone.has_uncommitted()),
            (None, false)
        );
        alone
    }

    fn has_uncommitted(&self) -> bool {
        self.node.has_uncommitted()
    }

    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.node.step(event, self.now, &mut effects);
        self.take(effects);
    }

    fn command(&mut self, command: Command) {
        self.step(Event::Command {
            connection: CLIENT,
            command,
        });
    }

    /// Acknowledges the delivery; nobody waits for that.
    fn acknowledge(&mut self) {
        let delivery = self.deliveries.pop_front().expect("it was delivered");
        self.command(Command::Acknowledge(Acknowledge {
            subscription: SubscriptionId(1),
            delivery: delivery.delivery,
            disposition: Disposition::Accepted,
            transaction: None,
            receipt: None,
        }));
    }

    /// So much time passes, then a turn ends.
    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        let mut effects = Vec::new();
        self.node.seal(self.now, &mut effects);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Client(replicamq_core::Effect::Deliver(delivery)) => {
                    self.deliveries.push_back(delivery);
                }
                other => self.asked.push_back(other),
            }
        }
    }

    /// Whether something waits to be appended to the log.
    fn appends(&self) -> bool {
        let append = |effect: &Effect| matches!(effect, Effect::Quorum(QuorumEffect::Append(_)));
        self.asked.iter().any(append)
    }

    /// The disk and ZooKeeper do what they were asked.
    fn answer_all(&mut self) {
        while let Some(effect) = self.asked.pop_front() {
            let event = match effect {
                Effect::Quorum(QuorumEffect::Claim { epoch, .. }) => {
                    QuorumEvent::Claimed { epoch, won: true }
                }
                Effect::Quorum(QuorumEffect::StorePromise { epoch }) => {
                    QuorumEvent::PromiseStored { epoch }
                }
                Effect::Quorum(QuorumEffect::Append(entries)) => {
                    let last = entries.last().expect("something is appended").position;
                    QuorumEvent::Logged {
                        appended: last,
                        durable: last,
                    }
                }
                Effect::Quorum(QuorumEffect::Apply(entries)) => QuorumEvent::Applied {
                    sequence: entries
                        .last()
                        .expect("something is applied")
                        .position
                        .sequence,
                },
                Effect::Load(request) => {
                    self.step(Event::Loaded {
                        token: request.token,
                        pairs: Vec::new(),
                        more: false,
                    });
                    continue;
                }
                _ => continue,
            };
            self.step(Event::Quorum(event));
        }
    }
}

#[test]
fn what_nobody_waits_for_is_stored_soon_although_nothing_happens() {
    let mut alone = Alone::serving();
    alone.pass(100);
    let sealed_ms = alone.now.monotonic_ms;
    alone.acknowledge();
    alone.pass(1);
    assert!(!alone.appends(), "it rides with what comes");
    assert_eq!(alone.node.seal_due_ms(), Some(sealed_ms + PATIENCE_MS));
    alone.pass(PATIENCE_MS - 1);
    assert!(alone.appends());
    assert_eq!(alone.node.seal_due_ms(), None);
}

#[test]
fn the_last_turn_leaves_nothing_behind() {
    let mut alone = Alone::serving();
    alone.pass(100);
    alone.acknowledge();
    alone.pass(1);
    assert!(!alone.has_uncommitted());
    let mut effects = Vec::new();
    // Alone it has nobody to leave to, and stores what is left all the same.
    let begun = alone.node.transfer(None, alone.now, &mut effects);
    assert!(begun.is_err(), "{begun:?}");
    alone.take(effects);
    assert!(alone.has_uncommitted());
    alone.answer_all();
    assert!(!alone.has_uncommitted());
}
