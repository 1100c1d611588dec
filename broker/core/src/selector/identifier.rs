//! A name in a selector, resolved once: a header that JMS knows, or a property by its name.

/// What a selector asks of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    /// A header that JMS, or ActiveMQ in its place, gives a name and a type.
    Header(JmsHeader),
    /// Anything else.
    Property(Box<str>),
}

/// The headers and JMS's own properties. The specification allows six of them in a selector;
/// ActiveMQ, and we, allow all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JmsHeader {
    /// `JMSDestination`, which is ActiveMQ's.
    Destination,
    /// `JMSReplyTo`, likewise.
    ReplyTo,
    /// `JMSDeliveryMode`: the text `PERSISTENT` or `NON_PERSISTENT`.
    DeliveryMode,
    /// `JMSPriority`: 0 to 9.
    Priority,
    /// `JMSMessageID`.
    MessageId,
    /// `JMSTimestamp`: in milliseconds since 1970.
    Timestamp,
    /// `JMSCorrelationID`.
    CorrelationId,
    /// `JMSType`.
    Type,
    /// `JMSExpiration`: in milliseconds since 1970, 0 for never.
    Expiration,
    /// `JMSRedelivered`: a boolean.
    Redelivered,
    /// `JMSXDeliveryCount`: 1 at the first delivery.
    DeliveryCount,
    /// `JMSXGroupID`.
    GroupId,
    /// `JMSXGroupSeq`: a number.
    GroupSeq,
}

const HEADERS: [(&str, JmsHeader); 13] = [
    ("JMSDestination", JmsHeader::Destination),
    ("JMSReplyTo", JmsHeader::ReplyTo),
    ("JMSDeliveryMode", JmsHeader::DeliveryMode),
    ("JMSPriority", JmsHeader::Priority),
    ("JMSMessageID", JmsHeader::MessageId),
    ("JMSTimestamp", JmsHeader::Timestamp),
    ("JMSCorrelationID", JmsHeader::CorrelationId),
    ("JMSType", JmsHeader::Type),
    ("JMSExpiration", JmsHeader::Expiration),
    ("JMSRedelivered", JmsHeader::Redelivered),
    ("JMSXDeliveryCount", JmsHeader::DeliveryCount),
    ("JMSXGroupID", JmsHeader::GroupId),
    ("JMSXGroupSeq", JmsHeader::GroupSeq),
];

impl Identifier {
    /// Names are case-sensitive.
    pub(super) fn new(name: &str) -> Self {
        let known = HEADERS.iter().find(|(header, _)| *header == name);
        known.map_or_else(
            || Self::Property(name.into()),
            |(_, header)| Self::Header(*header),
        )
    }
}
