//! What other nodes say: anything that can be written, often near to what this node knows.

use bytes::Bytes;
use replicamq_fuzzing::Input;

use super::node;
use super::own::Own;
use crate::{
    Appended, AskAnswer, Entries, Entry, Epoch, EpochHistory, EpochStart, Event, Hello, Message,
    NodeId, Position, PromiseAnswer, Role, Sequence,
};

pub(super) fn says(own: &Own, input: &mut Input<'_>) -> Event {
    let from = match (input.below(4), own.quorum.role()) {
        (0, Role::Replica { master, .. }) => master.clone(),
        _ => node(input),
    };
    if input.below(16) == 15 {
        return Event::Unlinked { node: from };
    }
    let message = match input.below(11) {
        0 => Message::Ask,
        1 => Message::AskAnswer(ask_answer(own, input)),
        2 => Message::Promise {
            epoch: epoch(own, input),
        },
        3 => Message::PromiseAnswer(PromiseAnswer {
            refused: refusal(input),
            epoch: epoch(own, input),
            durable: position(own, input),
        }),
        4 => Message::Hello(Hello {
            epoch: epoch(own, input),
            last: position(own, input),
            history: history(own, input),
            unfilled: input.bool(),
        }),
        5 => Message::Appended(Appended {
            epoch: epoch(own, input),
            appended: position(own, input),
            durable: position(own, input),
            applied: Sequence(input.number()),
            stamp_ms: input.number(),
        }),
        6 => Message::Entries(entries(own, input)),
        7 => Message::Truncate {
            epoch: epoch(own, input),
            keep: position(own, input),
        },
        8 => Message::TakeSnapshot {
            epoch: epoch(own, input),
        },
        9 => Message::Lead {
            epoch: epoch(own, input),
        },
        _ => Message::Refused {
            epoch: epoch(own, input),
            reason: "no".to_owned(),
        },
    };
    Event::Received { from, message }
}

/// Mostly one that matters to this node.
fn epoch(own: &Own, input: &mut Input<'_>) -> Epoch {
    let known = own.quorum.known_epoch().0;
    match input.below(6) {
        0 => known,
        1 => Epoch(known.0.saturating_add(1)),
        2 => own.quorum.positions().0.epoch,
        3 | 4 => match own.quorum.role() {
            Role::Electing => known,
            Role::Candidate { epoch }
            | Role::Replica { epoch, .. }
            | Role::Rising { epoch }
            | Role::Master { epoch } => *epoch,
        },
        _ => Epoch(input.number()),
    }
}

fn position(own: &Own, input: &mut Input<'_>) -> Position {
    let (last, durable, committed, _) = own.quorum.positions();
    let near = |sequence: u64, input: &mut Input<'_>| {
        let less = u64::from(input.byte() % 12);
        Sequence(sequence.saturating_add(3).saturating_sub(less))
    };
    match input.below(7) {
        0 => last,
        1 => durable,
        2 => Position {
            epoch: last.epoch,
            sequence: near(last.sequence.0, input),
        },
        3 => Position {
            epoch: epoch(own, input),
            sequence: near(committed.0, input),
        },
        4 => own.quorum.held(),
        5 => Position::default(),
        _ => Position::new(input.number(), input.number()),
    }
}

fn refusal(input: &mut Input<'_>) -> Option<String> {
    (input.below(4) == 3).then(|| "no".to_owned())
}

fn ask_answer(own: &Own, input: &mut Input<'_>) -> AskAnswer {
    let rank = i64::from_ne_bytes(input.number().to_ne_bytes());
    AskAnswer {
        unwilling: refusal(input),
        promised: epoch(own, input),
        durable: position(own, input),
        weight: input.number_u32(),
        rank: if input.bool() { i64::MIN } else { rank },
        master: (input.below(4) == 3).then(|| -> (NodeId, Epoch) {
            let master = node(input);
            (master, epoch(own, input))
        }),
    }
}

/// Rising, as those that are decoded are.
fn history(own: &Own, input: &mut Input<'_>) -> EpochHistory {
    let mut starts = Vec::new();
    for _ in 0..input.below(4) {
        starts.push(EpochStart {
            epoch: epoch(own, input),
            first: position(own, input).sequence,
        });
    }
    EpochHistory::new(starts).unwrap_or_default()
}

/// Mostly such as follow what this node has.
fn entries(own: &Own, input: &mut Input<'_>) -> Entries {
    let of = epoch(own, input);
    let previous = position(own, input);
    let mut entries = Vec::new();
    let mut at = previous;
    for _ in 0..input.below(4) {
        at = Position {
            epoch: match input.below(3) {
                0 => at.epoch,
                1 => of,
                _ => epoch(own, input),
            },
            sequence: Sequence(at.sequence.0.wrapping_add(u64::from(input.below(8) != 7))),
        };
        entries.push(Entry {
            position: at,
            batch: Bytes::copy_from_slice(input.bytes()),
        });
    }
    Entries {
        epoch: of,
        previous,
        entries,
        committed: position(own, input).sequence,
        stamp_ms: input.number(),
    }
}
