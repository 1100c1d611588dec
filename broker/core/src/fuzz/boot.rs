//! A broker from whatever lies in the store: it begins, or says what is damaged. One that began
//! works, and what it then wrote another one begins with.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use replicamq_fuzzing::Input;
use replicamq_proto::store::v1::op::Kind;
use replicamq_proto::store::v1::{Batch, Message};

use crate::keyspace::{duplicate, durable, mark, number_key, queue, topic};
use crate::{
    Acknowledge, AcknowledgeMode, Boot, BootError, Broker, Command, ConnectionId, DeliveryId,
    Disposition, Effect, Limits, LoadRequest, Receipt, Send, Subscribe, SubscriptionId,
};

const PAIRS_MAX: usize = 24;
const STEPS_MAX: usize = 60;
const EPOCH: u64 = 7;
const CLIENT: ConnectionId = ConnectionId(1);

type Store = BTreeMap<Bytes, Bytes>;

/// First the pairs in the store, then what a client asks.
pub fn boot(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = Limits {
        duplicate_window: input.pick(&[3, 1, 2_000]),
        duplicate_window_volatile: 2,
        window_messages_max: 2,
        dispatched_step: 2,
        topic_trim_messages: 2,
        forget_after_ms: 1_000,
        ..Limits::default()
    };
    let mut store = Store::new();
    for _ in 0..input.below(PAIRS_MAX) {
        let (key, value) = pair(&mut input);
        store.insert(key, value);
    }
    let Ok(broker) = begin(EPOCH, &limits, &store) else {
        return;
    };
    let mut world = World {
        broker,
        store,
        sequence: 0,
        now_ms: 1_000,
    };
    world.step(Command::Connect {
        client_id: Some("c".to_owned()),
        receipt: Receipt(0),
    });
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.happen(&mut input);
    }
    world.commit();
    let after = begin(EPOCH + 1, &limits, &world.store);
    assert!(after.is_ok(), "it does not read what it wrote: {after:?}");
}

fn begin(epoch: u64, limits: &Limits, store: &Store) -> Result<Broker, BootError> {
    let mut boot = Boot::new(limits.clone());
    boot.add(pairs(store))?;
    boot.finish(epoch)
}

/// All that a broker reads when it begins, and nothing else.
fn pairs(store: &Store) -> Vec<(Bytes, Bytes)> {
    let within = |key: &Bytes| {
        let mut ranges = Broker::boot_ranges().into_iter();
        ranges.any(|(from, to)| *key >= from && *key < to)
    };
    let owned = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
    store
        .iter()
        .map(owned)
        .filter(|(key, _)| within(key))
        .collect()
}

/// Mostly one that parses.
fn pair(input: &mut Input<'_>) -> (Bytes, Bytes) {
    let number = input.number_u32();
    let (key, value): (Vec<u8>, Vec<u8>) = match input.below(8) {
        0 | 1 => {
            let record = queue::Record {
                name: name(input),
                next_sequence: input.number(),
                head: input.number(),
                depth: input.number(),
                dispatched: input.number(),
            };
            (queue::key(number).into(), record.encode_to_vec())
        }
        2 => {
            let record = topic::Record {
                name: name(input),
                next_sequence: input.number(),
                trimmed: input.number(),
            };
            (topic::key(number).into(), record.encode_to_vec())
        }
        3 => {
            let record = durable::Record {
                client_id: "c".to_owned(),
                name: name(input),
                topic: input.number_u32(),
                acknowledged: input.number(),
                dispatched: input.number(),
                selector: selector(input),
            };
            (durable::key(number).into(), record.encode_to_vec())
        }
        4 => (mark::key(number, input.number()).into(), Vec::new()),
        5 => {
            let slot = duplicate::Slot {
                counter: input.number(),
                digest: input.number().into(),
            };
            (slot.key().into(), slot.value().into())
        }
        6 => {
            let digests: Vec<u128> = input.bytes().iter().map(|&byte| byte.into()).collect();
            let page = duplicate::Page::new(input.number(), digests.into_iter());
            (duplicate::Page::key(page.first).into(), page.value().into())
        }
        _ => {
            let kind = input.pick(b"qTdawW");
            let key = if input.bool() {
                number_key(kind, number).into()
            } else {
                input.bytes().into()
            };
            (key, input.bytes().into())
        }
    };
    (key.into(), value.into())
}

