//! Subscriptions begin and end, durable ones among them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::address::{Address, DestinationKind};
use crate::broker::Broker;
use crate::client::{Connection, NewSubscription, Source, Subscription};
use crate::command::{Subscribe, SubscriptionId};
use crate::effect::{Effect, Refusal};
use crate::feed::{Feed, Lane, Owner};
use crate::keyspace::{durable, format, mark};
use crate::outbox::Safe;
use crate::selector::{Selector, StringNumbers};
use crate::slab::Key;
use crate::topic::Topic;
use crate::view::Stored;

impl Broker {
    pub(super) fn subscribe(
        &mut self,
        connection: Key<Connection>,
        subscribe: &Subscribe,
        effects: &mut Vec<Effect>,
    ) -> Result<Safe, Refusal> {
        let subscriptions = &self.clients.connections[connection].subscriptions;
        if subscriptions.contains_key(&subscribe.subscription) {
            return Err(Refusal::SubscriptionExists);
        }
        if subscriptions.len() >= self.limits.connection_subscriptions_max {
            return Err(Refusal::LimitReached {
                what: "the number of subscriptions of a connection",
                limit: self.limits.connection_subscriptions_max as u64,
                cure: "end some, or spread them over connections",
            });
        }
        let selector = selector(subscribe)?;
        let (source, safe) = self.source(connection, subscribe, selector.as_ref())?;
        let lane = self.lane(source, selector.as_ref());
        let browse = match source {
            Source::Browse(feed) => Some(self.browse(feed)),
            Source::Feed(_) | Source::Topic(_) => None,
        };
        let key = self.clients.subscribe(NewSubscription {
            connection,
            id: subscribe.subscription,
            source,
            lane,
            priority: subscribe.priority,
            is_exclusive: subscribe.exclusive,
            selector,
            mode: subscribe.mode,
            credit: subscribe.credit,
            browse,
        });
        match source {
            Source::Feed(feed) => {
                self.feeds[feed].consumers.push(key);
                if self.feeds[feed].takes_all() {
                    self.idle.remove(&feed);
                }
                self.choose_exclusive(feed);
            }
            Source::Topic(topic) => self.topics[topic].subscribers.push(key),
            Source::Browse(_) => {}
        }
        self.refill(key, effects);
        Ok(safe)
    }

    /// Consumers of a queue with a selector have a view of it. Where a durable subscription has
    /// one, nothing else comes to it.
    fn lane(&mut self, source: Source, selector: Option<&Arc<Selector>>) -> Lane {
        let (Source::Feed(key), Some(selector)) = (source, selector) else {
            return Lane::All;
        };
        let feed = &mut self.feeds[key];
        if matches!(feed.owner, Owner::Durable(_)) {
            return Lane::All;
        }
        let (backlog, views) = (&feed.backlog, &mut feed.views);
        let stored = Stored {
            from: backlog.lowest(feed.next),
            next: feed.next,
            changed: feed.last_batch,
        };
        let volatile = || backlog.volatile_between(0, u64::MAX);
        Lane::Selected(views.join(selector, stored, volatile, &mut self.memory))
    }

    /// Where the messages of a new subscription will come from.
    fn source(
        &mut self,
        connection: Key<Connection>,
        subscribe: &Subscribe,
        selector: Option<&Arc<Selector>>,
    ) -> Result<(Source, Safe), Refusal> {
        let address = self.parse(&subscribe.destination)?;
        let wrong = |reason| {
            Err(Refusal::WrongKind {
                address: address.to_string(),
                reason,
            })
        };
        match (address.kind, subscribe.browse, &subscribe.durable) {
            (DestinationKind::Topic, true, _) => wrong("only queues can be browsed"),
            (DestinationKind::Queue, _, Some(_)) => {
                wrong("only subscriptions to topics are durable; a queue keeps its messages anyway")
            }
            (DestinationKind::Queue, false, None) => {
                Ok((Source::Feed(self.queue(address.name)?), Safe::Now))
            }
            (DestinationKind::Queue, true, None) => {
                Ok((Source::Browse(self.queue(address.name)?), Safe::Now))
            }
            (DestinationKind::Topic, false, None) => {
                Ok((Source::Topic(self.topic(address.name)?), Safe::Now))
            }
            (DestinationKind::Topic, false, Some(name)) => {
                self.durable_source(connection, address, (name, selector))
            }
        }
    }

