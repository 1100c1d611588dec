//! The record of a durable subscription: a cursor over its topic's messages.

use bytes::Bytes;
use prost::Message as _;

use super::{Damage, NUMBER_MAX, NumberKey, number_key, parse_number};

pub(crate) const KIND: u8 = b'd';

/// Written when the subscription is made and with every batch that moves it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    pub(crate) client_id: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// The topic, by its number.
    #[prost(uint32, tag = "3")]
    pub(crate) topic: u32,
    /// Every message below is acknowledged.
    #[prost(uint64, tag = "4")]
    pub(crate) acknowledged: u64,
    /// Messages below may have been delivered.
    #[prost(uint64, tag = "5")]
    pub(crate) dispatched: u64,
    /// Which messages it wants; empty: all.
    #[prost(string, tag = "6")]
    pub(crate) selector: String,
}

pub(crate) fn key(durable: u32) -> NumberKey {
    number_key(KIND, durable)
}

pub(crate) fn parse(key: &[u8], value: Bytes) -> Result<(u32, Record), Damage> {
    let record = Record::decode(value).map_err(|_| Damage::Value)?;
    if record.acknowledged.max(record.dispatched) > NUMBER_MAX {
        return Err(Damage::Value);
    }
    Ok((parse_number(KIND, key)?, record))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(
            durable: u32,
            client_id in ".*",
            name in ".*",
            topic: u32,
            acknowledged: u32,
            dispatched: u32,
            selector in ".*",
        ) {
            let (acknowledged, dispatched) = (acknowledged.into(), dispatched.into());
            let record = Record { client_id, name, topic, acknowledged, dispatched, selector };
            let value = Bytes::from(record.encode_to_vec());
            prop_assert_eq!(parse(&key(durable), value), Ok((durable, record)));
        }
    }
}
