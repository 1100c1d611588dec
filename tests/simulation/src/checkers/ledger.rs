//! What clients asked and were told, held against what brokers do: a message whose receipt was
//! sent is stored, once; one whose acknowledgement was receipted never comes again; first
//! deliveries are in the order of the sends, and every repetition carries the mark.
//!
//! Only the newest epoch that has dispatched anything is held to this: a master that was
//! replaced and does not know it yet may repeat what its successor has settled.

use bytes::Bytes;
use replicamq_core::{Delivery, Receipt};
use replicamq_proto::store::v1::Message;
use replicamq_quorum::{Epoch, Sequence};

use super::contents::Contents;
use super::{Verdict, violation};

pub(super) const NAME: &str = "ledger";

/// Copies of a message at most: of a queue's, the second lies among the dead letters; of a
/// topic's, there is one for each durable subscription.
pub const COPIES: usize = 2;

/// The queue that gets what was given back too often.
const LETTERS: &str = "/queue/ActiveMQ.DLQ";

/// Where producers send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This queue.
    Queue(usize),
    /// The topic.
    Topic,
}

impl Place {
    /// As clients write it.
    pub fn address(self) -> String {
        match self {
            Self::Queue(number) => format!("/queue/q{number}"),
            Self::Topic => "/topic/t".to_owned(),
        }
    }
}

/// Where consumers get messages from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// This queue.
    Queue(usize),
    /// The dead letters.
    Letters,
    /// The topic, by this durable subscription.
    Durable(usize),
}

impl Feed {
    /// As clients write it.
    pub fn address(self) -> String {
        match self {
            Self::Queue(number) => Place::Queue(number).address(),
            Self::Letters => LETTERS.to_owned(),
            Self::Durable(_) => Place::Topic.address(),
        }
    }

    /// Which of a message's copies it holds.
    fn copy(self) -> usize {
        match self {
            Self::Queue(_) => 0,
            Self::Letters => 1,
            Self::Durable(number) => number,
        }
    }
}

/// How a producer ends what it sends together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// One message without a transaction.
    Single,
    /// Commit.
    Commit,
    /// Abort.
    Abort,
}

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Nothing that anybody relies on.
    Nothing,
    /// The messages of this unit are safe.
    Unit(usize),
    /// These acknowledgements are.
    Settle(usize),
    /// This durable subscription exists.
    Subscribed(Feed),
}

/// Messages that are stored or not together.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) messages: std::ops::Range<usize>,
    pub(super) ends: Ends,
    /// Its end was asked for.
    pub(super) is_asked: bool,
}

/// Deliveries that are acknowledged together.
#[derive(Debug)]
pub(super) struct Settle {
    pub(super) copies: Vec<(usize, usize)>,
    /// In a transaction: all of them, or none.
    pub(super) is_whole: bool,
    is_told: bool,
}

/// One copy of a message.
#[derive(Debug, Default, Clone)]
pub(super) struct Copy {
    /// The first epoch in which it was delivered.
    delivered: Option<Epoch>,
    /// Its receipted acknowledgement.
    consumed: Option<Epoch>,
    /// Acknowledgements that may have happened since it was last delivered.
    pub(super) settles: Vec<usize>,
    /// It was given back.
    pub(super) is_rejected: bool,
}

/// A message.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) producer: usize,
    pub(super) place: Place,
    pub(super) unit: usize,
    /// It may expire.
    pub(super) is_mortal: bool,
    pub(super) copies: [Copy; COPIES],
    /// The entry that stored each copy; a topic's message is stored once.
    pub(super) stored: [Option<Sequence>; COPIES],
    /// The entry that deleted each.
    pub(super) gone: [Option<Sequence>; COPIES],
}

/// The last first delivery to a feed of what a producer sent. Those who select some overtake
/// others: order is kept among what they select.
#[derive(Debug)]
struct Order {
    producer: usize,
    feed: Feed,
    message: usize,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Ledger {
    pub(super) sent: Vec<Sent>,
    pub(super) units: Vec<Unit>,
    pub(super) settles: Vec<Settle>,
    promises: Vec<Promise>,
    order: Vec<Order>,
    durables: [bool; COPIES],
    durables_wanted: usize,
    /// The newest epoch that dispatched anything.
    epoch: Epoch,
    pub(super) contents: Contents,
}

impl Ledger {
    /// With so many durable subscriptions.
    pub(super) fn new(durables: usize) -> Self {
        Self {
            durables_wanted: durables,
            ..Self::default()
        }
    }

