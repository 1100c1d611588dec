//! Between the words of the quorum and the words on the wire.
//!
//! What comes from the wire is checked here, once: the rest of the node only
//! sees values whose invariants hold. Batches are never copied.

use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{
    Appended, AskAnswer, Entries, Entry, Epoch, EpochHistory, EpochStart, Hello, Message, NodeId,
    Position, PromiseAnswer, Sequence,
};

/// What was wrong with a message from another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something that comes once came again.
    #[error("a second {0}")]
    Repeated(&'static str),
    /// Epochs and sequences of a history do not rise.
    #[error("the epoch history does not rise")]
    History,
    /// Entries that do not follow one another.
    #[error("entry {found} follows {previous}")]
    Gap {
        /// The entry before.
        previous: Position,
        /// What came.
        found: Position,
    },
}

pub(crate) fn position(position: Position) -> wire::Position {
    wire::Position {
        epoch: position.epoch.0,
        sequence: position.sequence.0,
    }
}

fn read_position(
    position: Option<wire::Position>,
    name: &'static str,
) -> Result<Position, Malformed> {
    let position = position.ok_or(Malformed::Missing(name))?;
    Ok(Position::new(position.epoch, position.sequence))
}

pub(crate) fn history(history: &EpochHistory) -> Vec<wire::EpochStart> {
    let start = |start: &EpochStart| wire::EpochStart {
        epoch: start.epoch.0,
        first_sequence: start.first.0,
    };
    history.starts().iter().map(start).collect()
}

pub(crate) fn read_history(starts: Vec<wire::EpochStart>) -> Result<EpochHistory, Malformed> {
    let start = |start: wire::EpochStart| EpochStart {
        epoch: Epoch(start.epoch),
        first: Sequence(start.first_sequence),
    };
    EpochHistory::new(starts.into_iter().map(start).collect()).ok_or(Malformed::History)
}

pub(crate) fn ask_answer(sender: wire::Sender, answer: AskAnswer) -> wire::AskResponse {
    let (master, master_epoch) = match answer.master {
        Some((node, epoch)) => (node.as_str().to_owned(), epoch.0),
        None => (String::new(), 0),
    };
    wire::AskResponse {
        sender: Some(sender),
        willing: answer.unwilling.is_none(),
        reason: answer.unwilling.unwrap_or_default(),
        promised: answer.promised.0,
        durable: Some(position(answer.durable)),
        weight: answer.weight,
        rank: answer.rank,
        master,
        master_epoch,
    }
}

pub(crate) fn read_ask_answer(response: wire::AskResponse) -> Result<AskAnswer, Malformed> {
    let master = (!response.master.is_empty()).then(|| {
        let epoch = Epoch(response.master_epoch);
        (NodeId::new(&response.master), epoch)
    });
    Ok(AskAnswer {
        unwilling: (!response.willing).then_some(response.reason),
        promised: Epoch(response.promised),
        durable: read_position(response.durable, "durable")?,
        weight: response.weight,
        rank: response.rank,
        master,
    })
}

pub(crate) fn promise_answer(sender: wire::Sender, answer: PromiseAnswer) -> wire::PromiseResponse {
    wire::PromiseResponse {
        sender: Some(sender),
        promised: answer.refused.is_none(),
        reason: answer.refused.unwrap_or_default(),
        epoch: answer.epoch.0,
        durable: Some(position(answer.durable)),
    }
}

pub(crate) fn read_promise_answer(
    response: wire::PromiseResponse,
) -> Result<PromiseAnswer, Malformed> {
    Ok(PromiseAnswer {
        refused: (!response.promised).then_some(response.reason),
        epoch: Epoch(response.epoch),
        durable: read_position(response.durable, "durable")?,
    })
}

pub(crate) fn hello(sender: wire::Sender, hello: &Hello) -> wire::FromReplica {
    let hello = wire::Hello {
        sender: Some(sender),
        epoch: hello.epoch.0,
        last: Some(position(hello.last)),
        history: history(&hello.history),
        unfilled: hello.unfilled,
    };
    wire::FromReplica {
        kind: Some(wire::from_replica::Kind::Hello(hello)),
    }
}

