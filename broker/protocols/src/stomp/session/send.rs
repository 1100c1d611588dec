//! SEND: a frame becomes a message.

use replicamq_core::{Command, DEAD_LETTER_HEADERS, Send};
use replicamq_proto::store::v1::{Format, Header, Message};

use super::{Fault, Session, boolean, invalid};
use crate::stomp::{Frame, Verb};

/// JMS's default.
const PRIORITY_DEFAULT: u32 = 4;
const PRIORITY_MAX: u32 = 9;

/// ActiveMQ's headers for scheduled delivery.
const SCHEDULE_PREFIX: &str = "AMQ_SCHEDULED_";

/// Artemis's header for a key by which a repeated send is recognised. Consumers
/// do not get it: one who sends a message on with all its headers would send a
/// repetition, and lose it.
const DUPLICATE_KEY: &str = "_AMQ_DUPL_ID";

/// The headers that mean something to the broker.
#[derive(Default)]
struct Known<'a> {
    destination: Option<&'a str>,
    receipt: Option<&'a str>,
    transaction: Option<&'a str>,
    message_id: Option<&'a str>,
    duplicate_key: Option<&'a str>,
    persistent: Option<&'a str>,
    priority: Option<&'a str>,
    expires: Option<&'a str>,
    /// It has a header that only brokers write: it came from a queue or topic and
    /// is sent on. Its `message-id` is that of what the broker has already.
    is_forwarded: bool,
}

impl Session {
    pub(super) fn send(
        &mut self,
        frame: &mut Frame,
        commands: &mut Vec<Command>,
    ) -> Result<(), Fault> {
        let body = std::mem::take(&mut frame.body);
        let (known, headers) = sort(frame)?;
        let Some(destination) = known.destination.filter(|name| !name.is_empty()) else {
            return Err(Fault::HeaderMissing {
                verb: Verb::Send,
                name: "destination",
                cure: "write destination:/queue/NAME or destination:/topic/NAME",
            });
        };
        let producers_id = known.message_id.filter(|_| !known.is_forwarded);
        let duplicate_key = known.duplicate_key.or(producers_id);
        let id = known.message_id.or(known.duplicate_key).unwrap_or_default();
        let message = Message {
            id: id.to_owned(),
            destination: destination.to_owned(),
            timestamp_ms: 0,
            expires_ms: expires_ms(known.expires)?,
            priority: priority(known.priority)?,
            persistent: match known.persistent {
                Some(value) => boolean(Verb::Send, "persistent", value)?,
                None => false,
            },
            format: Format::Stomp.into(),
            headers,
            body,
        };
        let transaction = self.transaction_of(known.transaction)?;
        commands.push(Command::Send(Box::new(Send {
            message,
            duplicate_key: duplicate_key.map(str::to_owned),
            transaction,
            receipt: self.owed.receipt(known.receipt),
        })));
        Ok(())
    }
}

/// Parts the headers for the broker from those for the consumer, in one pass.
fn sort(frame: &Frame) -> Result<(Known<'_>, Vec<Header>), Fault> {
    let mut known = Known::default();
    let mut headers = Vec::new();
    for (name, value) in frame.headers() {
        let place = match name {
            "destination" => &mut known.destination,
            "receipt" => &mut known.receipt,
            "transaction" => &mut known.transaction,
            "message-id" => &mut known.message_id,
            "persistent" => &mut known.persistent,
            "priority" => &mut known.priority,
            "expires" => &mut known.expires,
            "content-length" => continue,
            // The broker's own words on a MESSAGE; a client that forwards one
            // often sends them back.
            "subscription" | "ack" | "redelivered" | "timestamp" => {
                known.is_forwarded = true;
                continue;
            }
            DUPLICATE_KEY => &mut known.duplicate_key,
            _ => {
                if name.starts_with(SCHEDULE_PREFIX) {
                    return Err(Fault::NotSupported {
                        verb: Verb::Send,
                        name: name.to_owned(),
                        reason: "scheduled delivery is not there yet: send the message when it is due",
                    });
                }
                known.is_forwarded |= DEAD_LETTER_HEADERS.contains(&name);
                headers.push(Header {
                    name: name.to_owned(),
                    value: value.to_owned(),
                });
                continue;
            }
        };
        place.get_or_insert(value);
    }
    known.message_id = known.message_id.filter(|id| !id.is_empty());
    known.duplicate_key = known.duplicate_key.filter(|key| !key.is_empty());
    Ok((known, headers))
}

fn priority(value: Option<&str>) -> Result<u32, Fault> {
    let Some(value) = value else {
        return Ok(PRIORITY_DEFAULT);
    };
    match value.trim().parse() {
        Ok(priority) if priority <= PRIORITY_MAX => Ok(priority),
        _ => Err(invalid(
            Verb::Send,
            "priority",
            value,
            "a number from 0 to 9",
        )),
    }
}

fn expires_ms(value: Option<&str>) -> Result<u64, Fault> {
    let Some(value) = value else {
        return Ok(0);
    };
    value.trim().parse().map_err(|_| {
        let expected = "a time in milliseconds since 1970, or 0 for never";
        invalid(Verb::Send, "expires", value, expected)
    })
}