    fn durable_source(
        &mut self,
        connection: Key<Connection>,
        address: Address<'_>,
        (name, selector): (&str, Option<&Arc<Selector>>),
    ) -> Result<(Source, Safe), Refusal> {
        let key = self.durable_key(connection, name)?;
        self.check_name("the length of a durable subscription's name", name)?;
        let known = self.durables_by_name.get(&key).copied();
        let in_use = || Refusal::DurableInUse {
            name: name.to_owned(),
        };
        if known.is_some_and(|feed| !self.feeds[feed].consumers.is_empty()) {
            return Err(in_use());
        }
        let topic = self.topic(address.name)?;
        match known {
            Some(feed) if self.is_same(feed, topic, selector) => {
                // A new one may still be waiting for its commit.
                return Ok((Source::Feed(feed), self.outbox.everything()));
            }
            Some(feed) if self.feeds[feed].in_flight > 0 => return Err(in_use()),
            Some(feed) => self.remove_durable(feed),
            None if self.durables_by_name.len() >= self.limits.durables_max => {
                return Err(Refusal::LimitReached {
                    what: "the number of durable subscriptions",
                    limit: self.limits.durables_max as u64,
                    cure: "delete those that nobody uses, or raise durables_max",
                });
            }
            None => {}
        }
        let feed = self.make_durable(key, topic, selector);
        Ok((Source::Feed(feed), self.outbox.this_batch()))
    }

    /// It gets what is published from now on.
    fn make_durable(
        &mut self,
        (client_id, name): (String, String),
        topic: Key<Topic>,
        selector: Option<&Arc<Selector>>,
    ) -> Key<Feed> {
        let number = self.numbers.durable;
        self.numbers.durable += 1;
        let next = self.topics[topic].record.next_sequence;
        let record = durable::Record {
            client_id,
            name,
            topic: self.topics[topic].number,
            acknowledged: next,
            dispatched: next,
            selector: selector.map_or_else(String::new, |selector| selector.as_str().to_owned()),
        };
        if selector.is_some() {
            self.note_format(format::SELECTORS);
        }
        let rest = (BTreeSet::new(), selector.cloned());
        let feed = self.add_durable(number, record, topic, rest);
        self.outbox.touch_feed(feed, &mut self.feeds[feed]);
        self.outbox.touch_topic(topic, &mut self.topics);
        feed
    }

    fn durable_key(
        &self,
        connection: Key<Connection>,
        name: &str,
    ) -> Result<(String, String), Refusal> {
        let client_id = self.clients.connections[connection].client_id.clone();
        Ok((client_id.ok_or(Refusal::ClientIdMissing)?, name.to_owned()))
    }

    /// Whether a durable subscription is to this topic, with this selector.
    fn is_same(&self, key: Key<Feed>, topic: Key<Topic>, selector: Option<&Arc<Selector>>) -> bool {
        match &self.feeds[key].owner {
            Owner::Queue(_) => false,
            Owner::Durable(durable) => {
                durable.topic == topic && durable.selector.as_ref() == selector
            }
        }
    }

    pub(super) fn delete_durable(
        &mut self,
        connection: Key<Connection>,
        name: String,
    ) -> Result<Safe, Refusal> {
        let key = self.durable_key(connection, &name)?;
        let Some(feed) = self.durables_by_name.get(&key).copied() else {
            return Err(Refusal::DurableUnknown { name });
        };
        // An open transaction may have something of it when no consumer has.
        if !self.feeds[feed].consumers.is_empty() || self.feeds[feed].in_flight > 0 {
            return Err(Refusal::DurableInUse { name });
        }
        self.remove_durable(feed);
        Ok(self.outbox.this_batch())
    }

