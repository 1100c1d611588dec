//! Any bytes as a batch, as a stored message, and under any key: a value or damage. What this
//! crate encodes by hand, prost reads as it was meant.

use bytes::Bytes;
use prost::Message as _;
use replicamq_fuzzing::Input;
use replicamq_proto::store::v1::op::Kind;
use replicamq_proto::store::v1::{Batch, DeleteRange, Message, Op, Put};

use crate::batch::BatchEncoder;
use crate::keyspace::message::{Log, parse_value};
use crate::keyspace::{duplicate, durable, mark, queue, topic};

/// The first byte chooses what the rest is.
pub fn batch(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => decodes(input.rest()),
        1 => encodes(&mut input),
        2 => is_a_message(input.rest()),
        _ => is_a_value(&mut input),
    }
}

fn decodes(data: &[u8]) {
    let Ok(batch) = Batch::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let again = Batch::decode(Bytes::from(batch.encode_to_vec()));
    assert_eq!(again.as_ref(), Ok(&batch));
    let Some(written) = by_hand(&batch.ops) else {
        return;
    };
    assert_eq!(Batch::decode(written), Ok(batch));
}

/// `None`: an op is of no kind, which this crate never writes.
fn by_hand(ops: &[Op]) -> Option<Bytes> {
    let mut encoder = BatchEncoder::default();
    for op in ops {
        match op.kind.as_ref()? {
            Kind::Put(put) => encoder.put(&put.key, &put.value),
            Kind::Delete(key) => encoder.delete(key),
            Kind::DeleteRange(range) => encoder.delete_range(&range.from, &range.to),
        }
    }
    assert_eq!(encoder.is_empty(), ops.is_empty());
    Some(encoder.take())
}

fn encodes(input: &mut Input<'_>) {
    let mut ops = Vec::new();
    while !input.is_empty() {
        let kind = match input.below(3) {
            0 => Kind::Put(Put {
                key: key(input),
                value: input.many_bytes().to_vec().into(),
            }),
            1 => Kind::Delete(key(input)),
            _ => Kind::DeleteRange(DeleteRange {
                from: key(input),
                to: key(input),
            }),
        };
        ops.push(Op { kind: Some(kind) });
    }
    let written = by_hand(&ops).expect("each op has a kind");
    let batch = Batch { ops };
    assert_eq!(batch.encode_to_vec(), written, "prost writes it so");
    assert_eq!(Batch::decode(written), Ok(batch));
}

/// Nothing is stored under an empty key, which prost would leave out.
fn key(input: &mut Input<'_>) -> Bytes {
    let mut key = vec![b'm'];
    key.extend_from_slice(input.bytes());
    key.into()
}

fn is_a_message(data: &[u8]) {
    let Ok(message) = parse_value(Bytes::copy_from_slice(data)) else {
        return;
    };
    let mut encoder = BatchEncoder::default();
    let key = Log::Queue(7).key(9);
    encoder.put_encoded(&key, &message, message.encoded_len());
    let written = Batch::decode(encoder.take()).expect("it was just written");
    let [
        Op {
            kind: Some(Kind::Put(put)),
        },
    ] = &written.ops[..]
    else {
        panic!("one put was written")
    };
    assert_eq!(put.key, key[..]);
    let read: Message = parse_value(put.value.clone()).expect("it was just written");
    assert_eq!(read, message);
}

/// A key and a value of no kind in particular: whoever reads it gives the same key back.
fn is_a_value(input: &mut Input<'_>) {
    let key = input.bytes().to_vec();
    let value = Bytes::copy_from_slice(input.rest());
    if let Ok((number, record)) = queue::parse(&key, value.clone()) {
        assert_eq!(queue::key(number)[..], key);
        assert!(record.head <= record.next_sequence);
    }
    if let Ok((number, record)) = topic::parse(&key, value.clone()) {
        assert_eq!(topic::key(number)[..], key);
        assert!(record.trimmed <= record.next_sequence);
    }
    if let Ok((number, _)) = durable::parse(&key, value.clone()) {
        assert_eq!(durable::key(number)[..], key);
    }
    if let Ok((number, sequence)) = mark::parse(&key) {
        assert_eq!(mark::key(number, sequence)[..], key);
    }
    if let Ok(slot) = duplicate::Slot::parse(&key, &value) {
        assert_eq!(slot.value()[..], value);
    }
    if let Ok(page) = duplicate::Page::parse(&key, value.clone()) {
        assert_eq!(duplicate::Page::key(page.first)[..], key);
        assert_eq!(page.value(), value);
        let last = page.slots().last().map(|slot| slot.counter + 1);
        assert_eq!(last.unwrap_or(page.first), page.end());
    }
}
