//! Messages of queues and topics. The value is `replicamq.store.v1.Message`.

use bytes::Bytes;
use prost::Message as _;
use replicamq_proto::store::v1::Message;

use super::{Damage, SequenceKey, parse_sequence, sequence_key};

/// Whose messages: the first five bytes of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    Queue(u32),
    Topic(u32),
}

impl Log {
    fn parts(self) -> (u8, u32) {
        match self {
            Self::Queue(queue) => (b'm', queue),
            Self::Topic(topic) => (b't', topic),
        }
    }

    pub(crate) fn key(self, sequence: u64) -> SequenceKey {
        let (kind, number) = self.parts();
        sequence_key(kind, number, sequence)
    }

    pub(crate) fn key_bytes(self, sequence: u64) -> Bytes {
        Bytes::copy_from_slice(&self.key(sequence))
    }

    /// The sequence of one of this log's keys.
    pub(crate) fn parse(self, key: &[u8]) -> Result<u64, Damage> {
        let (kind, number) = self.parts();
        let (found, sequence) = parse_sequence(kind, key)?;
        (found == number).then_some(sequence).ok_or(Damage::Key)
    }
}

pub(crate) fn parse_value(value: Bytes) -> Result<Message, Damage> {
    Message::decode(value).map_err(|_| Damage::Value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(number: u32, sequence: u64) {
            for log in [Log::Queue(number), Log::Topic(number)] {
                prop_assert_eq!(log.parse(&log.key(sequence)), Ok(sequence));
            }
            let (queue, topic) = (Log::Queue(number), Log::Topic(number));
            prop_assert_eq!(queue.parse(&topic.key(sequence)), Err(Damage::Key));
        }

        #[test]
        fn any_value_parses_or_is_damage(value: Vec<u8>) {
            if let Ok(message) = parse_value(Bytes::from(value)) {
                let again = parse_value(Bytes::from(message.encode_to_vec()));
                prop_assert_eq!(again, Ok(message));
            }
        }
    }
}
