//! Connections and their subscriptions: who may be handed a message now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use replicamq_proto::store::v1::Message;

use crate::command::{AcknowledgeMode, ConnectionId, SubscriptionId, TransactionId};
use crate::effect::{Delivery, DeliveryId, Effect};
use crate::entry::{Entry, Memory};
use crate::feed::{Feed, Lane};
use crate::limits::Limits;
use crate::selector::{Selector, wants};
use crate::slab::{Key, Slab};
use crate::topic::Topic;
use crate::transaction::{Target, Transaction};

/// A client's session.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) client_id: Option<String>,
    pub(crate) subscriptions: BTreeMap<SubscriptionId, Key<Subscription>>,
    pub(crate) transactions: BTreeMap<TransactionId, Transaction>,
    /// Delivered to it and not acknowledged.
    pub(crate) outstanding: usize,
    pub(crate) outstanding_bytes: usize,
    /// Its subscriptions that wait for acknowledgements, because of bytes.
    blocked: Vec<Key<Subscription>>,
    /// It is in the list of those that wait for others' acknowledgements, too.
    starved: bool,
    /// The last batch with something that it asked for.
    pub(crate) last_batch: u64,
    /// Where its last send went: most producers have one destination.
    pub(crate) last_target: Option<(String, Target)>,
}

/// Where a subscription's messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Feed(Key<Feed>),
    Topic(Key<Topic>),
    Browse(Key<Feed>),
}

/// How far a browser is.
#[derive(Debug)]
pub(crate) struct Browse {
    /// The next sequence to read.
    pub(crate) cursor: u64,
    /// The first sequence that it will not see.
    pub(crate) end: u64,
    /// The read under way, and where it ends.
    pub(crate) loading: Option<(u64, u64)>,
    pub(crate) has_ended: bool,
}

/// A consumer's interest in a destination.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) connection: Key<Connection>,
    pub(crate) connection_id: ConnectionId,
    pub(crate) id: SubscriptionId,
    pub(crate) source: Source,
    /// Which messages of a feed it gets.
    pub(crate) lane: Lane,
    /// It comes before those with a lower one.
    pub(crate) priority: i8,
    /// It wants to be the only one that gets any.
    pub(crate) is_exclusive: bool,
    /// Which of a topic, or of a queue that it browses.
    pub(crate) selector: Option<Arc<Selector>>,
    pub(crate) mode: AcknowledgeMode,
    pub(crate) credit: usize,
    pub(crate) outstanding: BTreeMap<DeliveryId, Entry>,
    /// It is in its feed's ring.
    pub(crate) in_ring: bool,
    /// It is in its connection's list of blocked ones.
    blocked: bool,
    /// Copies that wait for credit: of topics and browsers.
    pub(crate) pending: VecDeque<Entry>,
    pub(crate) pending_bytes: usize,
    /// Copies that were dropped because it was too slow.
    pub(crate) dropped: u64,
    pub(crate) browse: Option<Browse>,
}

impl Subscription {
    pub(crate) fn has_credit(&self) -> bool {
        self.outstanding.len() < self.credit
    }

    /// Whether its selector, if it has one, takes a copy of this message.
    pub(crate) fn wants(&self, message: &Message) -> bool {
        wants(self.selector.as_deref(), message)
    }
}

/// What a new subscription is made of.
#[derive(Debug)]
pub(crate) struct NewSubscription {
    pub(crate) connection: Key<Connection>,
    pub(crate) id: SubscriptionId,
    pub(crate) source: Source,
    pub(crate) lane: Lane,
    pub(crate) priority: i8,
    pub(crate) is_exclusive: bool,
    pub(crate) selector: Option<Arc<Selector>>,
    pub(crate) mode: AcknowledgeMode,
    pub(crate) credit: u32,
    pub(crate) browse: Option<Browse>,
}

/// Whether a subscription can take one more delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// It has no credit.
    Full,
    /// Too many bytes are outstanding; it will be woken.
    Blocked,
}

