//! A client that takes messages: it acknowledges them with or without a receipt, one by one or
//! together, in transactions or not; it gives some back, and sometimes just goes.

use replicamq_core::{
    Acknowledge, AcknowledgeMode, Command, Delivery, Disposition, Effect, Receipt, Refusal,
    Subscribe, SubscriptionId, TransactionId,
};

use super::Work;
use crate::checkers::ledger::{Feed, Promise, is_odd, number};
use crate::plan::ClientPlan;
use crate::random::Random;
use crate::world::{Phase, World};

const SUBSCRIPTION: SubscriptionId = SubscriptionId(1);

/// Consumers of a queue that select, where there are several.
const SELECTING_PPM: u32 = 400_000;

/// See the head of this file.
#[derive(Debug)]
pub struct Consumer {
    pub(super) feed: Feed,
    mode: AcknowledgeMode,
    credit: u32,
    /// Of a queue: only messages with an odd number, or only those with an even one.
    odd: Option<bool>,
    /// Asks for a receipt of its acknowledgements.
    is_careful: bool,
    /// Delivered and not settled, in order.
    held: Vec<Delivery>,
}

impl Consumer {
    /// Those of a plan: some for each queue, one for each durable subscription, and one for
    /// the dead letters.
    pub(super) fn all(plan: &ClientPlan, random: &mut Random) -> Vec<Self> {
        let mut all = Vec::new();
        for queue in 0..plan.queues {
            let count = random.between((1, plan.consumers_max));
            // The first one takes what the others do not select.
            all.extend((0..count).map(|index| {
                let consumer = Self::new(Feed::Queue(queue), random);
                let odd =
                    (index > 0 && random.chance(SELECTING_PPM)).then(|| random.chance(500_000));
                Self { odd, ..consumer }
            }));
        }
        all.extend((0..plan.durables).map(|one| Self::new(Feed::Durable(one), random)));
        if plan.reject_ppm > 0 || plan.transaction_ppm > 0 {
            all.push(Self::new(Feed::Letters, random));
        }
        all
    }

    fn new(feed: Feed, random: &mut Random) -> Self {
        let mode = match random.below(8) {
            0 => AcknowledgeMode::Auto,
            1 | 2 => AcknowledgeMode::Cumulative,
            _ => AcknowledgeMode::Individual,
        };
        Self {
            feed,
            mode,
            credit: random.pick(&[1, 3, 10, 100]),
            odd: None,
            is_careful: random.chance(800_000),
            held: Vec::new(),
        }
    }

    pub(super) fn is_auto(&self) -> bool {
        self.mode == AcknowledgeMode::Auto
    }

    pub(super) fn is_done(&self) -> bool {
        self.held.is_empty()
    }
}

impl World {
    fn consumer(&mut self, client: usize) -> &mut Consumer {
        match &mut self.clients.list[client].work {
            Work::Consume(consumer) => consumer,
            Work::Produce(_) => panic!("client {client} is a consumer"),
        }
    }

    /// Says hello, and subscribes.
    pub(super) fn begin_consuming(&mut self, client: usize) {
        let hello = self.checkers.ledger.promise(Promise::Nothing);
        let consumer = self.consumer(client);
        consumer.held.clear();
        let feed = consumer.feed;
        let (mode, credit) = (consumer.mode, consumer.credit);
        let selector = consumer.odd.map(|odd| format!("odd = '{odd}'"));
        let (client_id, durable) = match feed {
            Feed::Durable(number) => (Some(format!("c{number}")), Some("d".to_owned())),
            Feed::Queue(_) | Feed::Letters => (None, None),
        };
        let receipt = self.checkers.ledger.promise(Promise::Subscribed(feed));
        let commands = vec![
            Command::Connect {
                client_id,
                receipt: hello,
            },
            Command::Subscribe(Box::new(Subscribe {
                subscription: SUBSCRIPTION,
                destination: feed.address(),
                mode,
                credit,
                browse: false,
                durable,
                selector,
                priority: 0,
                exclusive: false,
                receipt: Some(receipt),
            })),
        ];
        self.ask(client, commands, &[hello, receipt]);
    }

    /// A round: what was held is settled.
    pub(super) fn consume(&mut self, client: usize) {
        if self.phase == Phase::Faulty && self.random.chance(self.plan.clients.leave_ppm) {
            self.hang_up(client);
            return;
        }
        self.settle(client);
    }

