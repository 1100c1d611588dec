//! SUBSCRIBE and UNSUBSCRIBE, with the headers of ActiveMQ, Artemis and RabbitMQ.

use replicamq_core::{AcknowledgeMode, Command, Subscribe};

use super::subscriptions::{Name, Opening};
use super::{Fault, Session, boolean, invalid, required};
use crate::stomp::{Frame, Verb, Version};

/// ActiveMQ's name (and its old misspelling, which it still accepts), then Artemis's.
const DURABLE_NAMES: [&str; 4] = [
    "activemq.subscriptionName",
    "activemq.subcriptionName",
    "durable-subscriber-name",
    "durable-subscription-name",
];

/// ActiveMQ's name, then RabbitMQ's.
const PREFETCH_NAMES: [&str; 2] = ["activemq.prefetchSize", "prefetch-count"];

/// What would change which messages come, if it were ignored: the header, and
/// what is to be done instead.
const NOT_SUPPORTED: [(&str, &str); 3] = [
    (
        "activemq.noLocal",
        "noLocal is not there yet: mark your own messages with a header and skip them",
    ),
    (
        "no-local",
        "no-local is not there yet: mark your own messages with a header and skip them",
    ),
    (
        "activemq.retroactive",
        "retroactive consumers are not there yet: use a durable subscription",
    ),
];

/// STOMP's headers are texts, which a selector reads as numbers where it compares them with some:
/// ActiveMQ has it so with the same words.
const READING: &str = "convert_string_expressions:";

impl Session {
    pub(super) fn subscribe(
        &mut self,
        frame: &Frame,
        commands: &mut Vec<Command>,
    ) -> Result<(), Fault> {
        refuse_unsupported(frame)?;
        let cure = "write destination:/queue/NAME or destination:/topic/NAME";
        let destination = required(frame, "destination", cure)?;
        let name = self.name(frame)?;
        let browse = flag(frame, "browser")?;
        let durable = durable_name(frame)?;
        let mode = match (frame.header("ack"), browse) {
            // A browser takes nothing, so there is nothing to acknowledge.
            (None | Some("auto" | "client" | "client-individual"), true)
            | (None | Some("auto"), false) => AcknowledgeMode::Auto,
            (Some("client"), false) => AcknowledgeMode::Cumulative,
            (Some("client-individual"), false) => AcknowledgeMode::Individual,
            (Some(other), _) => {
                let expected = "auto, client or client-individual";
                return Err(invalid(frame.verb, "ack", other, expected));
            }
        };
        let credit = self.credit(frame)?;
        let limit = self.config.subscriptions_max;
        if self.subscriptions.len() >= limit {
            return Err(Fault::LimitReached {
                what: "subscriptions",
                limit,
                cure: "UNSUBSCRIBE some first, or use another connection",
            });
        }
        let opening = Opening {
            name,
            mode,
            destination: destination.to_owned(),
            durable: durable.map(str::to_owned),
        };
        let subscription = self.subscriptions.open(opening, self.version)?;
        commands.push(Command::Subscribe(Box::new(Subscribe {
            subscription,
            destination: destination.to_owned(),
            mode,
            credit,
            browse,
            durable: durable.map(str::to_owned),
            selector: selector(frame),
            priority: priority(frame)?,
            exclusive: flag(frame, "activemq.exclusive")?,
            receipt: self.owed.receipt(frame.header("receipt")),
        })));
        Ok(())
    }

