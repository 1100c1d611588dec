//! Real processes on hosts of their own, and everything that may happen to hosts, disks,
//! clocks and the network between them, while clients work and keep a ledger.
//!
//! `make nemesis` runs it for long; without its variables each kind of fault comes once.

mod consumer;
mod disk;
mod kinds;
mod ledger;
mod load;
mod named;
mod producer;
mod report;
mod rounds;
mod run;
mod watch;
mod world;

use crate::kinds::Kind;
use crate::rounds::{Rounds, possible};
use crate::run::{Run, Wish};
use crate::world::World;

/// The value of a variable that an operator may set.
fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let value = given(name)?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

#[test]
fn every_fault_in_an_order_of_chance_costs_nothing_that_was_acknowledged() {
    let named = |name: String| {
        Kind::named(&name).unwrap_or_else(|| panic!("FAULT={name} is no kind of fault"))
    };
    let wish = Wish {
        seed: number("SEED").unwrap_or_else(rand::random),
        fault: given("FAULT").map(named),
        minutes: number("MINUTES"),
    };
    let Some(mut world) = World::start() else {
        let lasting = wish.minutes.is_some();
        assert!(!lasting, "what was asked for cannot be had here");
        return;
    };
    let kinds = possible(&world, wish.fault);
    assert!(!kinds.is_empty(), "what was asked for cannot be had here");
    let rounds = match wish.minutes {
        Some(_) => Rounds::endless(wish.seed, &kinds),
        None => Rounds::each_once(wish.seed, &kinds),
    };
    let mut run = Run::begin(wish, world.cluster.directory().to_owned());
    for (index, round) in rounds.enumerate() {
        if run.is_over() {
            break;
        }
        run.begin_round(index, round);
        match world.play(round) {
            Ok(outcome) => run.end_round(outcome, world.load.counts()),
            Err(why) => panic!("{why}\n{}", world.load.broken()),
        }
    }
    let settled = world.level().and_then(|()| world.finish());
    run.end(settled.unwrap_or_else(|why| panic!("{why}")));
}
