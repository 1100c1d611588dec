//! A send: checked and completed, then published or kept for its transaction.

use std::collections::BTreeMap;

use prost::Message as _;
use replicamq_proto::store::v1::Message;

use crate::broker::Broker;
use crate::client::Connection;
use crate::command::{Send, TransactionId};
use crate::duplicate::digest;
use crate::effect::{Effect, Refusal};
use crate::entry::cost;
use crate::feed::Feed;
use crate::outbox::Safe;
use crate::slab::Key;
use crate::transaction::{Prepared, Target};

impl Broker {
    pub(super) fn send(
        &mut self,
        connection: Key<Connection>,
        send: Send,
        effects: &mut Vec<Effect>,
    ) -> Result<Safe, Refusal> {
        let transaction = send.transaction;
        let prepared = self.prepare(connection, send)?;
        if let Some(transaction) = transaction {
            return self.buffer(connection, transaction, prepared);
        }
        self.check_volatile(std::slice::from_ref(&prepared))?;
        Ok(self.publish(prepared, effects))
    }

    fn prepare(&mut self, connection: Key<Connection>, send: Send) -> Result<Prepared, Refusal> {
        let mut message = send.message;
        let target = self.resolve(connection, &message.destination)?;
        let digest = match &send.duplicate_key {
            Some(key) => Some(digest(self.parse(&message.destination)?, key)),
            None => None,
        };
        self.complete(&mut message);
        let encoded_bytes = message.encoded_len();
        if encoded_bytes > self.limits.message_bytes_max {
            return Err(Refusal::LimitReached {
                what: "the size of a message",
                limit: self.limits.message_bytes_max as u64,
                cure: "send it in parts",
            });
        }
        Ok(Prepared {
            target,
            message,
            encoded_bytes,
            digest,
        })
    }

    /// Most producers send to one destination again and again.
    fn resolve(&mut self, connection: Key<Connection>, text: &str) -> Result<Target, Refusal> {
        let last = &self.clients.connections[connection].last_target;
        if let Some((known, target)) = last
            && known == text
            && self.is_known(*target)
        {
            return Ok(*target);
        }
        let address = self.parse(text)?;
        let target = self.target(address)?;
        self.clients.connections[connection].last_target = Some((text.to_owned(), target));
        Ok(target)
    }

    fn complete(&mut self, message: &mut Message) {
        if message.id.is_empty() {
            self.ids_made += 1;
            message.id = format!("ID:replicamq-{}-{}", self.epoch, self.ids_made);
        }
        if message.timestamp_ms == 0 {
            message.timestamp_ms = self.now_ms;
        }
    }

    /// Whether there is room for the non-persistent ones of some sends. Those to
    /// topics wait for nobody.
    pub(super) fn check_volatile(&self, sends: &[Prepared]) -> Result<(), Refusal> {
        let mut bytes_all = 0;
        let mut bytes_by_queue: BTreeMap<Key<Feed>, usize> = BTreeMap::new();
        for prepared in sends.iter().filter(|prepared| !prepared.message.persistent) {
            if let Target::Queue(queue) = prepared.target {
                let bytes = cost(prepared.encoded_bytes);
                bytes_all += bytes;
                *bytes_by_queue.entry(queue).or_default() += bytes;
            }
        }
        let queue_max = self.limits.volatile_queue_bytes_max;
        let is_full = |(queue, bytes): (&Key<Feed>, &usize)| {
            !self.feeds[*queue].has_volatile_room(*bytes, queue_max)
        };
        let (what, limit) = if bytes_by_queue.iter().any(is_full) {
            (
                "the memory for non-persistent messages of one queue",
                queue_max,
            )
        } else if bytes_all > 0 && self.memory.volatile + bytes_all > self.limits.volatile_bytes_max
        {
            (
                "the memory for non-persistent messages",
                self.limits.volatile_bytes_max,
            )
        } else {
            return Ok(());
        };
        Err(Refusal::LimitReached {
            what,
            limit: limit as u64,
            cure: "consume some first, or send persistent messages",
        })
    }

    fn buffer(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
        prepared: Prepared,
    ) -> Result<Safe, Refusal> {
        let bytes = cost(prepared.encoded_bytes);
        let transaction = self.transaction_with_room(connection, id, 1, bytes)?;
        transaction.sends.push(prepared);
        Ok(Safe::Now)
    }
}