    /// Deliveries and answers come.
    pub(super) fn consumer_hears(&mut self, client: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Deliver(delivery) => {
                    let odd = is_odd(number(&delivery.message));
                    if self
                        .consumer(client)
                        .odd
                        .is_some_and(|wanted| wanted != odd)
                    {
                        let text = format!("client {client} gets {}", delivery.message.id);
                        self.checkers.fail("selected", &text);
                    }
                    if !self.consumer(client).is_auto() {
                        self.consumer(client).held.push(delivery);
                    }
                }
                Effect::Receipt { receipt, .. } => {
                    let consumed = self.checkers.ledger.settled(receipt);
                    if consumed > 0 {
                        self.figures.consumes += consumed;
                        self.consumed_us = self.now_us;
                    }
                }
                Effect::Refused {
                    refusal: Refusal::ClientIdInUse { .. } | Refusal::DurableInUse { .. },
                    ..
                } => {
                    // The server has yet to learn that the last connection is gone.
                    self.hang_up(client);
                    return;
                }
                Effect::Refused { refusal, .. } => {
                    let text = format!("consumer {client}: {refusal}");
                    self.checkers.fail("refused", &text);
                }
                Effect::BrowseEnd { .. } | Effect::Load(_) => {}
            }
        }
        let patient = self.phase == Phase::Faulty && self.random.chance(self.plan.clients.hold_ppm);
        if !patient {
            self.settle(client);
        }
    }

    fn settle(&mut self, client: usize) {
        let consumer = self.consumer(client);
        if consumer.held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut consumer.held);
        let mode = consumer.mode;
        let is_last = self.phase != Phase::Faulty;
        // Some take longer than others: they are acknowledged out of order.
        if !is_last && mode == AcknowledgeMode::Individual {
            let slow_ppm = self.plan.clients.hold_ppm;
            let random = &mut self.random;
            let slow: Vec<Delivery> = held.extract_if(.., |_| random.chance(slow_ppm)).collect();
            self.consumer(client).held = slow;
            if held.is_empty() {
                return;
            }
        }
        if !is_last && self.random.chance(self.plan.clients.transaction_ppm) {
            self.settle_in_transaction(client, &held);
            return;
        }
        let reject_ppm = match (is_last, self.consumer(client).feed) {
            (false, Feed::Queue(_)) => self.plan.clients.reject_ppm,
            _ => 0,
        };
        let consumer = self.consumer(client);
        let feed = consumer.feed;
        let is_careful = consumer.is_careful || is_last;
        let groups: Vec<&[Delivery]> = match mode {
            AcknowledgeMode::Cumulative => vec![&held],
            AcknowledgeMode::Individual | AcknowledgeMode::Auto => held.chunks(1).collect(),
        };
        let mut commands = Vec::new();
        let mut awaits = Vec::new();
        for group in groups {
            let messages = group.iter().map(|delivery| &*delivery.message);
            let ledger = &mut self.checkers.ledger;
            let (disposition, promise) = if self.random.chance(reject_ppm) {
                ledger.rejects(feed, messages);
                (Disposition::Rejected, Promise::Nothing)
            } else {
                let settle = ledger.settles(Some(feed), messages, false);
                (Disposition::Accepted, Promise::Settle(settle))
            };
            let receipt = is_careful.then(|| ledger.promise(promise));
            awaits.extend(receipt);
            commands.push(acknowledge(group, disposition, None, receipt));
        }
        self.ask(client, commands, &awaits);
    }

    fn settle_in_transaction(&mut self, client: usize, held: &[Delivery]) {
        let transaction = TransactionId(self.name());
        let commits = self.random.chance(750_000);
        let consumer = self.consumer(client);
        let (mode, feed) = (consumer.mode, consumer.feed);
        // What a durable subscription gives back too often is a letter among others.
        let commits = commits || matches!(feed, Feed::Durable(_));
        let mut commands = vec![Command::Begin {
            transaction,
            receipt: None,
        }];
        let acknowledged = match mode {
            AcknowledgeMode::Cumulative => &held[held.len() - 1..],
            AcknowledgeMode::Individual | AcknowledgeMode::Auto => held,
        };
        commands.extend(
            acknowledged
                .chunks(1)
                .map(|group| acknowledge(group, Disposition::Accepted, Some(transaction), None)),
        );
        let messages = held.iter().map(|delivery| &*delivery.message);
        let ledger = &mut self.checkers.ledger;
        let receipt = if commits {
            let settle = ledger.settles(Some(feed), messages, true);
            ledger.promise(Promise::Settle(settle))
        } else {
            // A consumer that aborts again and again fails.
            ledger.rejects(feed, messages);
            ledger.promise(Promise::Nothing)
        };
        commands.push(if commits {
            Command::Commit {
                transaction,
                receipt: Some(receipt),
            }
        } else {
            Command::Abort {
                transaction,
                receipt: Some(receipt),
            }
        });
        self.ask(client, commands, &[receipt]);
    }
}

/// Of a group, the last one is named.
fn acknowledge(
    group: &[Delivery],
    disposition: Disposition,
    transaction: Option<TransactionId>,
    receipt: Option<Receipt>,
) -> Command {
    let last = group.last().expect("a group has a delivery");
    Command::Acknowledge(Acknowledge {
        subscription: last.subscription,
        delivery: last.delivery,
        disposition,
        transaction,
        receipt,
    })
}
