//! What clients did and were told, beside the broker that told them.

use std::collections::{BTreeMap, BTreeSet};

use replicamq_proto::store::v1::Header;

use super::Action;
use crate::broker::tests::harness::*;
use crate::{
    Acknowledge, AcknowledgeMode, Command, ConnectionId, Delivery, Disposition, Limits, Receipt,
    SubscriptionId, TransactionId,
};

const PLACES: [&str; 4] = ["/queue/a", "/queue/b", "/topic/t", "/queue/ActiveMQ.DLQ"];
const SHARED: usize = 1;
const TOPIC: usize = 2;
const LETTERS: usize = 3;
const TRANSACTION: u64 = 1;
/// Subscriptions from here on only look.
const BROWSER: u64 = 10;

/// What one message may expect.
#[derive(Debug)]
struct Sent {
    place: usize,
    persistent: bool,
    /// Its place among the sends that took effect; known when they did.
    order: Option<u64>,
    in_transaction: bool,
    /// 0: never.
    expires_ms: u64,
    receipt: Option<Receipt>,
    /// A consumer accepted it; perhaps nobody knows.
    accepted: bool,
}

/// Acknowledgements that wait for their receipt.
#[derive(Debug)]
struct Promise {
    receipt: Receipt,
    messages: Vec<(usize, u64)>,
}

struct Subscribed {
    mode: AcknowledgeMode,
    odd: Option<bool>,
    outstanding: Vec<Delivery>,
}

/// What an open transaction did.
#[derive(Debug, Default)]
struct Open {
    sends: Vec<u64>,
    accepted: Vec<(usize, u64)>,
}

/// The broker, its surroundings, and the promises it made.
pub(super) struct World {
    harness: Harness,
    sent: BTreeMap<u64, Sent>,
    next_id: u64,
    next_order: u64,
    /// By connection and place.
    subscribed: BTreeMap<(ConnectionId, usize), Subscribed>,
    open: BTreeMap<ConnectionId, Open>,
    promises: Vec<Promise>,
    done: BTreeSet<(usize, u64)>,
    delivered: BTreeSet<(usize, u64)>,
    /// By place, group, and whether the number is odd.
    last_first: BTreeMap<(usize, Option<String>, bool), u64>,
    /// Deliveries to whoever drains everything at the end.
    drained: BTreeSet<(usize, u64)>,
}

