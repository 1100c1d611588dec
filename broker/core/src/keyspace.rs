//! What the broker keeps in the store, and under which keys.
//!
//! A key begins with one byte for its kind; numbers in keys are big-endian, so
//! that keys sort as numbers do.
//!
//! | byte | key after it | value | file |
//! |---|---|---|---|
//! | `q` | queue u32 | record of a queue | `queue.rs` |
//! | `m` | queue u32, sequence u64 | message in a queue | `message.rs` |
//! | `T` | topic u32 | record of a topic | `topic.rs` |
//! | `t` | topic u32, sequence u64 | message of a topic, once for all durable subscriptions | `message.rs` |
//! | `d` | durable u32 | record of a durable subscription | `durable.rs` |
//! | `a` | durable u32, sequence u64 | nothing: acknowledged ahead of the watermark | `mark.rs` |
//! | `w` | slot u32 | one remembered key of a send | `duplicate.rs` |
//! | `W` | number u64 of the first | a page of remembered keys | `duplicate.rs` |
//! | `V` | nothing | u32: the format of all this, if it is not the first | `format.rs` |
//!
//! Records, marks, slots and pages are read completely when a mastership begins;
//! messages (`m`, `t`) never are.

use bytes::Bytes;
use thiserror::Error;

pub(crate) mod duplicate;
pub(crate) mod durable;
pub(crate) mod format;
pub(crate) mod mark;
pub(crate) mod message;
pub(crate) mod queue;
pub(crate) mod topic;

/// A stored key or value that this broker did not write so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Damage {
    #[error("the key has an unknown kind or length")]
    Key,
    #[error("the value does not decode")]
    Value,
    #[error("the page before it holds some of its keys")]
    Overlap,
}

/// No counter of a broker gets so high: a record that says so is damaged, and whoever
/// counted on from there would soon begin again at 0.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// A key of a kind and one number.
pub(crate) type NumberKey = [u8; 5];
/// A key of a kind, a number and a sequence.
pub(crate) type SequenceKey = [u8; 13];

pub(crate) fn number_key(kind: u8, number: u32) -> NumberKey {
    let mut key = [kind; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn sequence_key(kind: u8, number: u32, sequence: u64) -> SequenceKey {
    let mut key = [kind; 13];
    key[1..5].copy_from_slice(&number.to_be_bytes());
    key[5..].copy_from_slice(&sequence.to_be_bytes());
    key
}

pub(crate) fn parse_number(kind: u8, key: &[u8]) -> Result<u32, Damage> {
    match key {
        [first, number @ ..] if *first == kind => number
            .try_into()
            .map(u32::from_be_bytes)
            .ok()
            // The last one is never given: none could follow.
            .filter(|number| *number < u32::MAX)
            .ok_or(Damage::Key),
        _ => Err(Damage::Key),
    }
}

pub(crate) fn parse_sequence(kind: u8, key: &[u8]) -> Result<(u32, u64), Damage> {
    let (number, sequence) = key.split_at_checked(5).ok_or(Damage::Key)?;
    let sequence = sequence.try_into().map_err(|_| Damage::Key)?;
    Ok((parse_number(kind, number)?, u64::from_be_bytes(sequence)))
}

/// All keys of a kind: from the first to the first of the next kind.
pub(crate) fn kind_range(kind: u8) -> (Bytes, Bytes) {
    (
        Bytes::copy_from_slice(&[kind]),
        Bytes::copy_from_slice(&[kind + 1]),
    )
}

/// What must be read completely before a broker can begin.
pub(crate) fn boot_ranges() -> Vec<(Bytes, Bytes)> {
    [
        // Before what might be misread.
        format::KIND,
        queue::KIND,
        topic::KIND,
        durable::KIND,
        mark::KIND,
        duplicate::SLOT_KIND,
        duplicate::PAGE_KIND,
    ]
    .map(kind_range)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_as_their_numbers(a: (u32, u64), b: (u32, u64)) {
            let keys = [a, b].map(|(number, sequence)| sequence_key(b'm', number, sequence));
            prop_assert_eq!(keys[0].cmp(&keys[1]), a.cmp(&b));
            prop_assert_eq!(parse_sequence(b'm', &keys[0]), Ok(a));
        }

        #[test]
        fn any_bytes_parse_or_are_damage(bytes: Vec<u8>) {
            if let Ok(number) = parse_number(b'q', &bytes) {
                prop_assert_eq!(&number_key(b'q', number)[..], &bytes[..]);
            }
            if let Ok((number, sequence)) = parse_sequence(b'm', &bytes) {
                prop_assert_eq!(&sequence_key(b'm', number, sequence)[..], &bytes[..]);
            }
        }
    }
}