    /// With the name of a durable subscription this deletes it, after its
    /// consumer on this connection, if it has one.
    pub(super) fn unsubscribe(
        &mut self,
        frame: &Frame,
        commands: &mut Vec<Command>,
    ) -> Result<(), Fault> {
        let durable = durable_name(frame)?;
        let named = frame.header("id").is_some() || frame.header("destination").is_some();
        let found = if durable.is_some() && !named {
            None
        } else {
            let name = self.name(frame)?;
            let found = self.subscriptions.find(&name);
            if found.is_none() && durable.is_none() {
                return Err(Fault::SubscriptionUnknown {
                    name: name.as_str().to_owned(),
                });
            }
            found
        };
        let receipt = self.owed.receipt(frame.header("receipt"));
        let Some(name) = durable else {
            if let Some(subscription) = found {
                self.subscriptions.close(subscription, commands);
                commands.push(Command::Unsubscribe {
                    subscription,
                    receipt,
                });
            }
            return Ok(());
        };
        let active = found.filter(|id| {
            let subscription = self.subscriptions.get(*id);
            subscription.is_some_and(|each| each.durable.as_deref() == Some(name))
        });
        if let Some(subscription) = active {
            self.subscriptions.close(subscription, commands);
            commands.push(Command::Unsubscribe {
                subscription,
                receipt: None,
            });
        }
        commands.push(Command::DeleteDurable {
            name: name.to_owned(),
            receipt,
        });
        Ok(())
    }

    /// How the client names the subscription: only 1.0 may do without an id.
    fn name(&self, frame: &Frame) -> Result<Name, Fault> {
        if let (None, Version::V1_0) = (frame.header("id"), self.version) {
            let cure = "name the subscription by its id or its destination";
            let destination = required(frame, "destination", cure)?;
            return Ok(Name::Destination(destination.to_owned()));
        }
        let cure = "choose an id for the subscription that is unique on this connection";
        Ok(Name::Id(required(frame, "id", cure)?.to_owned()))
    }

    fn credit(&self, frame: &Frame) -> Result<u32, Fault> {
        let found = PREFETCH_NAMES
            .into_iter()
            .find_map(|name| Some((name, frame.header(name)?)));
        let Some((name, value)) = found else {
            return Ok(self.config.prefetch);
        };
        match value.trim().parse::<u32>() {
            Ok(credit) if credit > 0 => Ok(credit.min(self.config.prefetch_max)),
            _ => {
                let expected = "a number of messages, at least 1";
                Err(invalid(frame.verb, name, value, expected))
            }
        }
    }
}

fn refuse_unsupported(frame: &Frame) -> Result<(), Fault> {
    let verb = frame.verb;
    for (name, reason) in NOT_SUPPORTED {
        if flag(frame, name)? {
            let name = name.to_owned();
            return Err(Fault::NotSupported { verb, name, reason });
        }
    }
    Ok(())
}

/// Before whom it comes, as ActiveMQ names it.
fn priority(frame: &Frame) -> Result<i8, Fault> {
    let name = "activemq.priority";
    let Some(value) = frame.header(name) else {
        return Ok(0);
    };
    let priority = value.trim().parse();
    priority.map_err(|_| invalid(frame.verb, name, value, "a number from -128 to 127"))
}

fn selector(frame: &Frame) -> Option<String> {
    let text = frame.header("selector")?;
    (!text.trim().is_empty()).then(|| format!("{READING}{text}"))
}

fn flag(frame: &Frame, name: &'static str) -> Result<bool, Fault> {
    match frame.header(name) {
        Some(value) => boolean(frame.verb, name, value),
        None => Ok(false),
    }
}

/// RabbitMQ makes the id the name: `durable:true` (or `persistent:true`) with `id`.
fn durable_name(frame: &Frame) -> Result<Option<&str>, Fault> {
    debug_assert!(matches!(frame.verb, Verb::Subscribe | Verb::Unsubscribe));
    let mut names = DURABLE_NAMES.into_iter();
    if let Some(name) = names.find_map(|name| frame.header(name)) {
        return Ok(Some(name).filter(|name| !name.is_empty()));
    }
    if flag(frame, "durable")? || flag(frame, "persistent")? {
        let cure = "durable:true names the durable subscription by the id";
        return required(frame, "id", cure).map(Some);
    }
    Ok(None)
}
