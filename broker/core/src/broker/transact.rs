//! Transactions: what was sent and acknowledged in one happens in one batch.

use std::collections::BTreeSet;

use crate::broker::Broker;
use crate::client::{Connection, Source, Subscription};
use crate::command::{AcknowledgeMode, Disposition, TransactionId};
use crate::effect::{DeliveryId, Effect, Refusal};
use crate::feed::Feed;
use crate::outbox::Safe;
use crate::slab::Key;
use crate::transaction::{Acknowledged, Transaction};

impl Broker {
    pub(super) fn begin(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
    ) -> Result<Safe, Refusal> {
        let transactions = &mut self.clients.connections[connection].transactions;
        if transactions.contains_key(&id) {
            return Err(Refusal::TransactionExists);
        }
        if transactions.len() >= self.limits.connection_transactions_max {
            return Err(Refusal::LimitReached {
                what: "the number of open transactions of a connection",
                limit: self.limits.connection_transactions_max as u64,
                cure: "commit or abort some",
            });
        }
        transactions.insert(id, Transaction::default());
        Ok(Safe::Now)
    }

    /// Something of a transaction was refused. It can only be aborted now: the
    /// client may have sent its commit before it hears of the refusal, and a
    /// part of a transaction is never committed.
    pub(super) fn spoil(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
        refusal: &Refusal,
    ) {
        let transactions = &mut self.clients.connections[connection].transactions;
        if let Some(transaction) = transactions.get_mut(&id) {
            let failed = &mut transaction.failed;
            failed.get_or_insert_with(|| refusal.clone());
        }
    }

    /// The transaction, if it can take so many bytes more.
    pub(super) fn transaction_with_room(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
        operations: usize,
        bytes: usize,
    ) -> Result<&mut Transaction, Refusal> {
        let transaction = self.clients.connections[connection]
            .transactions
            .get_mut(&id)
            .ok_or(Refusal::TransactionUnknown)?;
        if let Some(refusal) = &transaction.failed {
            return Err(refusal.clone());
        }
        let limits = &self.limits;
        let bounds = [
            (
                "the number of sends and acknowledgements in a transaction",
                transaction.operations() + operations,
                limits.transaction_operations_max,
            ),
            (
                "the size of a transaction",
                transaction.bytes + bytes,
                limits.transaction_bytes_max,
            ),
            (
                "the size of all open transactions",
                self.memory.transactions + bytes,
                limits.transactions_bytes_max,
            ),
        ];
        if let Some((what, _, limit)) = bounds.into_iter().find(|(_, value, limit)| value > limit) {
            return Err(Refusal::LimitReached {
                what,
                limit: limit as u64,
                cure: "abort it, and commit more often",
            });
        }
        transaction.bytes += bytes;
        self.memory.transactions += bytes;
        Ok(transaction)
    }

    /// Reserves room for the deliveries that an acknowledgement covers.
    pub(super) fn reserve_acknowledged(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
        key: Key<Subscription>,
        delivery: DeliveryId,
    ) -> Result<(), Refusal> {
        let subscription = &self.clients.subscriptions[key];
        let outstanding = &subscription.outstanding;
        let from = match subscription.mode {
            AcknowledgeMode::Cumulative => DeliveryId(0),
            AcknowledgeMode::Individual | AcknowledgeMode::Auto => delivery,
        };
        let (operations, bytes) = outstanding
            .range(from..=delivery)
            .fold((0, 0), |(count, bytes), (_, entry)| {
                (count + 1, bytes + entry.bytes)
            });
        self.transaction_with_room(connection, id, operations, bytes)?;
        Ok(())
    }

    /// An acknowledgement waits for its commit. Its room is reserved.
    pub(super) fn hold(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
        acknowledged: Acknowledged,
    ) {
        let transactions = &mut self.clients.connections[connection].transactions;
        let transaction = transactions.get_mut(&id).expect("its room is reserved");
        transaction.acknowledged.push(acknowledged);
    }

    pub(super) fn commit(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
        effects: &mut Vec<Effect>,
    ) -> Result<Safe, Refusal> {
        let transactions = &self.clients.connections[connection].transactions;
        let transaction = transactions.get(&id).ok_or(Refusal::TransactionUnknown)?;
        if let Some(refusal) = &transaction.failed {
            return Err(refusal.clone());
        }
        self.check_volatile(&transaction.sends)?;
        let transaction = self.close(connection, id).expect("it was found above");
        let mut safe = Safe::Now;
        for prepared in transaction.sends {
            safe = safe.max(self.publish(prepared, effects));
        }
        let subscriptions = subscriptions(&transaction.acknowledged);
        let feeds = feeds(&transaction.acknowledged);
        for acknowledged in transaction.acknowledged {
            safe = safe.max(self.settle(acknowledged));
        }
        self.resume(&feeds, &subscriptions, effects);
        Ok(safe)
    }

    pub(super) fn abort(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
        effects: &mut Vec<Effect>,
    ) -> Result<Safe, Refusal> {
        let transaction = self
            .close(connection, id)
            .ok_or(Refusal::TransactionUnknown)?;
        let subscriptions = subscriptions(&transaction.acknowledged);
        let feeds = feeds(&transaction.acknowledged);
        let mut safe = Safe::Now;
        for mut acknowledged in transaction.acknowledged {
            // A consumer that aborts again and again fails, too.
            acknowledged.disposition = Disposition::Rejected;
            safe = safe.max(self.settle(acknowledged));
        }
        self.resume(&feeds, &subscriptions, effects);
        Ok(safe)
    }

    /// The connection is gone: what it acknowledged goes back. Gives the feeds.
    pub(super) fn roll_back(
        &mut self,
        connection: Key<Connection>,
        id: TransactionId,
    ) -> BTreeSet<Key<Feed>> {
        let Some(transaction) = self.close(connection, id) else {
            return BTreeSet::new();
        };
        let feeds = feeds(&transaction.acknowledged);
        for acknowledged in transaction.acknowledged {
            self.give_back(
                acknowledged.source,
                acknowledged.subscription,
                acknowledged.entry,
            );
        }
        feeds
    }

    fn close(&mut self, connection: Key<Connection>, id: TransactionId) -> Option<Transaction> {
        let transactions = &mut self.clients.connections[connection].transactions;
        let transaction = transactions.remove(&id)?;
        self.memory.transactions -= transaction.bytes;
        Some(transaction)
    }

    fn resume(
        &mut self,
        feeds: &BTreeSet<Key<Feed>>,
        subscriptions: &BTreeSet<Key<Subscription>>,
        effects: &mut Vec<Effect>,
    ) {
        for subscription in subscriptions {
            self.refill(*subscription, effects);
        }
        for feed in feeds {
            self.dispatch(*feed, effects);
        }
    }
}

fn subscriptions(acknowledged: &[Acknowledged]) -> BTreeSet<Key<Subscription>> {
    acknowledged.iter().map(|one| one.subscription).collect()
}

fn feeds(acknowledged: &[Acknowledged]) -> BTreeSet<Key<Feed>> {
    let sources = acknowledged.iter().map(|one| one.source);
    sources
        .filter_map(|source| match source {
            Source::Feed(feed) => Some(feed),
            Source::Topic(_) | Source::Browse(_) => None,
        })
        .collect()
}
