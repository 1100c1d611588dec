//! Plays the rest of the node: a log, a store that applies what is committed,
//! and answers to reads. Nothing happens unless a test says so.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use prost::Message as _;
use replicamq_proto::store::v1::op::Kind;
use replicamq_proto::store::v1::{Batch, Header, Message};

use crate::{
    Acknowledge, AcknowledgeMode, Boot, Broker, Command, ConnectionId, Delivery, DeliveryId,
    DestinationKind, DestinationStatus, Disposition, Effect, Limits, LoadRequest, Receipt, Refusal,
    Send, Subscribe, SubscriptionId, TransactionId,
};

pub(super) const A: ConnectionId = ConnectionId(1);
pub(super) const B: ConnectionId = ConnectionId(2);
pub(super) const C: ConnectionId = ConnectionId(3);

/// What a read found, and whether there is more.
type Pairs = (Vec<(Bytes, Bytes)>, bool);

pub(super) struct Harness {
    pub(super) broker: Broker,
    pub(super) limits: Limits,
    pub(super) store: BTreeMap<Bytes, Bytes>,
    /// Sealed and not committed.
    pub(super) log: VecDeque<(u64, Bytes)>,
    /// Reads under way, with what some of them have read already.
    pub(super) loads: VecDeque<(LoadRequest, Option<Pairs>)>,
    pub(super) deliveries: VecDeque<Delivery>,
    pub(super) receipts: Vec<(ConnectionId, Receipt)>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) browse_ends: usize,
    pub(super) batches: u64,
    pub(super) now_ms: u64,
    epoch: u64,
    sequence: u64,
    next_receipt: u64,
}

impl Harness {
    pub(super) fn with(limits: Limits) -> Self {
        Self {
            broker: Boot::new(limits.clone()).finish(1).unwrap(),
            limits,
            store: BTreeMap::new(),
            log: VecDeque::new(),
            loads: VecDeque::new(),
            deliveries: VecDeque::new(),
            receipts: Vec::new(),
            refusals: Vec::new(),
            browse_ends: 0,
            batches: 0,
            now_ms: 1_000,
            epoch: 1,
            sequence: 0,
            next_receipt: 0,
        }
    }

    /// A harness with connections A, B and C.
    pub(super) fn connected(limits: Limits) -> Self {
        let mut harness = Self::with(limits);
        harness.connect_all();
        harness
    }

    pub(super) fn connect_all(&mut self) {
        for connection in [A, B, C] {
            self.connect(connection, None);
        }
    }

    // What clients do.

    pub(super) fn step(&mut self, connection: ConnectionId, command: Command) {
        let mut effects = Vec::new();
        self.broker
            .step(connection, command, self.now_ms, &mut effects);
        self.take(effects);
    }

    pub(super) fn receipt(&mut self) -> Receipt {
        self.next_receipt += 1;
        Receipt(self.next_receipt)
    }

    pub(super) fn connect(&mut self, connection: ConnectionId, client_id: Option<&str>) {
        let receipt = self.receipt();
        let client_id = client_id.map(str::to_owned);
        self.step(connection, Command::Connect { client_id, receipt });
    }

    pub(super) fn send_with(
        &mut self,
        connection: ConnectionId,
        message: Message,
        change: impl FnOnce(&mut Send),
    ) -> Receipt {
        let receipt = self.receipt();
        let mut send = Send {
            message,
            duplicate_key: None,
            transaction: None,
            receipt: Some(receipt),
        };
        change(&mut send);
        self.step(connection, Command::Send(Box::new(send)));
        receipt
    }

    pub(super) fn send(&mut self, connection: ConnectionId, to: &str, body: &str) -> Receipt {
        self.send_with(connection, message(to, body), |_| {})
    }

    pub(super) fn subscribe_with(
        &mut self,
        connection: ConnectionId,
        number: u64,
        destination: &str,
        change: impl FnOnce(&mut Subscribe),
    ) -> Receipt {
        let receipt = self.receipt();
        let mut subscribe = Subscribe {
            subscription: SubscriptionId(number),
            destination: destination.to_owned(),
            mode: AcknowledgeMode::Individual,
            credit: 10,
            browse: false,
            durable: None,
            selector: None,
            priority: 0,
            exclusive: false,
            receipt: Some(receipt),
        };
        change(&mut subscribe);
        self.step(connection, Command::Subscribe(Box::new(subscribe)));
        receipt
    }

