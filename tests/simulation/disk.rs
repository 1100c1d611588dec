//! The shipped log on a simulated disk, from one seed: what was synced is there after any
//! crash, nothing else is, and what rots is told.
//!
//! `make disk SEEDS=1000000` runs so many, `FROM=5000` from another one on; `make disk
//! SEED=17` shows one seed's history.

use std::time::Duration;

use replicamq_simulation::pace::Since;
use replicamq_simulation::recovery::{Figures, Outcome, endure, report};
use replicamq_simulation::terminal::{number, tell};

/// As many as take a few seconds.
const SEEDS: u64 = 20_000;
/// Failures that are told before a batch gives up; `FAILURES=1` stops at the first.
const FAILURES_MAX: u64 = 20;
/// A batch tells how far it is, this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

#[test]
fn a_seed_gives_one_history() {
    for seed in 0..200 {
        let (first, second) = (endure(seed, true), endure(seed, false));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.figures, second.figures, "seed {seed}");
        assert_eq!(first.lines, endure(seed, true).lines, "seed {seed}");
    }
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = number("SEED") {
        tell(&report(seed));
        assert!(endure(seed, false).violation.is_none(), "seed {seed} fails");
        return;
    }
    let first = number("FROM").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    assert!(seeds > 0, "SEEDS is at least 1");
    let failures_max = number("FAILURES").unwrap_or(FAILURES_MAX);
    let since = Since::now();
    let mut told = Since::now();
    let mut all = Figures::default();
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        let outcome = endure(seed, false);
        add(&mut all, &outcome);
        if let Some(violation) = &outcome.violation {
            failed.push(seed);
            tell(&format!(
                "seed {seed} broke \"{}\": {}\nsee it again: make disk SEED={seed}",
                violation.checker, violation.text
            ));
        }
        if failed.len() as u64 >= failures_max {
            break;
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Since::now();
            tell(&format!(
                "{} of {seeds} seeds, {} failed",
                seed - first + 1,
                failed.len()
            ));
        }
    }
    let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    tell(&format!(
        "{} seeds a second, {} failed: {all:?}",
        seeds * 1_000 / millis.max(1),
        failed.len()
    ));
    if let Some(&seed) = failed.first() {
        panic!("{}\nall that failed: {failed:?}", report(seed));
    }
    if seeds >= SEEDS {
        let Figures {
            deaths,
            interrupted,
            found,
            told,
            ..
        } = all;
        let faults = [
            deaths,
            interrupted,
            found,
            told.failed_syncs,
            told.full,
            told.torn,
        ];
        assert!(
            faults.iter().all(|&count| count > 100),
            "every fault comes to pass: {all:?}"
        );
    }
}

fn add(all: &mut Figures, outcome: &Outcome) {
    let one = outcome.figures;
    all.entries += one.entries;
    all.orders += one.orders;
    all.starts += one.starts;
    all.interrupted += one.interrupted;
    all.deaths += one.deaths;
    all.harms += one.harms;
    all.found += one.found;
    all.told.failed_syncs += one.told.failed_syncs;
    all.told.full += one.told.full;
    all.told.torn += one.told.torn;
}