/// All connections and subscriptions.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) connections: Slab<Connection>,
    pub(crate) by_id: BTreeMap<ConnectionId, Key<Connection>>,
    pub(crate) by_client_id: BTreeMap<String, ConnectionId>,
    pub(crate) subscriptions: Slab<Subscription>,
    last_delivery: u64,
    /// Connections with a blocked subscription, while all together hold too much.
    starved: VecDeque<Key<Connection>>,
}

impl Clients {
    pub(crate) fn new() -> Self {
        Self {
            connections: Slab::new(),
            by_id: BTreeMap::new(),
            by_client_id: BTreeMap::new(),
            subscriptions: Slab::new(),
            last_delivery: 0,
            starved: VecDeque::new(),
        }
    }

    pub(crate) fn connect(&mut self, id: ConnectionId, client_id: Option<String>) {
        if let Some(client_id) = &client_id {
            self.by_client_id.insert(client_id.clone(), id);
        }
        let key = self.connections.insert(Connection {
            id,
            client_id,
            subscriptions: BTreeMap::new(),
            transactions: BTreeMap::new(),
            outstanding: 0,
            outstanding_bytes: 0,
            blocked: Vec::new(),
            starved: false,
            last_batch: 0,
            last_target: None,
        });
        self.by_id.insert(id, key);
    }

    /// Forgets a connection, whose subscriptions are gone already.
    pub(crate) fn disconnect(&mut self, key: Key<Connection>) {
        let Some(connection) = self.connections.remove(key) else {
            return;
        };
        assert!(
            connection.subscriptions.is_empty(),
            "its subscriptions ended before"
        );
        self.by_id.remove(&connection.id);
        if let Some(client_id) = &connection.client_id {
            self.by_client_id.remove(client_id);
        }
    }

    pub(crate) fn subscribe(&mut self, new: NewSubscription) -> Key<Subscription> {
        let connection = &mut self.connections[new.connection];
        let key = self.subscriptions.insert(Subscription {
            connection: new.connection,
            connection_id: connection.id,
            id: new.id,
            source: new.source,
            lane: new.lane,
            priority: new.priority,
            is_exclusive: new.is_exclusive,
            selector: new.selector,
            mode: new.mode,
            credit: usize::try_from(new.credit.max(1)).unwrap_or(usize::MAX),
            outstanding: BTreeMap::new(),
            in_ring: false,
            blocked: false,
            pending: VecDeque::new(),
            pending_bytes: 0,
            dropped: 0,
            browse: new.browse,
        });
        connection.subscriptions.insert(new.id, key);
        key
    }

