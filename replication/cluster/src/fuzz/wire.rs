//! Any bytes as a message of another node, or as the content of a znode: refused, or a value that
//! keeps what the rest of the node relies on and reads the same once it was written.

use replicamq_fuzzing::Input;
use replicamq_proto::replication::v1 as proto;
use replicamq_quorum::{Entries, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::convert;
use crate::membership;
use crate::service;
use crate::snapshot;

/// The first byte chooses what the rest is.
pub fn wire(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(6) {
        0 => from_master(input.rest()),
        1 => from_replica(input.rest()),
        2 => answers(input.rest()),
        3 => snapshot::fuzz_manifest(input.rest()),
        4 => membership::fuzz_znodes(&mut input),
        _ => requests(input.rest()),
    }
}

/// A message that is written as it was read.
fn decode<M: prost::Message + Default + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<M> {
    let message = M::decode(data).ok()?;
    let again = M::decode(&message.encode_to_vec()[..]);
    assert_eq!(again.as_ref(), Ok(&message));
    Some(message)
}

fn from_master(data: &[u8]) {
    let Some(message) = decode::<proto::FromMaster>(data) else {
        return;
    };
    let Ok(message) = convert::read_from_master(message) else {
        return;
    };
    if let Message::Entries(entries) = &message {
        follow_each_other(entries);
    }
    let written = convert::from_master(message.clone()).expect("a master said it");
    assert_eq!(convert::read_from_master(written), Ok(message));
}

fn follow_each_other(entries: &Entries) {
    let mut previous = entries.previous;
    for entry in &entries.entries {
        assert_eq!(
            Some(entry.position.sequence.0),
            previous.sequence.0.checked_add(1)
        );
        assert!(entry.position.epoch >= previous.epoch);
        previous = entry.position;
    }
}

fn from_replica(data: &[u8]) {
    let Some(message) = decode::<proto::FromReplica>(data) else {
        return;
    };
    if let Ok(Message::Appended(appended)) = service::appended(&message) {
        let written = convert::appended(appended);
        assert_eq!(service::appended(&written), Ok(Message::Appended(appended)));
    }
    let Some(proto::from_replica::Kind::Hello(hello)) = message.kind else {
        return;
    };
    let sender = hello.sender.clone().unwrap_or_default();
    let Ok(hello) = convert::read_hello(hello) else {
        return;
    };
    let rises = |pair: &[replicamq_quorum::EpochStart]| match pair {
        [before, after] => before.epoch < after.epoch && before.first < after.first,
        _ => true,
    };
    assert!(hello.history.starts().windows(2).all(rises));
    let Some(proto::from_replica::Kind::Hello(written)) = convert::hello(sender, &hello).kind
    else {
        panic!("a hello is written as one");
    };
    assert_eq!(convert::read_hello(written), Ok(hello));
}

/// Each message of the other kind is refused or read as one of its own, never worse.
fn answers(data: &[u8]) {
    let sender = proto::Sender::default();
    if let Some(response) = decode::<proto::AskResponse>(data)
        && let Ok(answer) = convert::read_ask_answer(response)
    {
        let written = convert::ask_answer(sender.clone(), answer.clone());
        assert_eq!(convert::read_ask_answer(written), Ok(answer));
    }
    if let Some(response) = decode::<proto::PromiseResponse>(data)
        && let Ok(answer) = convert::read_promise_answer(response)
    {
        let written = convert::promise_answer(sender, answer.clone());
        assert_eq!(convert::read_promise_answer(written), Ok(answer));
    }
}

fn requests(data: &[u8]) {
    drop(decode::<proto::AskRequest>(data));
    drop(decode::<proto::PromiseRequest>(data));
    drop(decode::<proto::SnapshotRequest>(data));
    drop(decode::<proto::SnapshotChunk>(data));
}

/// JSON that is written as it was read.
pub(crate) fn json<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("and read again");
    assert_eq!(
        serde_json::to_vec(&again).expect("what was read can be written"),
        written
    );
    Some(value)
}