    /// Messages that were made.
    pub fn sent(&self) -> u64 {
        u64::try_from(self.sent.len()).expect("lengths fit 64 bits")
    }

    /// Durable subscriptions get what is published from now on.
    pub fn has_durables(&self) -> bool {
        self.durables[..self.durables_wanted]
            .iter()
            .all(|durable| *durable)
    }

    pub(super) fn durables(&self) -> usize {
        self.durables_wanted
    }

    /// A producer is about to send so many messages together; gives the unit's number.
    pub fn unit(&mut self, producer: usize, place: Place, ends: Ends, count: u64) -> usize {
        let unit = self.units.len();
        let first = self.sent.len();
        self.sent.extend((0..count).map(|_| Sent {
            producer,
            place,
            unit,
            is_mortal: false,
            copies: Default::default(),
            stored: Default::default(),
            gone: Default::default(),
        }));
        self.units.push(Unit {
            messages: first..self.sent.len(),
            ends,
            is_asked: false,
        });
        unit
    }

    /// The numbers of a unit's messages.
    pub fn messages(&self, unit: usize) -> std::ops::Range<usize> {
        self.units[unit].messages.clone()
    }

    /// A unit's messages may expire.
    pub fn expires(&mut self, unit: usize) {
        for message in self.messages(unit) {
            self.sent[message].is_mortal = true;
        }
    }

    /// A producer asks for the end of a unit: from now on it may be stored.
    pub fn sends(&mut self, unit: usize) {
        let unit = &mut self.units[unit];
        unit.is_asked = unit.ends != Ends::Abort;
    }

    /// A receipt that says this.
    pub fn promise(&mut self, promise: Promise) -> Receipt {
        let receipt = Receipt(u64::try_from(self.promises.len()).expect("64 bits"));
        self.promises.push(promise);
        receipt
    }

    fn promised(&self, receipt: Receipt) -> Promise {
        self.promises[usize::try_from(receipt.0).expect("it was made from an index")]
    }

    /// Whether a receipt tells a producer that its messages are safe.
    pub fn is_of_send(&self, receipt: Receipt) -> bool {
        matches!(self.promised(receipt), Promise::Unit(_))
    }

    /// A consumer acknowledges these: they may go from now on.
    pub fn settles<'a>(
        &mut self,
        feed: Option<Feed>,
        messages: impl Iterator<Item = &'a Message>,
        is_whole: bool,
    ) -> usize {
        let settle = self.settles.len();
        let slot = feed.map_or(0, Feed::copy);
        let copies: Vec<(usize, usize)> = messages.map(|message| (number(message), slot)).collect();
        for &(message, slot) in &copies {
            self.sent[message].copies[slot].settles.push(settle);
        }
        self.settles.push(Settle {
            copies,
            is_whole,
            is_told: false,
        });
        settle
    }

