//! A send: checked and completed, then published or kept for its transaction.

use prost::Message as _;
use replicamq_proto::store::v1::Message;

use crate::broker::Broker;
use crate::client::Connection;
use crate::command::{Send, TransactionId};
use crate::duplicate::digest;
use crate::effect::{Effect, Refusal};
use crate::entry::cost;
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
        if !prepared.message.persistent {
            self.check_volatile(cost(prepared.encoded_bytes))?;
        }
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

    pub(super) fn check_volatile(&self, bytes: usize) -> Result<(), Refusal> {
        if self.memory.volatile + bytes <= self.limits.volatile_bytes_max {
            return Ok(());
        }
        Err(Refusal::LimitReached {
            what: "the memory for non-persistent messages",
            limit: self.limits.volatile_bytes_max as u64,
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
        if !prepared.message.persistent {
            transaction.volatile_bytes += bytes;
        }
        transaction.sends.push(prepared);
        Ok(Safe::Now)
    }
}