    pub(super) fn subscribe(&mut self, connection: ConnectionId, number: u64, to: &str) {
        self.subscribe_with(connection, number, to, |_| {});
    }

    pub(super) fn unsubscribe(&mut self, connection: ConnectionId, number: u64) {
        let command = Command::Unsubscribe {
            subscription: SubscriptionId(number),
            receipt: None,
        };
        self.step(connection, command);
    }

    pub(super) fn settle_delivery(
        &mut self,
        delivery: &Delivery,
        disposition: Disposition,
        transaction: Option<u64>,
    ) -> Receipt {
        let receipt = self.receipt();
        let command = Command::Acknowledge(Acknowledge {
            subscription: delivery.subscription,
            delivery: delivery.delivery,
            disposition,
            transaction: transaction.map(TransactionId),
            receipt: Some(receipt),
        });
        self.step(delivery.connection, command);
        receipt
    }

    pub(super) fn accept(&mut self, delivery: &Delivery) -> Receipt {
        self.settle_delivery(delivery, Disposition::Accepted, None)
    }

    pub(super) fn reject(&mut self, delivery: &Delivery) -> Receipt {
        self.settle_delivery(delivery, Disposition::Rejected, None)
    }

    pub(super) fn written(&mut self, delivery: &Delivery) {
        let command = Command::Written {
            subscription: delivery.subscription,
            last: delivery.delivery,
        };
        self.step(delivery.connection, command);
    }

    pub(super) fn begin(&mut self, connection: ConnectionId, number: u64) {
        let command = Command::Begin {
            transaction: TransactionId(number),
            receipt: None,
        };
        self.step(connection, command);
    }

    pub(super) fn commit_transaction(&mut self, connection: ConnectionId, number: u64) -> Receipt {
        let receipt = self.receipt();
        let command = Command::Commit {
            transaction: TransactionId(number),
            receipt: Some(receipt),
        };
        self.step(connection, command);
        receipt
    }

    pub(super) fn abort(&mut self, connection: ConnectionId, number: u64) {
        let command = Command::Abort {
            transaction: TransactionId(number),
            receipt: None,
        };
        self.step(connection, command);
    }

