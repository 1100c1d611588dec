//! A client that sends persistent messages, some of them in transactions, and sends again
//! under the same ids what it got no receipt for.

use std::collections::VecDeque;

use bytes::Bytes;
use replicamq_core::{Command, Effect, Receipt, Send, TransactionId};
use replicamq_proto::store::v1::{Format, Header, Message};

use super::Work;
use crate::calendar;
use crate::checkers::ledger::{Ends, Place, Promise, is_odd};
use crate::plan::ClientPlan;
use crate::random::Random;
use crate::world::{FAULTS_FROM_US, Phase, World};

/// Messages that may be sent before their time.
const AHEAD_MAX: u64 = 10;
/// Messages of a transaction.
const TRANSACTION_MAX: u64 = 4;

/// Messages that are stored or not together: one, or a transaction.
#[derive(Debug)]
struct Unit {
    number: usize,
    receipt: Receipt,
    messages: Vec<(usize, Message)>,
    ends: Ends,
    /// Its end was asked for on this connection.
    is_ended: bool,
    at_us: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Producer {
    places: Vec<Place>,
    /// Not receipted, in order.
    units: VecDeque<Unit>,
    /// It sent something after the faults, and had its receipt.
    bade_farewell: bool,
}

impl Producer {
    pub(super) fn new(plan: &ClientPlan, random: &mut Random) -> Self {
        let mut places: Vec<Place> = (0..plan.queues).map(Place::Queue).collect();
        if plan.durables > 0 {
            places.push(Place::Topic);
        }
        if random.chance(400_000) {
            places = vec![random.pick(&places)];
        }
        Self {
            places,
            units: VecDeque::new(),
            bade_farewell: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.units.is_empty() && self.bade_farewell
    }
}

impl World {
    fn producer(&mut self, client: usize) -> &mut Producer {
        match &mut self.clients.list[client].work {
            Work::Produce(producer) => producer,
            Work::Consume(_) => panic!("client {client} is a producer"),
        }
    }

    /// Says hello, and repeats whatever has no receipt.
    pub(super) fn begin_producing(&mut self, client: usize) {
        let hello = self.checkers.ledger.promise(Promise::Nothing);
        let mut commands = vec![Command::Connect {
            client_id: None,
            receipt: hello,
        }];
        let mut awaits = vec![hello];
        let producer = self.producer(client);
        // What was to be aborted is gone with its connection.
        producer.units.retain(|unit| unit.ends != Ends::Abort);
        let mut units = std::mem::take(&mut producer.units);
        for unit in &mut units {
            unit.is_ended = true;
            self.checkers.ledger.sends(unit.number);
            unit.begin(&mut commands);
            unit.end(&mut commands, &mut awaits);
        }
        self.producer(client).units = units;
        self.ask(client, commands, &awaits);
    }

    /// A round: ends what was begun, and begins more.
    pub(super) fn produce(&mut self, client: usize) {
        let plan = &self.plan.clients;
        if self.phase == Phase::Faulty && self.random.chance(plan.leave_ppm) {
            self.hang_up(client);
            return;
        }
        let mut commands = Vec::new();
        let mut awaits = Vec::new();
        let mut units = std::mem::take(&mut self.producer(client).units);
        for unit in units.iter_mut().filter(|unit| !unit.is_ended) {
            unit.is_ended = true;
            self.checkers.ledger.sends(unit.number);
            unit.end(&mut commands, &mut awaits);
        }
        let may_send = match self.phase {
            Phase::Faulty => self.may_send(),
            Phase::Healing { .. } => units.is_empty(),
            Phase::Joining { .. } => !self.producer(client).bade_farewell && units.is_empty(),
            Phase::Done => false,
        };
        let burst = self.random.between((1, self.plan.clients.burst_max));
        for _ in 0..burst {
            if !may_send || units.len() >= self.plan.clients.window {
                break;
            }
            let Some(mut unit) = self.next_unit(client) else {
                break;
            };
            unit.begin(&mut commands);
            // The rest of a transaction may come later, or never.
            if unit.ends == Ends::Single || self.random.chance(700_000) {
                unit.is_ended = true;
                self.checkers.ledger.sends(unit.number);
                unit.end(&mut commands, &mut awaits);
            }
            let is_ended = unit.is_ended;
            units.push_back(unit);
            if !is_ended {
                break;
            }
        }
        self.producer(client).units = units;
        if !commands.is_empty() {
            self.ask(client, commands, &awaits);
        }
    }

    /// Whether so much was not sent yet by now.
    fn may_send(&self) -> bool {
        let passed_us = self.now_us.saturating_sub(FAULTS_FROM_US);
        let share = self.plan.clients.messages_max * passed_us / self.plan.faults_us;
        self.checkers.ledger.sent() < share + AHEAD_MAX
    }

