//! Store operations, encoded as they come into one `replicamq.store.v1.Batch`.
//!
//! Written by hand so that a message is encoded straight into the bytes that
//! go to the disk and to every replica. The tests hold it against prost.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{Message, encode_length_delimiter, length_delimiter_len};

/// Every field used here has a number below 16 and is length-delimited.
const fn tag(field: u8) -> u8 {
    field << 3 | 2
}

const BATCH_OPS: u8 = tag(1);
const OP_PUT: u8 = tag(1);
const OP_DELETE: u8 = tag(2);
const OP_DELETE_RANGE: u8 = tag(3);
const PUT_KEY: u8 = tag(1);
const PUT_VALUE: u8 = tag(2);
const RANGE_FROM: u8 = tag(1);
const RANGE_TO: u8 = tag(2);

const CAPACITY_MIN: usize = 1 << 10;
const CAPACITY_MAX: usize = 1 << 20;

/// One batch in the making.
#[derive(Debug, Default)]
pub(crate) struct BatchEncoder {
    buffer: BytesMut,
    /// The length of the last batch: a guess at the next.
    last_bytes: usize,
}

impl BatchEncoder {
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn take(&mut self) -> Bytes {
        self.last_bytes = self.buffer.len();
        std::mem::take(&mut self.buffer).freeze()
    }

    /// `value_bytes` is the value's encoded length, known to the caller.
    pub(crate) fn put_encoded(&mut self, key: &[u8], message: &impl Message, value_bytes: usize) {
        self.begin_put(key, value_bytes);
        let before = self.buffer.len();
        message
            .encode(&mut self.buffer)
            .expect("the buffer grows as it is written");
        assert_eq!(
            self.buffer.len() - before,
            value_bytes,
            "the encoded length is as announced"
        );
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.begin_put(key, value.len());
        self.buffer.put_slice(value);
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.begin_op(field_bytes(key.len()));
        self.field(OP_DELETE, key);
    }

    /// Deletes every key from `from` up to but not including `to`.
    pub(crate) fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        let inner = field_bytes(from.len()) + field_bytes(to.len());
        self.begin_op(field_bytes(inner));
        self.header(OP_DELETE_RANGE, inner);
        self.field(RANGE_FROM, from);
        self.field(RANGE_TO, to);
    }

    /// Leaves the buffer where the value's bytes follow.
    fn begin_put(&mut self, key: &[u8], value_bytes: usize) {
        // An empty value is left out, as prost does.
        let value_field = if value_bytes == 0 {
            0
        } else {
            field_bytes(value_bytes)
        };
        let inner = field_bytes(key.len()) + value_field;
        self.begin_op(field_bytes(inner));
        self.header(OP_PUT, inner);
        self.field(PUT_KEY, key);
        if value_bytes > 0 {
            self.header(PUT_VALUE, value_bytes);
        }
    }

    fn begin_op(&mut self, op_bytes: usize) {
        if self.buffer.capacity() == 0 {
            let guess = self.last_bytes.clamp(CAPACITY_MIN, CAPACITY_MAX);
            self.buffer.reserve(guess);
        }
        self.buffer.reserve(field_bytes(op_bytes));
        self.header(BATCH_OPS, op_bytes);
    }

    fn header(&mut self, tag: u8, bytes: usize) {
        self.buffer.put_u8(tag);
        encode_length_delimiter(bytes, &mut self.buffer)
            .expect("the buffer grows as it is written");
    }

    fn field(&mut self, tag: u8, value: &[u8]) {
        self.header(tag, value.len());
        self.buffer.put_slice(value);
    }
}

/// A length-delimited field with its tag and length.
fn field_bytes(value_bytes: usize) -> usize {
    1 + length_delimiter_len(value_bytes) + value_bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use replicamq_proto::store::v1::op::Kind;
    use replicamq_proto::store::v1::{Batch, DeleteRange, Message as Stored, Op, Put};

    use super::*;

    fn op() -> impl Strategy<Value = Kind> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            (bytes(), bytes()).prop_map(|(key, value)| Kind::Put(Put { key, value })),
            bytes().prop_map(Kind::Delete),
            (bytes(), bytes()).prop_map(|(from, to)| Kind::DeleteRange(DeleteRange { from, to })),
        ]
    }

    proptest! {
        #[test]
        fn the_bytes_decode_to_the_same_ops(kinds in proptest::collection::vec(op(), 0..20)) {
            let mut encoder = BatchEncoder::default();
            for kind in &kinds {
                match kind {
                    Kind::Put(put) => encoder.put(&put.key, &put.value),
                    Kind::Delete(key) => encoder.delete(key),
                    Kind::DeleteRange(range) => encoder.delete_range(&range.from, &range.to),
                }
            }
            let batch = Batch {
                ops: kinds.into_iter().map(|kind| Op { kind: Some(kind) }).collect(),
            };
            prop_assert_eq!(Batch::decode(encoder.take()), Ok(batch));
        }

        #[test]
        fn a_message_is_its_own_encoding(id in ".*", body: Vec<u8>) {
            let message = Stored { id, body: Bytes::from(body), ..Stored::default() };
            let mut encoder = BatchEncoder::default();
            encoder.put_encoded(b"key", &message, message.encoded_len());
            let value = Bytes::from(message.encode_to_vec());
            let put = Put { key: Bytes::from_static(b"key"), value };
            let batch = Batch { ops: vec![Op { kind: Some(Kind::Put(put)) }] };
            prop_assert_eq!(encoder.take(), batch.encode_to_vec());
        }
    }
}