pub(crate) fn read_hello(hello: wire::Hello) -> Result<Hello, Malformed> {
    Ok(Hello {
        epoch: Epoch(hello.epoch),
        last: read_position(hello.last, "last")?,
        history: read_history(hello.history)?,
        unfilled: hello.unfilled,
    })
}

pub(crate) fn appended(appended: Appended) -> wire::FromReplica {
    let appended = wire::Appended {
        epoch: appended.epoch.0,
        appended: Some(position(appended.appended)),
        durable: Some(position(appended.durable)),
        applied: appended.applied.0,
        stamp_ms: appended.stamp_ms,
    };
    wire::FromReplica {
        kind: Some(wire::from_replica::Kind::Appended(appended)),
    }
}

pub(crate) fn read_appended(appended: wire::Appended) -> Result<Appended, Malformed> {
    Ok(Appended {
        epoch: Epoch(appended.epoch),
        appended: read_position(appended.appended, "appended")?,
        durable: read_position(appended.durable, "durable")?,
        applied: Sequence(appended.applied),
        stamp_ms: appended.stamp_ms,
    })
}

/// What a master says on a replica's stream; `None` for a message that does not belong there.
pub(crate) fn from_master(message: Message) -> Option<wire::FromMaster> {
    use wire::from_master::Kind;
    let kind = match message {
        Message::Entries(entries) => Kind::Entries(wire::Entries {
            epoch: entries.epoch.0,
            previous: Some(position(entries.previous)),
            entries: entries.entries.into_iter().map(entry).collect(),
            committed: entries.committed.0,
            stamp_ms: entries.stamp_ms,
        }),
        Message::Truncate { epoch, keep } => Kind::Truncate(wire::Truncate {
            epoch: epoch.0,
            keep: Some(position(keep)),
        }),
        Message::TakeSnapshot { epoch } => {
            Kind::TakeSnapshot(wire::TakeSnapshot { epoch: epoch.0 })
        }
        Message::Refused { epoch, reason } => Kind::Refused(wire::Refused {
            epoch: epoch.0,
            reason,
        }),
        Message::Lead { epoch } => Kind::Lead(wire::Lead { epoch: epoch.0 }),
        Message::Ask
        | Message::AskAnswer(_)
        | Message::Promise { .. }
        | Message::PromiseAnswer(_)
        | Message::Hello(_)
        | Message::Appended(_) => return None,
    };
    Some(wire::FromMaster { kind: Some(kind) })
}

fn entry(entry: Entry) -> wire::Entry {
    wire::Entry {
        position: Some(position(entry.position)),
        batch: entry.batch,
    }
}

pub(crate) fn read_from_master(message: wire::FromMaster) -> Result<Message, Malformed> {
    use wire::from_master::Kind;
    Ok(match message.kind.ok_or(Malformed::Missing("kind"))? {
        Kind::Entries(entries) => Message::Entries(read_entries(entries)?),
        Kind::Truncate(truncate) => Message::Truncate {
            epoch: Epoch(truncate.epoch),
            keep: read_position(truncate.keep, "keep")?,
        },
        Kind::TakeSnapshot(take) => Message::TakeSnapshot {
            epoch: Epoch(take.epoch),
        },
        Kind::Refused(refused) => Message::Refused {
            epoch: Epoch(refused.epoch),
            reason: refused.reason,
        },
        Kind::Lead(lead) => Message::Lead {
            epoch: Epoch(lead.epoch),
        },
    })
}

