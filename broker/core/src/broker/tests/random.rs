//! Random interleavings of clients, commits, reads and failovers, held against
//! what clients were promised:
//!
//! - a message whose receipt came is delivered until its acknowledgement is;
//! - a message whose acknowledgement was receipted never comes again;
//! - first deliveries are in the order of the sends;
//! - every repetition carries the mark;
//! - a send that is repeated with its key is stored once;
//! - memory stays within its bounds and is empty at the end.

use proptest::prelude::*;

use crate::{AcknowledgeMode, Disposition};

mod world;

use world::World;

/// What may happen next. Numbers choose among what exists.
#[derive(Debug, Clone)]
enum Action {
    Send {
        place: usize,
        persistent: bool,
        in_transaction: bool,
        mortal: bool,
    },
    Subscribe {
        connection: usize,
        place: usize,
        mode: AcknowledgeMode,
        credit: u32,
        /// Of a queue: only messages with an odd number, or only those with an even one.
        odd: Option<bool>,
    },
    Unsubscribe {
        connection: usize,
        place: usize,
    },
    Browse {
        connection: usize,
        place: usize,
    },
    Tick {
        milliseconds: u64,
    },
    Disconnect {
        connection: usize,
    },
    Settle {
        connection: usize,
        place: usize,
        index: usize,
        disposition: Disposition,
        in_transaction: bool,
    },
    Commit {
        connection: usize,
    },
    Abort {
        connection: usize,
    },
    Seal,
    CommitEntry,
    Load,
    FailOver {
        survivors: usize,
    },
}

fn mode() -> impl Strategy<Value = AcknowledgeMode> {
    prop_oneof![
        Just(AcknowledgeMode::Auto),
        Just(AcknowledgeMode::Cumulative),
        Just(AcknowledgeMode::Individual),
    ]
}

fn disposition() -> impl Strategy<Value = Disposition> {
    prop_oneof![
        4 => Just(Disposition::Accepted),
        1 => Just(Disposition::Rejected),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => (0..3_usize, prop::bool::weighted(0.8), prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(
            |(place, persistent, in_transaction, mortal)| Action::Send { place, persistent, in_transaction, mortal }
        ),
        1 => (0..2_usize, 0..2_usize).prop_map(
            |(connection, place)| Action::Browse { connection, place }
        ),
        2 => (0..400_u64).prop_map(|milliseconds| Action::Tick { milliseconds }),
        4 => (0..2_usize, 0..4_usize, mode(), 1..8_u32, prop::option::of(any::<bool>())).prop_map(
            |(connection, place, mode, credit, odd)| Action::Subscribe { connection, place, mode, credit, odd }
        ),
        1 => (0..2_usize, 0..4_usize).prop_map(
            |(connection, place)| Action::Unsubscribe { connection, place }
        ),
        1 => (0..2_usize).prop_map(|connection| Action::Disconnect { connection }),
        20 => (0..2_usize, 0..4_usize, 0..8_usize, disposition(), prop::bool::weighted(0.2)).prop_map(
            |(connection, place, index, disposition, in_transaction)| Action::Settle {
                connection, place, index, disposition, in_transaction,
            }
        ),
        2 => (0..3_usize).prop_map(|connection| Action::Commit { connection }),
        1 => (0..3_usize).prop_map(|connection| Action::Abort { connection }),
        10 => Just(Action::Seal),
        10 => Just(Action::CommitEntry),
        10 => Just(Action::Load),
        1 => (0..4_usize).prop_map(|survivors| Action::FailOver { survivors }),
    ]
}

/// A sweep's first answer came to nothing, for a consumer had come. Its next read began behind
/// what that one had had read, and passed for a look at all before it, too.
#[test]
fn what_a_consumer_left_is_not_swept_over() {
    let send = |place, persistent| Action::Send {
        place,
        persistent,
        in_transaction: false,
        mortal: false,
    };
    let subscribe = |place| Action::Subscribe {
        connection: 0,
        place,
        mode: AcknowledgeMode::Auto,
        credit: 1,
        odd: None,
    };
    let mut actions = vec![send(2, false), send(0, true)];
    actions.extend([(); 9].map(|()| send(0, false)));
    actions.extend([send(0, true), send(0, true), send(0, true), send(1, true)]);
    actions.extend([
        Action::FailOver { survivors: 1 },
        Action::Tick { milliseconds: 0 },
        subscribe(0),
        send(0, true),
        subscribe(1),
        Action::Load,
        Action::Unsubscribe {
            connection: 0,
            place: 0,
        },
        Action::Load,
        send(1, true),
        Action::Tick { milliseconds: 100 },
        Action::Seal,
        Action::CommitEntry,
        Action::Load,
        Action::Load,
    ]);
    let mut world = World::new();
    for action in &actions {
        world.act(action);
    }
    world.drain();
    world.judge();
}

proptest! {
    // PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(300)))]

    #[test]
    fn promises_are_kept(actions in prop::collection::vec(action(), 1..400)) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.drain();
        world.judge();
    }
}