fn limits() -> Limits {
    Limits {
        window_messages_max: 6,
        window_bytes_max: 10_000,
        windows_bytes_max: 4_000,
        dispatched_step: 5,
        topic_trim_messages: 3,
        redeliveries_max: 2,
        durable_marks_max: 4,
        connection_outstanding_bytes_max: 2_000,
        outstanding_bytes_max: 3_000,
        browse_page_messages: 4,
        expiry_interval_ms: 100,
        forget_after_ms: 200,
        sweep_page_messages: 3,
        ..Limits::default()
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            harness: Harness::with(limits()),
            sent: BTreeMap::new(),
            next_id: 0,
            next_order: 0,
            subscribed: BTreeMap::new(),
            open: BTreeMap::new(),
            promises: Vec::new(),
            done: BTreeSet::new(),
            delivered: BTreeSet::new(),
            last_first: BTreeMap::new(),
            drained: BTreeSet::new(),
        };
        world.connect();
        world.subscribe((B, TOPIC), AcknowledgeMode::Individual, 1, None);
        world.harness.run();
        world.harness.unsubscribe(B, TOPIC as u64);
        world.subscribed.clear();
        world
    }

    fn connect(&mut self) {
        self.harness.connect(A, None);
        self.harness.connect(B, Some("b"));
        self.harness.connect(C, None);
    }

    fn subscribe(
        &mut self,
        (connection, place): (ConnectionId, usize),
        mode: AcknowledgeMode,
        credit: u32,
        odd: Option<bool>,
    ) {
        // Only B has the client id of the durable subscription.
        if self.subscribed.contains_key(&(connection, place)) || (place == TOPIC && connection != B)
        {
            return;
        }
        let odd = odd.filter(|_| place != TOPIC);
        self.harness
            .subscribe_with(connection, place as u64, PLACES[place], |subscribe| {
                subscribe.mode = mode;
                subscribe.credit = credit;
                subscribe.durable = (place == TOPIC).then(|| "s".to_owned());
                subscribe.selector = odd.map(|odd| format!("odd = '{odd}'"));
            });
        let subscribed = Subscribed {
            mode,
            odd,
            outstanding: Vec::new(),
        };
        self.subscribed.insert((connection, place), subscribed);
    }

    fn begin(&mut self, connection: ConnectionId) {
        if !self.open.contains_key(&connection) {
            self.harness.begin(connection, TRANSACTION);
            self.open.insert(connection, Open::default());
        }
    }

    fn send(&mut self, place: usize, persistent: bool, in_transaction: bool, mortal: bool) {
        let id = self.next_id;
        self.next_id += 1;
        let mut order = None;
        if in_transaction {
            self.begin(A);
            self.open.get_mut(&A).unwrap().sends.push(id);
        } else {
            order = Some(self.next_order);
            self.next_order += 1;
        }
        self.sent.insert(
            id,
            Sent {
                place,
                persistent,
                order,
                in_transaction,
                expires_ms: if mortal { self.harness.now_ms + 400 } else { 0 },
                receipt: None,
                accepted: false,
            },
        );
        let receipt = self.send_again(id);
        if !in_transaction {
            self.sent.get_mut(&id).unwrap().receipt = Some(receipt);
        }
    }

    fn send_again(&mut self, id: u64) -> Receipt {
        let sent = &self.sent[&id];
        let mut message = message(PLACES[sent.place], &id.to_string());
        message.persistent = sent.persistent;
        message.expires_ms = sent.expires_ms;
        message.headers.push(Header {
            name: "odd".to_owned(),
            value: is_odd(id).to_string(),
        });
        message.headers.extend(group(id).map(|value| Header {
            name: "JMSXGroupID".to_owned(),
            value,
        }));
        let (persistent, in_transaction) = (sent.persistent, sent.in_transaction);
        self.harness.send_with(A, message, |send| {
            send.duplicate_key = persistent.then(|| id.to_string());
            send.transaction = in_transaction.then_some(TransactionId(TRANSACTION));
        })
    }

    fn settle(
        &mut self,
        (connection, place): (ConnectionId, usize),
        index: usize,
        disposition: Disposition,
        in_transaction: bool,
    ) {
        let Some(subscribed) = self.subscribed.get_mut(&(connection, place)) else {
            return;
        };
        if subscribed.outstanding.is_empty() {
            return;
        }
        let index = index % subscribed.outstanding.len();
        let delivery = subscribed.outstanding[index].clone();
        let covered: Vec<Delivery> = match subscribed.mode {
            AcknowledgeMode::Individual => vec![subscribed.outstanding.remove(index)],
            AcknowledgeMode::Auto | AcknowledgeMode::Cumulative => {
                subscribed.outstanding.drain(..=index).collect()
            }
        };
        let messages: Vec<(usize, u64)> = covered.iter().map(|one| (place, id(one))).collect();
        if subscribed.mode == AcknowledgeMode::Auto {
            self.harness.written(&delivery);
            for (_, id) in &messages {
                self.sent.get_mut(id).unwrap().accepted = true;
            }
            return;
        }
        let transaction = in_transaction.then_some(TRANSACTION);
        if in_transaction {
            self.begin(connection);
            if disposition == Disposition::Accepted {
                let open = self.open.get_mut(&connection).unwrap();
                open.accepted.extend(&messages);
            }
        } else if disposition == Disposition::Accepted {
            for (_, id) in &messages {
                self.sent.get_mut(id).unwrap().accepted = true;
            }
        }
        let receipt = self.harness.receipt();
        if !in_transaction && disposition == Disposition::Accepted {
            self.promises.push(Promise { receipt, messages });
        }
        self.harness.step(
            connection,
            Command::Acknowledge(Acknowledge {
                subscription: SubscriptionId(place as u64),
                delivery: delivery.delivery,
                disposition,
                transaction: transaction.map(TransactionId),
                receipt: Some(receipt),
            }),
        );
    }

    fn commit(&mut self, connection: ConnectionId) {
        let Some(open) = self.open.remove(&connection) else {
            return;
        };
        let Open {
            sends,
            accepted: messages,
        } = open;
        for id in &sends {
            self.sent.get_mut(id).unwrap().order = Some(self.next_order);
            self.next_order += 1;
        }
        for (_, id) in &messages {
            self.sent.get_mut(id).unwrap().accepted = true;
        }
        let receipt = self.harness.commit_transaction(connection, TRANSACTION);
        for id in &sends {
            self.sent.get_mut(id).unwrap().receipt = Some(receipt);
        }
        self.promises.push(Promise { receipt, messages });
    }

    fn browse(&mut self, connection: ConnectionId, place: usize) {
        let number = BROWSER + place as u64;
        let known = &self.harness.broker.clients;
        let browsers = &known.connections[known.by_id[&connection]].subscriptions;
        if browsers.contains_key(&SubscriptionId(number)) {
            self.harness.unsubscribe(connection, number);
        }
        self.harness
            .subscribe_with(connection, number, PLACES[place], |subscribe| {
                subscribe.browse = true;
                subscribe.mode = AcknowledgeMode::Auto;
                subscribe.credit = 2;
            });
    }

    fn leave(&mut self, connection: ConnectionId) {
        self.subscribed.retain(|(who, _), _| *who != connection);
        self.open.remove(&connection);
    }

    fn fail_over(&mut self, survivors: usize) {
        self.look();
        self.harness.fail_over(survivors);
        self.subscribed.clear();
        self.open.clear();
        self.promises.clear();
        self.connect();
        // What a client's failover transport does.
        let unanswered: Vec<u64> = self
            .sent
            .iter()
            .filter(|(_, sent)| {
                let safe = |receipt| self.harness.has_receipt(receipt);
                sent.persistent && !sent.in_transaction && !sent.receipt.is_some_and(safe)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in unanswered {
            let receipt = self.send_again(id);
            self.sent.get_mut(&id).unwrap().receipt = Some(receipt);
        }
    }

    /// Takes note of what the broker said.
    fn look(&mut self) {
        assert_eq!(self.harness.refusals, []);
        let harness = &self.harness;
        let kept: BTreeSet<Receipt> = harness
            .receipts
            .iter()
            .map(|(_, receipt)| *receipt)
            .collect();
        // A receipt precedes whatever is delivered after its commit.
        let (kept_promises, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.promises)
            .into_iter()
            .partition(|promise| kept.contains(&promise.receipt));
        self.promises = waiting;
        while let Some(delivery) = self.harness.deliveries.pop_front() {
            if delivery.subscription.0 >= BROWSER {
                assert!(!delivery.redelivered);
                self.harness.written(&delivery);
            } else {
                self.see(delivery);
            }
        }
        for promise in kept_promises {
            self.done.extend(promise.messages);
        }
        assert!(self.harness.broker.memory.windows <= 40_000);
        assert!(self.harness.broker.memory.outstanding <= 3_000 + 4 * 400);
    }

    fn see(&mut self, delivery: Delivery) {
        let place = usize::try_from(delivery.subscription.0).unwrap();
        let id = id(&delivery);
        assert!(
            !self.done.contains(&(place, id)),
            "{id} came again after its end"
        );
        let expires_ms = self.sent[&id].expires_ms;
        assert!(place == LETTERS || expires_ms == 0 || expires_ms > self.harness.now_ms);
        if self.delivered.insert((place, id)) {
            let order = self.sent[&id].order;
            assert!(order.is_some(), "{id} was never committed");
            let last = self
                .last_first
                .insert((place, group(id), is_odd(id)), order.unwrap());
            assert!(place == LETTERS || order > last, "{id} came too late");
        } else {
            assert!(delivery.redelivered, "{id} came again without a mark");
        }
        let key = (delivery.connection, place);
        let others = self.subscribed.iter();
        let others = others.filter(|((who, where_), _)| *where_ == place && *who != key.0);
        let mut theirs = others.flat_map(|(_, other)| &other.outstanding);
        let is_apart = group(id).is_none() || place == TOPIC;
        // An owner that selects gets only what it selects.
        let class = |id| (group(id), is_odd(id));
        assert!(
            is_apart || theirs.all(|other| class(self::id(other)) != class(id)),
            "the group of {id} is with two"
        );
        let subscribed = self.subscribed.get_mut(&key).unwrap();
        let wants = subscribed.odd.is_none_or(|odd| odd == is_odd(id));
        assert!(wants, "{id} was not selected");
        subscribed.outstanding.push(delivery);
    }

    pub(super) fn act(&mut self, action: &Action) {
        let consumer = |index: usize| [B, C][index];
        match action.clone() {
            Action::Send {
                place,
                persistent,
                in_transaction,
                mortal,
            } => self.send(place, persistent, in_transaction, mortal),
            Action::Browse { connection, place } => self.browse(consumer(connection), place),
            Action::Tick { milliseconds } => self.harness.tick(self.harness.now_ms + milliseconds),
            Action::Subscribe {
                connection,
                place,
                mode,
                credit,
                odd,
            } => {
                self.subscribe((consumer(connection), place), mode, credit, odd);
            }
            Action::Unsubscribe { connection, place } => {
                let key = (consumer(connection), place);
                if self.subscribed.remove(&key).is_some() {
                    self.harness.unsubscribe(key.0, place as u64);
                }
            }
            Action::Disconnect { connection } => {
                let connection = consumer(connection);
                self.leave(connection);
                self.harness.step(connection, Command::Disconnect);
                let client_id = (connection == B).then_some("b");
                self.harness.connect(connection, client_id);
            }
            Action::Settle {
                connection,
                place,
                index,
                disposition,
                in_transaction,
            } => {
                self.settle(
                    (consumer(connection), place),
                    index,
                    disposition,
                    in_transaction,
                );
            }
            Action::Commit { connection } => self.commit([A, B, C][connection]),
            Action::Abort { connection } => {
                let connection = [A, B, C][connection];
                if self.open.remove(&connection).is_some() {
                    self.harness.abort(connection, TRANSACTION);
                }
            }
            Action::Seal => {
                self.harness.seal();
            }
            Action::CommitEntry => {
                self.harness.commit_one();
            }
            Action::Load => {
                self.harness.load_one();
            }
            Action::FailOver { survivors } => self.fail_over(survivors),
        }
        self.look();
    }

    /// Consumers take everything that is left, wherever it is.
    pub(super) fn drain(&mut self) {
        for connection in [A, B, C] {
            self.leave(connection);
            self.harness.step(connection, Command::Disconnect);
            self.look();
        }
        self.connect();
        for place in 0..PLACES.len() {
            // One of the queues is emptied by two, of whom neither wants everything.
            let odd = (place == SHARED).then_some(true);
            self.subscribe((B, place), AcknowledgeMode::Individual, 5, odd);
        }
        self.subscribe((C, SHARED), AcknowledgeMode::Individual, 5, Some(false));
        loop {
            self.harness.run();
            self.look();
            let Some((place, delivery)) =
                self.subscribed.iter_mut().find_map(|((_, place), one)| {
                    let delivery = one.outstanding.pop()?;
                    Some((*place, delivery))
                })
            else {
                break;
            };
            let message = (place, id(&delivery));
            assert!(self.drained.insert(message), "{message:?} was there twice");
            let receipt = self.harness.accept(&delivery);
            let messages = vec![message];
            self.promises.push(Promise { receipt, messages });
        }
    }

    pub(super) fn judge(&self) {
        for (id, sent) in &self.sent {
            let is_safe = sent
                .receipt
                .is_some_and(|receipt| self.harness.has_receipt(receipt));
            let places = [sent.place, LETTERS];
            let times = places
                .iter()
                .filter(|place| self.drained.contains(&(**place, *id)))
                .count();
            assert!(times <= 1, "{id} was there twice");
            let may_expire = sent.expires_ms != 0 && sent.expires_ms <= self.harness.now_ms;
            let must_be_there = sent.persistent && is_safe && !sent.accepted && !may_expire;
            assert!(!must_be_there || times == 1, "{id} is lost: {sent:?}");
        }
        let memory = &self.harness.broker.memory;
        let bytes = [
            memory.windows,
            memory.volatile,
            memory.outstanding,
            memory.transactions,
        ];
        assert_eq!(bytes, [0; 4]);
        let mut feeds = self.harness.broker.feeds.iter();
        assert!(feeds.all(|(_, feed)| feed.volatile_bytes == 0));
        assert_eq!(
            (self.harness.stored(b'm'), self.harness.stored(b'a')),
            (0, 0)
        );
        for status in self.harness.broker.destinations() {
            assert_eq!((status.depth, status.in_flight), (0, 0), "{status:?}");
        }
    }
}

fn group(id: u64) -> Option<String> {
    id.is_multiple_of(3).then(|| (id / 2 % 4).to_string())
}

fn is_odd(id: u64) -> bool {
    id % 2 == 1
}

fn id(delivery: &Delivery) -> u64 {
    body(delivery).parse().unwrap()
}
