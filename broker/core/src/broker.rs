//! The broker: commands and the store's answers in, effects and batches out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::client::{Clients, Connection, Subscription};
use crate::command::{Command, ConnectionId, Disposition, Receipt, TransactionId};
use crate::duplicate::Duplicates;
use crate::effect::{Effect, Refusal};
use crate::entry::Memory;
use crate::feed::{Feed, Lane};
use crate::keyspace;
use crate::limits::Limits;
use crate::outbox::{Outbox, Safe};
use crate::slab::{Key, Slab};
use crate::topic::Topic;
use sweep::Sweep;

mod acknowledge;
mod boot;
mod browse;
mod commit;
mod dead_letter;
mod destination;
mod dispatch;
mod expiry;
mod forget;
mod publish;
mod send;
mod status;
mod subscribe;
mod sweep;
mod transact;

#[cfg(test)]
mod tests;

pub use boot::{Boot, BootError};
pub use dead_letter::DEAD_LETTER_HEADERS;
pub use status::DestinationStatus;

/// What a master does for clients. Lives as long as one mastership: a new
/// master builds its own from the store.
///
/// The caller gives every command to [`step`](Self::step), takes what is to be
/// stored with [`take_batch`](Self::take_batch), says which entry of the log it
/// became ([`sealed`](Self::sealed)) and when that entry is committed
/// ([`committed`](Self::committed)).
#[derive(Debug)]
pub struct Broker {
    limits: Limits,
    epoch: u64,
    /// As it is noted in the store.
    format: u32,
    /// Messages that got their id from this broker.
    ids_made: u64,
    now_ms: u64,
    feeds: Slab<Feed>,
    topics: Slab<Topic>,
    queues_by_name: BTreeMap<Box<str>, Key<Feed>>,
    topics_by_name: BTreeMap<Box<str>, Key<Topic>>,
    /// By client id and name.
    durables_by_name: BTreeMap<(String, String), Key<Feed>>,
    numbers: Numbers,
    clients: Clients,
    outbox: Outbox,
    memory: Memory,
    duplicates: Duplicates,
    /// What the reads under way are for.
    loads: BTreeMap<u64, LoadFor>,
    last_load: u64,
    /// Feeds without a consumer that keep messages in memory: the first to
    /// give them up when memory is short.
    idle: BTreeSet<Key<Feed>>,
    /// The one that was looked at last.
    idle_last: Option<Key<Feed>>,
    expiry_next_ms: u64,
    forget_next_ms: u64,
    sweep: Option<Sweep>,
    /// The queue that was swept last.
    swept_last: Option<Key<Feed>>,
}

/// The next numbers to give to destinations and durable subscriptions.
#[derive(Debug, Default)]
struct Numbers {
    queue: u32,
    topic: u32,
    durable: u32,
}

#[derive(Debug, Clone, Copy)]
enum LoadFor {
    Feed(Key<Feed>, Lane),
    Browse(Key<Subscription>),
    Sweep(Key<Feed>),
}

impl Broker {
    /// The key ranges to read completely with a [`Boot`]. They grow
    /// with the number of destinations, never with that of messages.
    pub fn boot_ranges() -> Vec<(Bytes, Bytes)> {
        keyspace::boot_ranges()
    }

    /// Does what a client asks. Commands of a connection come in its order.
    pub fn step(
        &mut self,
        connection: ConnectionId,
        command: Command,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        self.now_ms = now_ms;
        let receipt = owed(&command);
        let patient = is_patient(&command);
        let ran = self.run(connection, command, effects);
        if !patient {
            self.outbox.urge();
        }
        match ran {
            Ok(safe) => self.answer(connection, receipt, safe, effects),
            Err(refusal) => effects.push(Effect::Refused {
                connection,
                receipt,
                refusal,
            }),
        }
        self.wake_starved(effects);
    }