fn read_entries(entries: wire::Entries) -> Result<Entries, Malformed> {
    let first = read_position(entries.previous, "previous")?;
    let mut previous = first;
    let mut read = Vec::with_capacity(entries.entries.len());
    for entry in entries.entries {
        let found = read_position(entry.position, "position")?;
        if found.epoch < previous.epoch
            || previous.sequence.0.checked_add(1) != Some(found.sequence.0)
        {
            return Err(Malformed::Gap { previous, found });
        }
        previous = found;
        read.push(Entry {
            position: found,
            batch: entry.batch,
        });
    }
    Ok(Entries {
        epoch: Epoch(entries.epoch),
        previous: first,
        entries: read,
        committed: Sequence(entries.committed),
        stamp_ms: entries.stamp_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entries(positions: &[(u64, u64)]) -> Message {
        let entry = |&(epoch, sequence): &(u64, u64)| Entry {
            position: Position::new(epoch, sequence),
            batch: Bytes::from_static(b"batch"),
        };
        Message::Entries(Entries {
            epoch: Epoch(4),
            previous: Position::new(2, 6),
            entries: positions.iter().map(entry).collect(),
            committed: Sequence(6),
            stamp_ms: 17,
        })
    }

    #[test]
    fn what_a_master_says_survives_the_wire() {
        let messages = [
            entries(&[(2, 7), (3, 8), (4, 9)]),
            entries(&[]),
            Message::Truncate {
                epoch: Epoch(4),
                keep: Position::new(1, 3),
            },
            Message::TakeSnapshot { epoch: Epoch(4) },
            Message::Refused {
                epoch: Epoch(9),
                reason: "a later epoch".to_owned(),
            },
            Message::Lead { epoch: Epoch(4) },
        ];
        for message in messages {
            let sent = from_master(message.clone()).unwrap();
            assert_eq!(read_from_master(sent), Ok(message));
        }
    }

    #[test]
    fn a_gap_or_an_epoch_that_falls_is_refused() {
        for bad in [
            &[(2, 8)][..],
            &[(2, 7), (2, 9)],
            &[(1, 7)],
            &[(3, 7), (2, 8)],
            &[(2, 6)],
        ] {
            let sent = from_master(entries(bad)).unwrap();
            assert!(
                matches!(read_from_master(sent), Err(Malformed::Gap { .. })),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_hello_survives_the_wire_and_a_falling_history_does_not() {
        let start = |epoch, first| wire::EpochStart {
            epoch,
            first_sequence: first,
        };
        let sent = Hello {
            epoch: Epoch(3),
            last: Position::new(3, 12),
            history: read_history(vec![start(1, 1), start(3, 10)]).unwrap(),
            unfilled: true,
        };
        let wire::from_replica::Kind::Hello(mut wired) =
            hello(wire::Sender::default(), &sent).kind.unwrap()
        else {
            panic!("not a hello");
        };
        assert_eq!(read_hello(wired.clone()), Ok(sent));
        wired.history.reverse();
        assert_eq!(read_hello(wired), Err(Malformed::History));
    }

    #[test]
    fn answers_survive_the_wire() {
        let answers = [None, Some("a master is heard".to_owned())];
        for unwilling in answers {
            let answer = AskAnswer {
                master: unwilling.as_ref().map(|_| (NodeId::new("a"), Epoch(2))),
                unwilling: unwilling.clone(),
                promised: Epoch(2),
                durable: Position::new(2, 5),
                weight: 1,
                rank: 3,
            };
            let wired = ask_answer(wire::Sender::default(), answer.clone());
            assert_eq!(read_ask_answer(wired), Ok(answer));
            let answer = PromiseAnswer {
                refused: unwilling,
                epoch: Epoch(8),
                durable: Position::new(2, 5),
            };
            let wired = promise_answer(wire::Sender::default(), answer.clone());
            assert_eq!(read_promise_answer(wired), Ok(answer));
        }
    }

    #[test]
    fn progress_survives_the_wire_and_needs_its_positions() {
        let sent = Appended {
            epoch: Epoch(2),
            appended: Position::new(2, 9),
            durable: Position::new(2, 8),
            applied: Sequence(7),
            stamp_ms: 40,
        };
        let Some(wire::from_replica::Kind::Appended(mut wired)) = appended(sent).kind else {
            panic!("not progress");
        };
        assert_eq!(read_appended(wired), Ok(sent));
        wired.durable = None;
        assert_eq!(read_appended(wired), Err(Malformed::Missing("durable")));
    }
}
