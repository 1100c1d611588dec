//! Browsers: what is in a queue, read from the store page by page, nothing taken.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::commit::read;
use crate::broker::{Broker, LoadFor};
use crate::client::{Browse, Source, Subscription};
use crate::effect::{Effect, LoadRequest};
use crate::entry::{Entry, Held};
use crate::feed::Feed;
use crate::slab::Key;

impl Broker {
    /// A browser sees what is committed now.
    pub(super) fn browse(&self, key: Key<Feed>) -> Browse {
        let feed = &self.feeds[key];
        Browse {
            cursor: feed.backlog.lowest(feed.next).min(feed.backlog.visible),
            end: feed.backlog.visible,
            loading: None,
            has_ended: false,
        }
    }

    /// Reads on, or says that this was all.
    pub(super) fn browse_on(&mut self, key: Key<Subscription>, effects: &mut Vec<Effect>) {
        let subscription = &mut self.clients.subscriptions[key];
        let Source::Browse(feed) = subscription.source else {
            return;
        };
        let waiting = subscription.pending.len();
        let browse = subscription
            .browse
            .as_mut()
            .expect("a browser knows how far it is");
        if browse.has_ended || browse.loading.is_some() {
            return;
        }
        if browse.cursor >= browse.end {
            if waiting == 0 {
                browse.has_ended = true;
                effects.push(Effect::BrowseEnd {
                    connection: subscription.connection_id,
                    subscription: subscription.id,
                });
            }
            return;
        }
        if waiting > self.limits.browse_page_messages / 2 {
            return;
        }
        self.last_load += 1;
        browse.loading = Some((self.last_load, browse.end));
        self.loads.insert(self.last_load, LoadFor::Browse(key));
        let log = self.feeds[feed].log;
        effects.push(Effect::Load(LoadRequest {
            token: self.last_load,
            from: log.key_bytes(browse.cursor),
            to: log.key_bytes(browse.end),
            pairs_max: self.limits.browse_page_messages,
            bytes_max: self.limits.browse_page_bytes,
        }));
    }

    pub(super) fn browse_loaded(
        &mut self,
        key: Key<Subscription>,
        pairs: Vec<(Bytes, Bytes)>,
        more: bool,
        effects: &mut Vec<Effect>,
    ) {
        let subscription = &mut self.clients.subscriptions[key];
        let Source::Browse(feed) = subscription.source else {
            unreachable!("only browsers read for themselves")
        };
        let feed = &self.feeds[feed];
        let browse = subscription
            .browse
            .as_mut()
            .expect("a browser knows how far it is");
        let (_, end) = browse.loading.take().expect("an answer follows a question");
        let loaded = read(feed, pairs);
        let last = loaded.last().map(|(sequence, ..)| *sequence + 1);
        let to = if more {
            last.expect("the store says there is more but gives nothing")
        } else {
            end
        };
        let mut page = feed.backlog.volatile_between(browse.cursor, to);
        browse.cursor = to;
        page.extend(
            loaded
                .into_iter()
                .map(|(sequence, encoded_bytes, message)| {
                    Entry::new(sequence, Arc::new(message), encoded_bytes, Held::Copy)
                }),
        );
        page.sort_unstable_by_key(|entry| entry.sequence);
        for mut entry in page {
            if !subscription.wants(&entry.message) {
                continue;
            }
            entry.held = Held::Copy;
            entry.deliveries = 0;
            subscription.pending_bytes += entry.bytes;
            subscription.pending.push_back(entry);
        }
        self.dispatch_pending(key, effects);
    }
}
