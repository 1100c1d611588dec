//! The subscriptions of a session, and the MESSAGE frames that go to them.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, BytesMut};
use replicamq_core::{AcknowledgeMode, Command, Delivery, DeliveryId, SubscriptionId};
use replicamq_proto::store::v1::Message;

use super::fault::Fault;
use super::outstanding::Outstanding;
use crate::stomp::Version;
use crate::stomp::write::{
    Escapes, Part, put_body, put_decimal, put_header, put_number_header, put_text,
};

/// Room for the headers of a MESSAGE whose length is known beforehand.
const MESSAGE_EXTRA_BYTES: usize = 192;

/// How a client names a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// By the `id` header.
    Id(String),
    /// In 1.0 by its destination.
    Destination(String),
}

impl Name {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Id(name) | Self::Destination(name) => name,
        }
    }
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: Name,
    pub(super) mode: AcknowledgeMode,
    pub(super) durable: Option<String>,
    pub(super) outstanding: Outstanding,
    destination: String,
    /// The beginning of every MESSAGE, as bytes.
    head: Vec<u8>,
    /// `head` ends within the `ack` header: the delivery is still to come.
    head_wants_delivery: bool,
    /// The last delivery in the write buffer, if the core has to hear of it.
    unreported: Option<DeliveryId>,
}

/// What a subscription is made of.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) name: Name,
    pub(super) mode: AcknowledgeMode,
    pub(super) destination: String,
    pub(super) durable: Option<String>,
}

/// All subscriptions of a session.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    last: u64,
    by_name: BTreeMap<Name, SubscriptionId>,
    by_id: BTreeMap<SubscriptionId, Subscription>,
    /// Those with something unreported, each once; some may have ended since.
    unreported: Vec<SubscriptionId>,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn find(&self, name: &Name) -> Option<SubscriptionId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.by_id.get_mut(&id)
    }

    /// Those that wait for acknowledgements by the client.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SubscriptionId, &mut Subscription)> {
        self.by_id.iter_mut().map(|(id, each)| (*id, each))
    }

    pub(super) fn open(
        &mut self,
        opening: Opening,
        version: Version,
    ) -> Result<SubscriptionId, Fault> {
        if self.by_name.contains_key(&opening.name) {
            return Err(Fault::SubscriptionExists {
                name: opening.name.as_str().to_owned(),
            });
        }
        self.last += 1;
        let id = SubscriptionId(self.last);
        self.by_name.insert(opening.name.clone(), id);
        self.by_id
            .insert(id, Subscription::new(opening, id, version));
        Ok(id)
    }

    /// Forgets a subscription. What is in the write buffer goes out before
    /// anything else can, so it counts as written: it must not come again.
    pub(super) fn close(&mut self, id: SubscriptionId, commands: &mut Vec<Command>) {
        let Some(subscription) = self.by_id.remove(&id) else {
            return;
        };
        self.by_name.remove(&subscription.name);
        if let Some(last) = subscription.unreported {
            commands.push(Command::Written {
                subscription: id,
                last,
            });
        }
    }

    /// Tells the core what has gone to the socket.
    pub(super) fn report(&mut self, commands: &mut Vec<Command>) {
        for id in self.unreported.drain(..) {
            let subscription = self.by_id.get_mut(&id);
            if let Some(last) = subscription.and_then(|each| each.unreported.take()) {
                commands.push(Command::Written {
                    subscription: id,
                    last,
                });
            }
        }
    }

    /// Writes a MESSAGE. One for a subscription that has ended meanwhile is
    /// dropped: the core gives it to somebody else.
    pub(super) fn deliver(&mut self, delivery: &Delivery, escapes: Escapes, out: &mut BytesMut) {
        let Some(subscription) = self.by_id.get_mut(&delivery.subscription) else {
            return;
        };
        subscription.write(delivery, escapes, out);
        match subscription.mode {
            AcknowledgeMode::Auto => {
                if subscription.unreported.replace(delivery.delivery).is_none() {
                    self.unreported.push(delivery.subscription);
                }
            }
            AcknowledgeMode::Cumulative | AcknowledgeMode::Individual => {
                let outstanding = &mut subscription.outstanding;
                outstanding.delivered(delivery.delivery, &delivery.message);
            }
        }
    }
}

impl Subscription {
    fn new(opening: Opening, id: SubscriptionId, version: Version) -> Self {
        let head_wants_delivery = version == Version::V1_2 && opening.mode != AcknowledgeMode::Auto;
        let mut head = BytesMut::new();
        head.put_slice(b"MESSAGE\n");
        if let Name::Id(name) = &opening.name {
            put_header(&mut head, "subscription", name, version.into());
        }
        if head_wants_delivery {
            head.put_slice(b"ack:");
            put_decimal(&mut head, id.0);
            head.put_u8(b'-');
        }
        let outstanding = match (version, opening.mode) {
            (Version::V1_2, _) | (_, AcknowledgeMode::Auto) => Outstanding::Untracked,
            (_, AcknowledgeMode::Cumulative) => Outstanding::InOrder(VecDeque::new()),
            (_, AcknowledgeMode::Individual) => Outstanding::Any(BTreeMap::new()),
        };
        Self {
            name: opening.name,
            mode: opening.mode,
            durable: opening.durable,
            outstanding,
            destination: opening.destination,
            head: head.to_vec(),
            head_wants_delivery,
            unreported: None,
        }
    }

    fn write(&self, delivery: &Delivery, escapes: Escapes, out: &mut BytesMut) {
        let message: &Message = &delivery.message;
        out.reserve(self.head.len() + message_bytes(message));
        out.put_slice(&self.head);
        if self.head_wants_delivery {
            put_decimal(out, delivery.delivery.0);
            out.put_u8(b'\n');
        }
        out.put_slice(b"message-id:");
        put_text(out, &message.id, escapes, Part::Value);
        out.put_slice(b"\ndestination:");
        put_text(out, &message.destination, escapes, Part::Value);
        put_number_header(out, b"\ntimestamp:", message.timestamp_ms);
        put_number_header(out, b"priority:", message.priority.into());
        if message.expires_ms > 0 {
            put_number_header(out, b"expires:", message.expires_ms);
        }
        if message.persistent {
            out.put_slice(b"persistent:true\n");
        }
        if delivery.redelivered {
            out.put_slice(b"redelivered:true\n");
        }
        for header in &message.headers {
            put_header(out, &header.name, &header.value, escapes);
        }
        put_body(out, &message.body);
    }

    /// Tells a browser that it has seen everything, the way ActiveMQ does.
    pub(super) fn write_browse_end(&self, escapes: Escapes, out: &mut BytesMut) {
        out.put_slice(&self.head);
        put_header(out, "destination", &self.destination, escapes);
        out.put_slice(b"message-id:0\nbrowser:end\n");
        put_body(out, b"");
    }
}

/// About how long the frame of a message is, so that the buffer grows once.
fn message_bytes(message: &Message) -> usize {
    let headers = message.headers.iter();
    let headers_bytes: usize = headers
        .map(|each| each.name.len() + each.value.len() + 2)
        .sum();
    headers_bytes
        + message.id.len()
        + message.destination.len()
        + message.body.len()
        + MESSAGE_EXTRA_BYTES
}