fn name(input: &mut Input<'_>) -> String {
    match input.below(4) {
        0 => "a".to_owned(),
        1 => "b".to_owned(),
        2 => "s".to_owned(),
        _ => input.text(),
    }
}

/// A broker of its own, a store that works at once, and one client.
struct World {
    broker: Broker,
    store: Store,
    sequence: u64,
    now_ms: u64,
}

impl World {
    fn happen(&mut self, input: &mut Input<'_>) {
        let subscription = SubscriptionId(input.below(3) as u64);
        match input.below(8) {
            0 | 1 => self.send(input),
            2 => self.subscribe(subscription, input),
            3 => self.step(Command::Unsubscribe {
                subscription,
                receipt: None,
            }),
            4 => self.step(Command::Acknowledge(Acknowledge {
                subscription,
                delivery: DeliveryId(input.number()),
                disposition: if input.bool() {
                    Disposition::Rejected
                } else {
                    Disposition::Accepted
                },
                transaction: None,
                receipt: None,
            })),
            5 => self.step(Command::DeleteDurable {
                name: name(input),
                receipt: None,
            }),
            6 => self.commit(),
            _ => {
                self.now_ms += input.number() & 0xfff;
                let mut effects = Vec::new();
                self.broker.tick(self.now_ms, &mut effects);
                self.load(effects);
                drop(self.broker.destinations());
            }
        }
    }

    fn address(input: &mut Input<'_>) -> String {
        let kind = input.pick(&["/queue/", "/topic/"]);
        format!("{kind}{}", name(input))
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let message = Message {
            destination: Self::address(input),
            expires_ms: if input.bool() { 2_000 } else { 0 },
            persistent: !input.bool(),
            ..Message::default()
        };
        let key = input.number();
        self.step(Command::Send(Box::new(Send {
            message,
            duplicate_key: (key > 0).then(|| key.to_string()),
            transaction: None,
            receipt: None,
        })));
    }

    fn subscribe(&mut self, subscription: SubscriptionId, input: &mut Input<'_>) {
        self.step(Command::Subscribe(Box::new(Subscribe {
            subscription,
            destination: Self::address(input),
            mode: AcknowledgeMode::Individual,
            credit: 3,
            browse: input.below(4) == 3,
            durable: input.bool().then(|| name(input)),
            selector: Some(selector(input)),
            priority: 0,
            exclusive: input.bool(),
            receipt: None,
        })));
    }

    fn step(&mut self, command: Command) {
        let mut effects = Vec::new();
        self.broker.step(CLIENT, command, self.now_ms, &mut effects);
        self.load(effects);
    }

    /// Batches are in the store before they are committed, and a read shows them.
    fn commit(&mut self) {
        while let Some(batch) = self.broker.take_batch() {
            self.sequence += 1;
            self.broker.sealed(self.sequence);
            self.apply(batch);
            let mut effects = Vec::new();
            self.broker
                .committed(self.sequence, self.now_ms, &mut effects);
            self.load(effects);
        }
    }

    fn apply(&mut self, batch: Bytes) {
        let batch = Batch::decode(batch).expect("a broker writes batches");
        for op in batch.ops {
            match op.kind.expect("of known kinds") {
                Kind::Put(put) => drop(self.store.insert(put.key, put.value)),
                Kind::Delete(key) => drop(self.store.remove(&key)),
                Kind::DeleteRange(range) => self
                    .store
                    .retain(|key, _| *key < range.from || *key >= range.to),
            }
        }
    }

    fn load(&mut self, mut effects: Vec<Effect>) {
        while let Some(effect) = effects.pop() {
            if let Effect::Load(request) = effect {
                let (pairs, more) = self.read(&request);
                self.broker
                    .loaded(request.token, pairs, more, self.now_ms, &mut effects);
            }
        }
    }

    fn read(&self, request: &LoadRequest) -> (Vec<(Bytes, Bytes)>, bool) {
        if request.from >= request.to {
            return (Vec::new(), false);
        }
        let all = self.store.range(request.from.clone()..request.to.clone());
        let mut pairs: Vec<(Bytes, Bytes)> = all
            .take(request.pairs_max + 1)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let more = pairs.len() > request.pairs_max;
        pairs.truncate(request.pairs_max);
        (pairs, more)
    }
}

fn selector(input: &mut Input<'_>) -> String {
    ["", "JMSPriority > 4", "a = 'b'", "JMSPriority >"][input.below(4)].to_owned()
}
