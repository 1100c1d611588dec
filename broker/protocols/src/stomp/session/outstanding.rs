//! Deliveries that a client of 1.0 or 1.1 still has to acknowledge.
//!
//! Those versions name a message by its `message-id`, which may come from the
//! producer and so may come twice. The oldest delivery with that id is meant:
//! acknowledging less than the client meant costs a redelivery, acknowledging
//! more would lose a message. From 1.2 on the `ack` header names the delivery
//! and nothing has to be remembered.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use replicamq_core::DeliveryId;
use replicamq_proto::store::v1::Message;

/// What is unacknowledged on one subscription. Bounded by its credit.
#[derive(Debug)]
pub(super) enum Outstanding {
    /// Nothing is ever looked for.
    Untracked,
    /// One acknowledgement covers all before it, so each is passed by once.
    InOrder(VecDeque<(DeliveryId, Arc<Message>)>),
    /// By the hash of the message id, for acknowledgements in any order.
    Any(BTreeMap<(u64, DeliveryId), Arc<Message>>),
}

impl Outstanding {
    pub(super) fn delivered(&mut self, delivery: DeliveryId, message: &Arc<Message>) {
        match self {
            Self::Untracked => {}
            Self::InOrder(deliveries) => deliveries.push_back((delivery, Arc::clone(message))),
            Self::Any(deliveries) => {
                deliveries.insert((hash(&message.id), delivery), Arc::clone(message));
            }
        }
    }

    /// The delivery that an ACK or NACK means, which is then no longer outstanding.
    pub(super) fn settle(&mut self, message_id: &str) -> Option<DeliveryId> {
        match self {
            Self::Untracked => None,
            Self::InOrder(deliveries) => {
                let at = deliveries
                    .iter()
                    .position(|(_, message)| message.id == message_id)?;
                let (delivery, _) = deliveries.drain(..=at).next_back()?;
                Some(delivery)
            }
            Self::Any(deliveries) => {
                let hash = hash(message_id);
                let range = (hash, DeliveryId(0))..=(hash, DeliveryId(u64::MAX));
                let (&key, _) = deliveries
                    .range(range)
                    .find(|(_, message)| message.id == message_id)?;
                deliveries.remove(&key);
                Some(key.1)
            }
        }
    }
}

fn hash(message_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    message_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut outstanding: Outstanding) -> Outstanding {
        for (delivery, id) in [(1, "x"), (2, "a"), (3, "x"), (4, "b")] {
            let message = Arc::new(Message {
                id: id.to_owned(),
                ..Message::default()
            });
            outstanding.delivered(DeliveryId(delivery), &message);
        }
        outstanding
    }

    #[test]
    fn one_by_one_the_oldest_of_equal_ids_goes_first() {
        let mut any = filled(Outstanding::Any(BTreeMap::new()));
        assert_eq!(any.settle("b"), Some(DeliveryId(4)));
        assert_eq!(any.settle("x"), Some(DeliveryId(1)));
        assert_eq!(any.settle("x"), Some(DeliveryId(3)));
        assert_eq!(any.settle("x"), None);
        assert_eq!(any.settle("a"), Some(DeliveryId(2)));
    }

    #[test]
    fn in_order_everything_before_goes_too() {
        let mut all = filled(Outstanding::InOrder(VecDeque::new()));
        assert_eq!(all.settle("a"), Some(DeliveryId(2)));
        assert_eq!(all.settle("a"), None);
        assert_eq!(all.settle("x"), Some(DeliveryId(3)));
        assert_eq!(all.settle("x"), None);
        assert_eq!(all.settle("b"), Some(DeliveryId(4)));
    }
}
