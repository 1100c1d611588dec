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
mod world;

use std::fs;
use std::time::Duration;

use replicamq_harness::cluster::say;
use replicamq_harness::wait::Since;

use crate::kinds::Kind;
use crate::report::Report;
use crate::rounds::{Round, Rounds, possible};
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
    let seed = number("SEED").unwrap_or_else(rand::random);
    let fault = given("FAULT");
    let wanted = fault.map(|name| {
        Kind::named(&name).unwrap_or_else(|| panic!("FAULT={name} is no kind of fault"))
    });
    let time = number("MINUTES").map(|minutes| Duration::from_secs(minutes * 60));
    let Some(mut world) = World::start() else {
        assert!(time.is_none(), "what was asked for cannot be had here");
        return;
    };
    let kinds = possible(&world, wanted);
    assert!(!kinds.is_empty(), "what was asked for cannot be had here");
    say(&format!(
        "seed {seed}: SEED={seed} plays the same rounds again"
    ));
    let rounds = match time {
        Some(_) => Rounds::endless(seed, &kinds),
        None => Rounds::each_once(seed, &kinds),
    };
    let since = Since::now();
    let mut report = Report::default();
    for (index, round) in rounds.enumerate() {
        if time.is_some_and(|time| since.elapsed() >= time) {
            break;
        }
        let Round { kind, hold, .. } = round;
        let name = kind.facts().name;
        say(&format!(
            "{:>5} s  round {index}: {name} for {hold:?}, {}{}{:?}",
            since.elapsed().as_secs(),
            if round.waits { "waits, " } else { "" },
            if round.hasty { "hasty, " } else { "" },
            round.choice,
        ));
        match world.play(round) {
            Ok(outcome) => {
                say(&format!("         {outcome}"));
                report.add(outcome);
            }
            Err(why) => {
                let broken = world.load.broken();
                panic!("SEED={seed}, round {index}, {name}: {why}\n{broken}")
            }
        }
    }
    let counts = world
        .level()
        .and_then(|()| world.finish())
        .unwrap_or_else(|why| panic!("SEED={seed}: {why}"));
    let text = report.text(counts);
    say(&text);
    if let Some(path) = given("REPORT") {
        fs::write(&path, text).unwrap_or_else(|error| panic!("REPORT={path}: {error}"));
    }
}
