//! Every history of a small cluster: no order of messages, syncs, timeouts and crashes within
//! the bounds breaks a promise.
//!
//! `make model` explores larger bounds: `TIMEOUTS=2 CRASHES=1 PROPOSALS=1 BREAKS=1`.

use replicamq_simulation::model::explore::{Explored, explore};
use replicamq_simulation::model::{Bounds, World};
use replicamq_simulation::terminal::{number, tell};

/// More would not fit in memory.
const STATES_MAX: u64 = 3_000_000;
/// As many as take a few seconds: the nearest ones, where there are more.
const STATES_BATCH: u64 = 20_000;
/// States between two lines that tell how far it is.
const PROGRESS_EVERY: u64 = 50_000;

fn see(first: World, bounds: Bounds, states_max: u64) -> Explored {
    let explored = explore(first, states_max, |explored| {
        if explored.states.is_multiple_of(PROGRESS_EVERY) {
            tell(&format!(
                "{} states, {} steps, depth {}",
                explored.states, explored.steps, explored.depth
            ));
        }
    });
    tell(&format!(
        "{bounds:?}: {} states, {} steps, depth {}, everything seen: {}",
        explored.states, explored.steps, explored.depth, explored.whole
    ));
    if let Some((broken, path)) = &explored.broken {
        panic!("{}\nafter {path:#?}", broken.0);
    }
    assert!(
        explored.whole || explored.states == states_max,
        "neither all was seen nor as much as was asked for"
    );
    explored
}

fn bounds(timeouts: u8, crashes: u8, proposals: u8, breaks: u8) -> Bounds {
    Bounds {
        timeouts,
        crashes,
        proposals,
        breaks,
    }
}

/// What it takes to elect a master, in every order; a process may die in the middle of it.
#[test]
fn no_small_election_breaks_a_promise() {
    for (bounds, states_max) in [
        (bounds(1, 0, 0, 0), STATES_MAX),
        (bounds(1, 1, 0, 0), STATES_BATCH),
        (bounds(2, 1, 1, 0), STATES_BATCH),
    ] {
        let first = World::orphaned(bounds).expect("a master that gives up breaks nothing");
        let explored = see(first, bounds, states_max);
        assert!(explored.whole || states_max == STATES_BATCH);
    }
}

#[test]
fn no_small_history_breaks_a_promise() {
    let asked = ["TIMEOUTS", "CRASHES", "PROPOSALS", "BREAKS"].map(number);
    let given = asked.iter().any(Option::is_some);
    let (bounds, states_max) = match asked.map(Option::unwrap_or_default) {
        [timeouts, crashes, proposals, breaks] if given => {
            (bounds(timeouts, crashes, proposals, breaks), STATES_MAX)
        }
        _ => (bounds(1, 0, 1, 0), STATES_MAX),
    };
    let first = World::settled(bounds).expect("a healthy cluster breaks nothing");
    let explored = see(first, bounds, states_max);
    assert!(explored.whole || given);
}