    /// Takes a subscription out; what it holds is the caller's to give back.
    pub(crate) fn unsubscribe(
        &mut self,
        key: Key<Subscription>,
        memory: &mut Memory,
    ) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(key)?;
        let connection = &mut self.connections[subscription.connection];
        connection.subscriptions.remove(&subscription.id);
        connection.blocked.retain(|blocked| *blocked != key);
        for entry in subscription.outstanding.values() {
            release(connection, entry.bytes, memory);
        }
        Some(subscription)
    }

    /// Whether a subscription can take one more delivery. A blocked one is
    /// noted, to be woken.
    pub(crate) fn room(
        &mut self,
        key: Key<Subscription>,
        limits: &Limits,
        memory: &Memory,
    ) -> Room {
        let subscription = &mut self.subscriptions[key];
        if !subscription.has_credit() {
            return Room::Full;
        }
        let connection = &mut self.connections[subscription.connection];
        let is_starved = memory.outstanding >= limits.outstanding_bytes_max;
        let is_over = connection.outstanding_bytes >= limits.connection_outstanding_bytes_max;
        if connection.outstanding == 0 || !(is_starved || is_over) {
            return Room::Free;
        }
        if !subscription.blocked {
            subscription.blocked = true;
            if is_starved && !connection.starved {
                connection.starved = true;
                self.starved.push_back(subscription.connection);
            }
            connection.blocked.push(key);
        }
        Room::Blocked
    }

    pub(crate) fn is_blocked(&self, key: Key<Subscription>) -> bool {
        self.subscriptions[key].blocked
    }

    /// The subscriptions of a connection that need not wait for bytes any more.
    pub(crate) fn unblock(
        &mut self,
        key: Key<Connection>,
        limits: &Limits,
        memory: &Memory,
    ) -> Vec<Key<Subscription>> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Vec::new();
        };
        if connection.blocked.is_empty() {
            return Vec::new();
        }
        let is_over = connection.outstanding_bytes >= limits.connection_outstanding_bytes_max;
        let is_starved = memory.outstanding >= limits.outstanding_bytes_max;
        if connection.outstanding > 0 && (is_over || is_starved) {
            // It may have been blocked by its own bytes alone, and has room now.
            if !is_over && !connection.starved {
                connection.starved = true;
                self.starved.push_back(key);
            }
            return Vec::new();
        }
        let woken = std::mem::take(&mut connection.blocked);
        for subscription in &woken {
            self.subscriptions[*subscription].blocked = false;
        }
        woken
    }

    /// The next connection that waits for others to acknowledge, if there is room again.
    pub(crate) fn pop_starved(
        &mut self,
        limits: &Limits,
        memory: &Memory,
    ) -> Option<Key<Connection>> {
        if memory.outstanding >= limits.outstanding_bytes_max {
            return None;
        }
        let key = self.starved.pop_front()?;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.starved = false;
        }
        Some(key)
    }

    /// Hands a message over. `is_recovered`: an earlier master may have delivered it.
    pub(crate) fn deliver(
        &mut self,
        key: Key<Subscription>,
        mut entry: Entry,
        is_recovered: bool,
        memory: &mut Memory,
    ) -> Effect {
        let subscription = &mut self.subscriptions[key];
        let connection = &mut self.connections[subscription.connection];
        self.last_delivery += 1;
        let delivery = DeliveryId(self.last_delivery);
        let redeliveries = entry.deliveries.max(u32::from(is_recovered));
        let effect = Effect::Deliver(Delivery {
            connection: subscription.connection_id,
            subscription: subscription.id,
            delivery,
            message: Arc::clone(&entry.message),
            redelivered: redeliveries > 0,
            redeliveries,
        });
        entry.deliveries = redeliveries.saturating_add(1);
        connection.outstanding += 1;
        connection.outstanding_bytes += entry.bytes;
        memory.outstanding += entry.bytes;
        subscription.outstanding.insert(delivery, entry);
        effect
    }

    /// Takes back one delivery, if it is outstanding.
    pub(crate) fn take_one(
        &mut self,
        key: Key<Subscription>,
        delivery: DeliveryId,
        memory: &mut Memory,
    ) -> Option<Entry> {
        let subscription = &mut self.subscriptions[key];
        let entry = subscription.outstanding.remove(&delivery)?;
        release(
            &mut self.connections[subscription.connection],
            entry.bytes,
            memory,
        );
        Some(entry)
    }

    /// Takes back the oldest delivery, if it is not after `last`.
    pub(crate) fn take_up_to(
        &mut self,
        key: Key<Subscription>,
        last: DeliveryId,
        memory: &mut Memory,
    ) -> Option<Entry> {
        let subscription = &mut self.subscriptions[key];
        let oldest = subscription.outstanding.first_entry()?;
        if *oldest.key() > last {
            return None;
        }
        let entry = oldest.remove();
        release(
            &mut self.connections[subscription.connection],
            entry.bytes,
            memory,
        );
        Some(entry)
    }
}

fn release(connection: &mut Connection, bytes: usize, memory: &mut Memory) {
    connection.outstanding -= 1;
    connection.outstanding_bytes -= bytes;
    memory.outstanding -= bytes;
}
