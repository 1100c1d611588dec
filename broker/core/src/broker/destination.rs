//! Queues and topics come to be when they are first named.

use crate::address::{Address, DestinationKind};
use crate::broker::Broker;
use crate::effect::Refusal;
use crate::feed::Feed;
use crate::keyspace::{queue, topic};
use crate::slab::Key;
use crate::topic::Topic;
use crate::transaction::Target;

impl Broker {
    pub(super) fn parse<'a>(&self, text: &'a str) -> Result<Address<'a>, Refusal> {
        Address::parse(text, self.limits.name_bytes_max)
    }

    /// The destination of this address; made if it is new.
    pub(super) fn target(&mut self, address: Address<'_>) -> Result<Target, Refusal> {
        match address.kind {
            DestinationKind::Queue => self.queue(address.name).map(Target::Queue),
            DestinationKind::Topic => self.topic(address.name).map(Target::Topic),
        }
    }

    pub(super) fn queue(&mut self, name: &str) -> Result<Key<Feed>, Refusal> {
        if let Some(key) = self.queues_by_name.get(name) {
            self.feeds[*key].rest.end();
            return Ok(*key);
        }
        self.check_destinations()?;
        Ok(self.make_queue(name))
    }

    /// Nothing is stored until the queue gets a message to store.
    pub(super) fn make_queue(&mut self, name: &str) -> Key<Feed> {
        let number = self.numbers.queue;
        self.numbers.queue += 1;
        let record = queue::Record {
            name: name.to_owned(),
            ..queue::Record::default()
        };
        self.add_queue(number, record)
    }

    pub(super) fn topic(&mut self, name: &str) -> Result<Key<Topic>, Refusal> {
        if let Some(key) = self.topics_by_name.get(name) {
            self.topics[*key].rest.end();
            return Ok(*key);
        }
        self.check_destinations()?;
        let number = self.numbers.topic;
        self.numbers.topic += 1;
        let record = topic::Record {
            name: name.to_owned(),
            ..topic::Record::default()
        };
        Ok(self.add_topic(number, record))
    }

    fn check_destinations(&self) -> Result<(), Refusal> {
        if self.queues_by_name.len() + self.topics_by_name.len() < self.limits.destinations_max {
            return Ok(());
        }
        Err(Refusal::LimitReached {
            what: "the number of destinations",
            limit: self.limits.destinations_max as u64,
            cure: "use fewer names, or raise destinations_max",
        })
    }
}
