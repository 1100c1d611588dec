//! A delivery that a consumer gave back on purpose: once more, or never again.

use prost::Message as _;
use replicamq_proto::store::v1::{Header, Message};

use crate::broker::Broker;
use crate::client::{Source, Subscription};
use crate::entry::Entry;
use crate::outbox::Safe;
use crate::slab::Key;

/// The queue, and the names, that users of ActiveMQ look for.
const QUEUE: &str = "ActiveMQ.DLQ";
const CAUSE: &str = "dlqDeliveryFailureCause";
const ORIGIN: &str = "original-destination";

/// The headers that a message gets when it is moved to the dead letters. No
/// producer writes them, so that a message with one is known to be sent on.
pub const DEAD_LETTER_HEADERS: [&str; 2] = [CAUSE, ORIGIN];

impl Broker {
    /// Counts a failure; after too many the message goes to the dead letters.
    /// A non-persistent one is dropped then, as in ActiveMQ.
    pub(super) fn fail(
        &mut self,
        source: Source,
        subscription: Key<Subscription>,
        mut entry: Entry,
    ) -> Safe {
        entry.failures = entry.failures.saturating_add(1);
        let letters = self.queues_by_name.get(QUEUE).copied();
        let is_dead_letter = letters.is_some_and(|letters| source == Source::Feed(letters));
        if entry.failures <= self.limits.redeliveries_max || is_dead_letter {
            self.give_back(source, subscription, entry);
            return Safe::Now;
        }
        let mut safe = Safe::Now;
        if entry.message.persistent {
            let letters = letters.unwrap_or_else(|| self.make_queue(QUEUE));
            let letter = dead_letter(&entry.message, self.limits.redeliveries_max);
            let encoded_bytes = letter.encoded_len();
            safe = self.enqueue(letters, letter, encoded_bytes);
        }
        if let Source::Feed(feed) = source {
            self.feeds[feed].in_flight -= 1;
            self.feeds[feed].dequeued += 1;
            safe = safe.max(self.consume(feed, &entry));
        }
        safe
    }
}

fn dead_letter(message: &Message, redeliveries_max: u32) -> Message {
    let mut letter = message.clone();
    letter.destination = format!("/queue/{QUEUE}");
    letter.expires_ms = 0;
    letter
        .headers
        .retain(|header| !DEAD_LETTER_HEADERS.contains(&header.name.as_str()));
    letter.headers.push(Header {
        name: ORIGIN.to_owned(),
        value: message.destination.clone(),
    });
    letter.headers.push(Header {
        name: CAUSE.to_owned(),
        value: format!("exceeded the redelivery policy: {redeliveries_max} redeliveries failed"),
    });
    letter
}