    /// A consumer gives these back.
    pub fn rejects<'a>(&mut self, feed: Feed, messages: impl Iterator<Item = &'a Message>) {
        for message in messages {
            self.sent[number(message)].copies[feed.copy()].is_rejected = true;
        }
    }

    /// A consumer got a receipt: so many messages are consumed for good.
    pub fn settled(&mut self, receipt: Receipt) -> u64 {
        match self.promised(receipt) {
            Promise::Settle(settle) => {
                let settle = &mut self.settles[settle];
                let told = std::mem::replace(&mut settle.is_told, true);
                if told { 0 } else { settle.copies.len() as u64 }
            }
            Promise::Subscribed(Feed::Durable(number)) => {
                self.durables[number] = true;
                0
            }
            Promise::Subscribed(_) | Promise::Unit(_) | Promise::Nothing => 0,
        }
    }

    /// A broker answers.
    pub(super) fn receipted(
        &mut self,
        epoch: Epoch,
        committed: Sequence,
        receipt: Receipt,
    ) -> Verdict {
        let is_done = |entry: Option<Sequence>| entry.is_some_and(|entry| entry <= committed);
        match self.promised(receipt) {
            Promise::Nothing | Promise::Subscribed(_) => {}
            Promise::Unit(unit) => {
                let unit = &self.units[unit];
                let mut messages = unit.messages.clone();
                let early = messages.find(|&message| !is_done(self.sent[message].stored[0]));
                if let Some(message) = early
                    && unit.ends != Ends::Abort
                {
                    return violation(
                        NAME,
                        format!(
                            "epoch {epoch} answers for m{message}, which is not stored up to {committed}: {:?}",
                            self.sent[message]
                        ),
                    );
                }
            }
            Promise::Settle(settle) => {
                for index in 0..self.settles[settle].copies.len() {
                    let (message, slot) = self.settles[settle].copies[index];
                    let sent = &mut self.sent[message];
                    if sent.place != Place::Topic && !is_done(sent.gone[slot]) {
                        return violation(
                            NAME,
                            format!(
                                "epoch {epoch} answers for the acknowledgement of m{message}, which is not deleted up to {committed}: {sent:?}"
                            ),
                        );
                    }
                    sent.copies[slot].consumed.get_or_insert(epoch);
                }
            }
        }
        Ok(())
    }

    /// A broker hands a message over.
    pub(super) fn delivered(
        &mut self,
        epoch: Epoch,
        committed: Sequence,
        feed: Feed,
        delivery: &Delivery,
    ) -> Verdict {
        if epoch < self.epoch {
            return Ok(());
        }
        self.epoch = epoch;
        let message = number(&delivery.message);
        let slot = feed.copy();
        let sent = &mut self.sent[message];
        let bad = |sent: &Sent, what: &str| {
            violation(
                NAME,
                format!("epoch {epoch} delivers m{message} to {feed:?}: {what}: {sent:?}"),
            )
        };
        let kept = if sent.place == Place::Topic { 0 } else { slot };
        if sent.stored[kept].is_none_or(|entry| entry > committed) {
            return bad(sent, "it is not committed");
        }
        if sent.copies[slot].consumed.is_some() {
            return bad(sent, "it was acknowledged before");
        }
        let again = sent.copies[slot].delivered.is_some();
        if again && !delivery.redelivered {
            return bad(sent, "it comes again without the mark");
        }
        sent.copies[slot].delivered.get_or_insert(epoch);
        // Whatever acknowledgement was under way has not happened, nor will it.
        for settle in std::mem::take(&mut sent.copies[slot].settles) {
            if !self.settles[settle].is_whole {
                continue;
            }
            for &(other, slot) in &self.settles[settle].copies {
                let settles = &mut self.sent[other].copies[slot].settles;
                settles.retain(|own| *own != settle);
            }
        }
        let sent = &self.sent[message];
        // One that had expired for an earlier master, whose calendar was ahead, may come late.
        if again || feed == Feed::Letters || sent.is_mortal {
            return Ok(());
        }
        let producer = sent.producer;
        let odd = is_odd(message);
        let known = self.order.iter_mut();
        let last = known.into_iter().find(|order| {
            (order.producer, order.feed) == (producer, feed) && is_odd(order.message) == odd
        });
        match last {
            Some(order) if order.message > message => {
                let what = format!("it comes after m{}", order.message);
                bad(sent, &what)
            }
            Some(order) => {
                order.message = message;
                Ok(())
            }
            None => {
                self.order.push(Order {
                    producer,
                    feed,
                    message,
                });
                Ok(())
            }
        }
    }

    /// The run is over, and everything was consumed: all that is left in the store of messages
    /// is what has expired.
    pub(super) fn ends(&self) -> Verdict {
        for (message, sent) in self.sent.iter().enumerate() {
            if sent.is_mortal || sent.stored[0].is_none() {
                continue;
            }
            let kept = match sent.place {
                Place::Queue(_) => {
                    let letter = sent.stored[1].is_some();
                    sent.gone[usize::from(letter)].is_none()
                }
                Place::Topic => {
                    let copies = &sent.copies[..self.durables_wanted];
                    copies.iter().any(|copy| copy.settles.is_empty())
                }
            };
            if kept {
                return violation(NAME, format!("m{message} was never consumed: {sent:?}"));
            }
        }
        Ok(())
    }
}

/// The number in a message's id.
pub(crate) fn number(message: &Message) -> usize {
    let number = message.id.strip_prefix('m').map(str::parse);
    match number {
        Some(Ok(number)) => number,
        _ => panic!("no producer sent {:?}", message.id),
    }
}

/// What consumers select by.
pub(crate) fn is_odd(message: usize) -> bool {
    message % 2 == 1
}

/// Whether a key is of a stored message.
pub(super) fn is_message(key: &Bytes) -> bool {
    matches!(key.first(), Some(b'm' | b't'))
}

/// Whether it is of a queue's message: these come first.
pub(super) fn is_in_queue(key: &Bytes) -> bool {
    key.first() == Some(&b'm')
}

/// Whether a stored message is a dead letter.
pub(super) fn is_letter(message: &Message) -> bool {
    message.destination == LETTERS
}