    // What the node does.

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Receipt {
                    connection,
                    receipt,
                } => self.receipts.push((connection, receipt)),
                Effect::Refused { refusal, .. } => self.refusals.push(refusal),
                Effect::Deliver(delivery) => self.deliveries.push_back(delivery),
                Effect::BrowseEnd { .. } => self.browse_ends += 1,
                Effect::Load(request) => {
                    // Every other one is quick, and its answer slow.
                    let is_quick = request.token % 2 == 0;
                    let read = is_quick.then(|| self.read(&request));
                    self.loads.push_back((request, read));
                }
            }
        }
    }

    /// Ends a turn: what is to be stored goes to the log. False if nothing is.
    pub(super) fn seal(&mut self) -> bool {
        let Some(batch) = self.broker.take_batch() else {
            return false;
        };
        self.sequence += 1;
        self.batches += 1;
        self.broker.sealed(self.sequence);
        self.log.push_back((self.sequence, batch));
        true
    }

    /// Commits the oldest entry of the log, and applies it.
    pub(super) fn commit_one(&mut self) -> bool {
        let Some((sequence, batch)) = self.log.pop_front() else {
            return false;
        };
        self.apply(batch);
        let mut effects = Vec::new();
        self.broker.committed(sequence, self.now_ms, &mut effects);
        self.take(effects);
        true
    }

    fn apply(&mut self, batch: Bytes) {
        for op in Batch::decode(batch).unwrap().ops {
            match op.kind.unwrap() {
                Kind::Put(put) => {
                    self.store.insert(put.key, put.value);
                }
                Kind::Delete(key) => {
                    self.store.remove(&key);
                }
                Kind::DeleteRange(range) => {
                    let doomed: Vec<Bytes> = self
                        .store
                        .range(range.from..range.to)
                        .map(|(key, _)| key.clone())
                        .collect();
                    for key in doomed {
                        self.store.remove(&key);
                    }
                }
            }
        }
    }

    /// What is applied.
    fn read(&self, request: &LoadRequest) -> Pairs {
        let mut pairs = Vec::new();
        let mut bytes = 0;
        let range = request.from.clone()..request.to.clone();
        for (key, value) in self.store.range(range) {
            if pairs.len() >= request.pairs_max || bytes >= request.bytes_max {
                return (pairs, true);
            }
            bytes += key.len() + value.len();
            pairs.push((key.clone(), value.clone()));
        }
        (pairs, false)
    }

    /// Answers the oldest read.
    pub(super) fn load_one(&mut self) -> bool {
        let Some((request, read)) = self.loads.pop_front() else {
            return false;
        };
        let (pairs, more) = read.unwrap_or_else(|| self.read(&request));
        let mut effects = Vec::new();
        self.broker
            .loaded(request.token, pairs, more, self.now_ms, &mut effects);
        self.take(effects);
        true
    }

    /// Everything that can happen without clients happens.
    pub(super) fn run(&mut self) {
        while self.seal() || self.commit_one() || self.load_one() {}
    }

    pub(super) fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let mut effects = Vec::new();
        self.broker.tick(now_ms, &mut effects);
        self.take(effects);
    }

    /// The master dies; of what is not committed, `survivors` entries are
    /// committed by the next one. Clients have to connect again.
    pub(super) fn fail_over(&mut self, survivors: usize) {
        self.seal();
        for _ in 0..survivors {
            if let Some((_, batch)) = self.log.pop_front() {
                self.apply(batch);
            }
        }
        self.log.clear();
        self.loads.clear();
        self.deliveries.clear();
        self.epoch += 1;
        let mut boot = Boot::new(self.limits.clone());
        for (from, to) in Broker::boot_ranges() {
            for (key, value) in self.store.range(from..to) {
                boot.add(vec![(key.clone(), value.clone())]).unwrap();
            }
        }
        self.broker = boot.finish(self.epoch).unwrap();
    }

    // What tests look at.

    pub(super) fn has_receipt(&self, receipt: Receipt) -> bool {
        self.receipts.iter().any(|(_, known)| *known == receipt)
    }

    pub(super) fn delivered(&mut self) -> Vec<Delivery> {
        self.deliveries.drain(..).collect()
    }

    /// What was delivered to one of them, and stays to be seen.
    pub(super) fn bodies_of(&self, connection: ConnectionId) -> Vec<String> {
        let own = self.deliveries.iter();
        let own = own.filter(|delivery| delivery.connection == connection);
        own.map(body).collect()
    }

    pub(super) fn bodies(&mut self) -> Vec<String> {
        self.delivered().iter().map(body).collect()
    }

    pub(super) fn status(&self, kind: DestinationKind, name: &str) -> DestinationStatus {
        let mut all = self.broker.destinations().into_iter();
        all.find(|one| one.kind == kind && one.name == name)
            .unwrap()
    }

    pub(super) fn depth(&self, queue: &str) -> u64 {
        self.status(DestinationKind::Queue, queue).depth
    }

    /// Stored keys of a kind.
    pub(super) fn stored(&self, kind: u8) -> usize {
        self.store.keys().filter(|key| key[0] == kind).count()
    }
}

pub(super) fn message(destination: &str, body: &str) -> Message {
    Message {
        destination: destination.to_owned(),
        persistent: true,
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Message::default()
    }
}

pub(super) fn with_header(mut message: Message, name: &str, value: &str) -> Message {
    message.headers.push(Header {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    message
}

pub(super) fn volatile(destination: &str, body: &str) -> Message {
    Message {
        persistent: false,
        ..message(destination, body)
    }
}

pub(super) fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).unwrap()
}

pub(super) fn delivery_id(number: u64) -> DeliveryId {
    DeliveryId(number)
}
