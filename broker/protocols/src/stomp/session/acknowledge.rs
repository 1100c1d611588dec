//! ACK and NACK: each version names the message in its own way.

use replicamq_core::{
    Acknowledge, AcknowledgeMode, Command, DeliveryId, Disposition, SubscriptionId,
};

use super::subscriptions::Name;
use super::{Fault, Session, required};
use crate::stomp::{Frame, Verb, Version};

impl Session {
    pub(super) fn acknowledge(
        &mut self,
        frame: &Frame,
        commands: &mut Vec<Command>,
    ) -> Result<(), Fault> {
        let verb = frame.verb;
        if verb == Verb::Nack && self.version == Version::V1_0 {
            let version = self.version;
            return Err(Fault::NotInVersion { verb, version });
        }
        let transaction = self.transaction_of(frame.header("transaction"))?;
        let (subscription, delivery) = match self.version {
            Version::V1_2 => self.by_ack(frame)?,
            Version::V1_1 => {
                let cure = "copy it from the MESSAGE";
                let name = required(frame, "subscription", cure)?;
                self.by_subscription(frame, name)?
            }
            // ActiveMQ takes the header in 1.0, too.
            Version::V1_0 => match frame.header("subscription") {
                Some(name) => self.by_subscription(frame, name)?,
                None => self.by_message(frame)?,
            },
        };
        commands.push(Command::Acknowledge(Acknowledge {
            subscription,
            delivery,
            disposition: match verb {
                Verb::Nack => Disposition::Rejected,
                _ => Disposition::Accepted,
            },
            transaction,
            receipt: self.owed.receipt(frame.header("receipt")),
        }));
        Ok(())
    }

    /// 1.2: the `ack` header of the MESSAGE comes back; it names the delivery
    /// outright, and the core knows whether it is outstanding.
    fn by_ack(&self, frame: &Frame) -> Result<(SubscriptionId, DeliveryId), Fault> {
        let id = required(frame, "id", "copy the ack header of the MESSAGE")?;
        let parsed = parse_ack(id)
            .and_then(|(id, delivery)| Some((id, self.subscriptions.get(id)?, delivery)));
        match parsed {
            Some((_, subscription, _)) if subscription.mode == AcknowledgeMode::Auto => {
                Err(Fault::NothingToAcknowledge {
                    verb: frame.verb,
                    name: subscription.name.as_str().to_owned(),
                })
            }
            Some((id, _, delivery)) => Ok((id, delivery)),
            None => Err(Fault::DeliveryUnknown {
                verb: frame.verb,
                id: id.to_owned(),
            }),
        }
    }

    /// 1.1: by subscription and message id.
    fn by_subscription(
        &mut self,
        frame: &Frame,
        name: &str,
    ) -> Result<(SubscriptionId, DeliveryId), Fault> {
        let message_id = required(frame, "message-id", "copy it from the MESSAGE")?;
        let verb = frame.verb;
        let found = self.subscriptions.find(&Name::Id(name.to_owned()));
        let found = found.and_then(|id| Some((id, self.subscriptions.get_mut(id)?)));
        let Some((id, subscription)) = found else {
            let name = name.to_owned();
            return Err(Fault::SubscriptionUnknown { name });
        };
        if subscription.mode == AcknowledgeMode::Auto {
            let name = name.to_owned();
            return Err(Fault::NothingToAcknowledge { verb, name });
        }
        match subscription.outstanding.settle(message_id) {
            Some(delivery) => Ok((id, delivery)),
            None => Err(Fault::DeliveryUnknown {
                verb,
                id: message_id.to_owned(),
            }),
        }
    }

    /// 1.0: by message id alone, on whichever subscription it came.
    fn by_message(&mut self, frame: &Frame) -> Result<(SubscriptionId, DeliveryId), Fault> {
        let message_id = required(frame, "message-id", "copy it from the MESSAGE")?;
        self.subscriptions
            .iter_mut()
            .find_map(|(id, each)| Some((id, each.outstanding.settle(message_id)?)))
            .ok_or_else(|| Fault::DeliveryUnknown {
                verb: frame.verb,
                id: message_id.to_owned(),
            })
    }
}

/// Reads what a MESSAGE says in its `ack` header.
fn parse_ack(text: &str) -> Option<(SubscriptionId, DeliveryId)> {
    let (subscription, delivery) = text.split_once('-')?;
    Some((
        SubscriptionId(subscription.parse().ok()?),
        DeliveryId(delivery.parse().ok()?),
    ))
}
