//! What a stored message answers to a selector's identifiers.
//!
//! STOMP has other names for some of JMS's headers, and all its values are texts. Names are mapped
//! as ActiveMQ maps them; a header that bears JMS's own name counts where STOMP's is not there.

use replicamq_proto::store::v1::Message;

use crate::header;

use super::identifier::{Identifier, JmsHeader};
use super::value::Value;

/// What a selector may ask of a delivery, and the stored message does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redelivery {
    /// Whether the message may have been delivered before.
    pub redelivered: bool,
    /// How often it was given back.
    pub redeliveries: u32,
}

/// The value of an identifier: NULL if the message has no such header. Destinations are as their
/// producer wrote them, `/queue/a`, where ActiveMQ would say `queue://a`.
pub fn message_value<'v>(
    message: &'v Message,
    redelivery: Redelivery,
    identifier: &Identifier,
) -> Value<'v> {
    let header = match identifier {
        Identifier::Property(name) => return text(header::header(message, name)),
        Identifier::Header(header) => *header,
    };
    match header {
        JmsHeader::Destination => Value::Str(&message.destination),
        JmsHeader::ReplyTo => text(either(message, "reply-to", "JMSReplyTo")),
        JmsHeader::DeliveryMode if message.persistent => Value::Str("PERSISTENT"),
        JmsHeader::DeliveryMode => Value::Str("NON_PERSISTENT"),
        JmsHeader::Priority => Value::Long(message.priority.into()),
        JmsHeader::MessageId => text(Some(&*message.id).filter(|id| !id.is_empty())),
        JmsHeader::Timestamp => time(message.timestamp_ms),
        JmsHeader::CorrelationId => text(either(message, "correlation-id", "JMSCorrelationID")),
        JmsHeader::Type => text(either(message, "type", "JMSType")),
        JmsHeader::Expiration => time(message.expires_ms),
        JmsHeader::Redelivered => Value::Bool(redelivery.redelivered),
        JmsHeader::DeliveryCount => Value::Long(i64::from(redelivery.redeliveries) + 1),
        JmsHeader::GroupId => text(header::header(message, "JMSXGroupID")),
        JmsHeader::GroupSeq => header::header(message, "JMSXGroupSeq")
            .and_then(|value| value.trim().parse().ok())
            .map_or(Value::Null, Value::Long),
    }
}

fn either<'v>(message: &'v Message, stomp: &str, jms: &str) -> Option<&'v str> {
    header::header(message, stomp).or_else(|| header::header(message, jms))
}

fn text(value: Option<&str>) -> Value<'_> {
    value.map_or(Value::Null, Value::Str)
}

/// A time past Java's range is its last one.
fn time(milliseconds: u64) -> Value<'static> {
    Value::Long(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}