    fn remove_durable(&mut self, key: Key<Feed>) {
        let feed = self.feeds.remove(key).expect("a named feed exists");
        let Owner::Durable(durable) = feed.owner else {
            unreachable!("durable subscriptions have a map of their own")
        };
        self.idle.remove(&key);
        if let Some(token) = feed.backlog.loading() {
            self.loads.remove(&token);
        }
        feed.backlog.drop_from(&mut self.memory);
        let name = (durable.record.client_id, durable.record.name);
        self.durables_by_name.remove(&name);
        let topic = &mut self.topics[durable.topic];
        topic.durables.retain(|other| *other != key);
        // It may have been the slowest.
        topic.settled_messages = self.limits.topic_trim_messages;
        let encoder = &mut self.outbox.encoder;
        encoder.delete(&durable::key(feed.number));
        if !durable.marks.is_empty() {
            let from = mark::key(feed.number, 0);
            encoder.delete_range(&from, &mark::key(feed.number, u64::MAX));
        }
        self.outbox.touch_topic(durable.topic, &mut self.topics);
    }

    pub(super) fn unsubscribe(
        &mut self,
        connection: Key<Connection>,
        id: SubscriptionId,
        effects: &mut Vec<Effect>,
    ) -> Result<Safe, Refusal> {
        let key = self.subscription(connection, id)?;
        if let Some(feed) = self.end_subscription(key) {
            self.dispatch(feed, effects);
        }
        self.unblock(connection, effects);
        Ok(Safe::Now)
    }

    /// Ends a subscription: its deliveries go back. Gives its feed, which is
    /// to be dispatched once all that ends has ended.
    pub(super) fn end_subscription(&mut self, key: Key<Subscription>) -> Option<Key<Feed>> {
        let subscription = self.clients.unsubscribe(key, &mut self.memory)?;
        let source = subscription.source;
        match source {
            Source::Feed(feed) => {
                for (_, entry) in subscription.outstanding {
                    self.give_back(source, key, entry);
                }
                self.leave_feed(feed, key, subscription.lane);
                Some(feed)
            }
            Source::Topic(topic) => {
                let subscribers = &mut self.topics[topic].subscribers;
                subscribers.retain(|subscriber| *subscriber != key);
                None
            }
            Source::Browse(_) => {
                let loading = subscription.browse.and_then(|browse| browse.loading);
                if let Some((token, _)) = loading {
                    self.loads.remove(&token);
                }
                None
            }
        }
    }

    fn leave_feed(&mut self, key: Key<Feed>, subscription: Key<Subscription>, lane: Lane) {
        let feed = &mut self.feeds[key];
        feed.consumers.retain(|consumer| *consumer != subscription);
        feed.ring(lane).remove(subscription);
        if let Lane::Selected(view) = lane
            && let Some(token) = feed.views.leave(view, &mut self.memory)
        {
            self.loads.remove(&token);
            feed.gone.read_ends(token, self.outbox.committed());
        }
        for entry in feed.groups.forget(subscription, &mut self.memory) {
            feed.give_back(entry, &mut self.memory);
        }
        if feed.exclusive == Some(subscription) {
            feed.exclusive = None;
            self.choose_exclusive(key);
            // Whoever comes next has waited.
            self.feeds[key].views.stir_all();
        }
        self.note_idle(key);
    }

    /// One that has everything keeps it, unless one with a higher priority comes.
    fn choose_exclusive(&mut self, key: Key<Feed>) {
        let feed = &mut self.feeds[key];
        let before = feed.exclusive;
        let subscriptions = &self.clients.subscriptions;
        let rank = |one: &Key<Subscription>| subscriptions[*one].priority;
        for one in &feed.consumers {
            let is_better = feed.exclusive.is_none_or(|best| rank(one) > rank(&best));
            if subscriptions[*one].is_exclusive && is_better {
                feed.exclusive = Some(*one);
            }
        }
        if before.is_none() && feed.exclusive.is_some() {
            for entry in feed.groups.forget_all(&mut self.memory) {
                feed.give_back(entry, &mut self.memory);
            }
        }
    }
}

fn selector(subscribe: &Subscribe) -> Result<Option<Arc<Selector>>, Refusal> {
    let text = subscribe.selector.as_deref().unwrap_or_default();
    let parsed = Selector::parse(text, StringNumbers::Keep);
    let parsed = parsed.map_err(Refusal::InvalidSelector)?;
    Ok(parsed.map(Arc::new))
}