    fn next_unit(&mut self, client: usize) -> Option<Unit> {
        let count = self.producer(client).places.len();
        let index = self.random.index(count);
        let place = self.producer(client).places[index];
        if place == Place::Topic && !self.checkers.ledger.has_durables() {
            return None;
        }
        let plan = self.plan.clients.clone();
        let is_last = self.phase != Phase::Faulty;
        let (mut ends, mut count) = (Ends::Single, 1);
        if !is_last && self.random.chance(plan.transaction_ppm) {
            ends = if self.random.chance(750_000) {
                Ends::Commit
            } else {
                Ends::Abort
            };
            count = self.random.between((1, TRANSACTION_MAX));
        }
        let mortal = !is_last && self.random.chance(plan.mortal_ppm);
        let ledger = &mut self.checkers.ledger;
        let number = ledger.unit(client, place, ends, count);
        if mortal {
            ledger.expires(number);
        }
        let numbers = ledger.messages(number);
        let receipt = self.checkers.ledger.promise(Promise::Unit(number));
        let expires_ms = if mortal {
            calendar::unix_ms(self.now_us, 0) + self.random.between((50, 5_000))
        } else {
            0
        };
        let mut messages = Vec::new();
        for message in numbers {
            let padding = self.random.below(plan.message_bytes_max);
            messages.push((
                message,
                Message {
                    id: format!("m{message}"),
                    destination: place.address(),
                    persistent: true,
                    expires_ms,
                    priority: 4,
                    format: Format::Stomp.into(),
                    headers: vec![Header {
                        name: "odd".to_owned(),
                        value: is_odd(message).to_string(),
                    }],
                    body: Bytes::from(vec![
                        b'.';
                        usize::try_from(padding).expect("a small number")
                    ]),
                    ..Message::default()
                },
            ));
        }
        Some(Unit {
            number,
            receipt,
            messages,
            ends,
            is_ended: false,
            at_us: self.now_us,
        })
    }

    /// Receipts come.
    pub(super) fn producer_hears(&mut self, client: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Receipt { receipt, .. } => self.unit_done(client, receipt),
                Effect::Refused { refusal, .. } => {
                    let text = format!("producer {client}: {refusal}");
                    self.checkers.fail("refused", &text);
                }
                Effect::Deliver(_) | Effect::BrowseEnd { .. } | Effect::Load(_) => {}
            }
        }
    }

    fn unit_done(&mut self, client: usize, receipt: Receipt) {
        let units = &mut self.producer(client).units;
        let Some(index) = units.iter().position(|unit| unit.receipt == receipt) else {
            return;
        };
        let unit = units.remove(index).expect("it was found");
        if unit.ends == Ends::Abort {
            return;
        }
        self.figures.sends += unit.messages.len() as u64;
        let healed_us = match self.phase {
            Phase::Healing { since_us } | Phase::Joining { since_us } => since_us,
            Phase::Faulty | Phase::Done => return,
        };
        if unit.at_us > healed_us {
            self.producer(client).bade_farewell = true;
            if let Phase::Healing { since_us } = self.phase {
                self.phase = Phase::Joining { since_us };
                self.figures.served_us = self.now_us - since_us;
            }
        }
    }
}

impl Unit {
    fn transaction(&self) -> TransactionId {
        TransactionId(u64::try_from(self.number).expect("64 bits"))
    }

    /// Everything but what makes it happen; a single message is that itself.
    fn begin(&self, commands: &mut Vec<Command>) {
        if self.ends == Ends::Single {
            return;
        }
        let transaction = self.transaction();
        commands.push(Command::Begin {
            transaction,
            receipt: None,
        });
        for (_, message) in &self.messages {
            commands.push(send(message, Some(transaction), None));
        }
    }

    fn end(&self, commands: &mut Vec<Command>, awaits: &mut Vec<Receipt>) {
        let (transaction, receipt) = (self.transaction(), Some(self.receipt));
        awaits.push(self.receipt);
        match self.ends {
            Ends::Single => {
                let messages = self.messages.iter();
                commands.extend(messages.map(|(_, message)| send(message, None, receipt)));
            }
            Ends::Commit => commands.push(Command::Commit {
                transaction,
                receipt,
            }),
            Ends::Abort => commands.push(Command::Abort {
                transaction,
                receipt,
            }),
        }
    }
}

fn send(
    message: &Message,
    transaction: Option<TransactionId>,
    receipt: Option<Receipt>,
) -> Command {
    Command::Send(Box::new(Send {
        duplicate_key: Some(message.id.clone()),
        message: message.clone(),
        transaction,
        receipt,
    }))
}