    fn run(
        &mut self,
        id: ConnectionId,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Safe, Refusal> {
        let is_last = matches!(command, Command::Disconnect | Command::Written { .. });
        let connection = match self.clients.by_id.get(&id).copied() {
            Some(connection) => connection,
            // The last words of a connection that was refused or is gone.
            None if is_last => return Ok(Safe::Now),
            None => {
                let Command::Connect { client_id, .. } = command else {
                    return Err(Refusal::NotConnected);
                };
                return self.connect(id, client_id);
            }
        };
        let transaction = transaction_of(&command);
        let done = self.execute(connection, command, effects);
        if let (Err(refusal), Some(transaction)) = (&done, transaction) {
            self.spoil(connection, transaction, refusal);
        }
        let safe = done?;
        if let (Safe::Committed(batch), Some(connection)) =
            (safe, self.clients.connections.get_mut(connection))
        {
            connection.last_batch = connection.last_batch.max(batch);
        }
        Ok(safe)
    }

    fn execute(
        &mut self,
        connection: Key<Connection>,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Safe, Refusal> {
        Ok(match command {
            Command::Connect { .. } => return Err(Refusal::AlreadyConnected),
            Command::Disconnect => self.disconnect(connection, effects),
            Command::Send(send) => self.send(connection, *send, effects)?,
            Command::Subscribe(subscribe) => self.subscribe(connection, &subscribe, effects)?,
            Command::Unsubscribe { subscription, .. } => {
                self.unsubscribe(connection, subscription, effects)?
            }
            Command::DeleteDurable { name, .. } => self.delete_durable(connection, name)?,
            Command::Acknowledge(acknowledge) => {
                self.acknowledge(connection, &acknowledge, effects)?
            }
            Command::Written { subscription, last } => {
                self.written(connection, subscription, last, effects)
            }
            Command::Begin { transaction, .. } => self.begin(connection, transaction)?,
            Command::Commit { transaction, .. } => self.commit(connection, transaction, effects)?,
            Command::Abort { transaction, .. } => self.abort(connection, transaction, effects)?,
            Command::Flush { .. } => {
                Safe::Committed(self.clients.connections[connection].last_batch)
            }
        })
    }

    fn connect(&mut self, id: ConnectionId, client_id: Option<String>) -> Result<Safe, Refusal> {
        if self.clients.connections.len() >= self.limits.connections_max {
            return Err(Refusal::LimitReached {
                what: "the number of connections",
                limit: self.limits.connections_max as u64,
                cure: "close others, or raise connections_max",
            });
        }
        if let Some(client_id) = &client_id {
            self.check_name("the length of a client id", client_id)?;
            if self.clients.by_client_id.contains_key(client_id) {
                return Err(Refusal::ClientIdInUse {
                    client_id: client_id.clone(),
                });
            }
        }
        self.clients.connect(id, client_id);
        Ok(Safe::Now)
    }

    /// Everything that the connection holds goes back, then others get it.
    fn disconnect(&mut self, key: Key<Connection>, effects: &mut Vec<Effect>) -> Safe {
        let connection = &self.clients.connections[key];
        let transactions: Vec<TransactionId> = connection.transactions.keys().copied().collect();
        let subscriptions: Vec<Key<Subscription>> =
            connection.subscriptions.values().copied().collect();
        let mut feeds = BTreeSet::new();
        for subscription in subscriptions {
            feeds.extend(self.end_subscription(subscription));
        }
        for transaction in transactions {
            feeds.append(&mut self.roll_back(key, transaction));
        }
        self.clients.disconnect(key);
        for feed in feeds {
            self.dispatch(feed, effects);
        }
        Safe::Now
    }

    fn answer(
        &mut self,
        connection: ConnectionId,
        receipt: Option<Receipt>,
        safe: Safe,
        effects: &mut Vec<Effect>,
    ) {
        let Some(receipt) = receipt else {
            return;
        };
        match safe {
            Safe::Committed(batch) if batch > self.outbox.committed() => {
                self.outbox.owe(batch, connection, receipt);
            }
            Safe::Committed(_) | Safe::Now => effects.push(Effect::Receipt {
                connection,
                receipt,
            }),
        }
    }

    fn check_name(&self, what: &'static str, name: &str) -> Result<(), Refusal> {
        if name.len() <= self.limits.name_bytes_max {
            return Ok(());
        }
        Err(Refusal::LimitReached {
            what,
            limit: self.limits.name_bytes_max as u64,
            cure: "choose a shorter one",
        })
    }
}

/// Whether nobody waits for what the command stores: an acknowledgement that
/// asks for no receipt. It may ride with the next batch that somebody waits for.
fn is_patient(command: &Command) -> bool {
    match command {
        Command::Written { .. } => true,
        Command::Acknowledge(acknowledge) => {
            acknowledge.receipt.is_none()
                && acknowledge.transaction.is_none()
                && acknowledge.disposition == Disposition::Accepted
        }
        Command::Connect { .. }
        | Command::Disconnect
        | Command::Send(_)
        | Command::Subscribe(_)
        | Command::Unsubscribe { .. }
        | Command::DeleteDurable { .. }
        | Command::Begin { .. }
        | Command::Commit { .. }
        | Command::Abort { .. }
        | Command::Flush { .. } => false,
    }
}

/// The transaction that a command adds to.
fn transaction_of(command: &Command) -> Option<TransactionId> {
    match command {
        Command::Send(send) => send.transaction,
        Command::Acknowledge(acknowledge) => acknowledge.transaction,
        Command::Connect { .. }
        | Command::Disconnect
        | Command::Subscribe(_)
        | Command::Unsubscribe { .. }
        | Command::DeleteDurable { .. }
        | Command::Written { .. }
        | Command::Begin { .. }
        | Command::Commit { .. }
        | Command::Abort { .. }
        | Command::Flush { .. } => None,
    }
}

/// The receipt that a command asks for.
fn owed(command: &Command) -> Option<Receipt> {
    match command {
        Command::Connect { receipt, .. } | Command::Flush { receipt } => Some(*receipt),
        Command::Send(send) => send.receipt,
        Command::Subscribe(subscribe) => subscribe.receipt,
        Command::Acknowledge(acknowledge) => acknowledge.receipt,
        Command::Unsubscribe { receipt, .. }
        | Command::DeleteDurable { receipt, .. }
        | Command::Begin { receipt, .. }
        | Command::Commit { receipt, .. }
        | Command::Abort { receipt, .. } => *receipt,
        Command::Disconnect | Command::Written { .. } => None,
    }
}
