//! A cluster under faults, from one seed: nothing acknowledged is lost, nobody
//! commits beside the master, and all is well again when the faults stop.
//!
//! `cargo sim` runs a bounded batch; `make sim SEEDS=100000` more of them,
//! `FROM=5000` from another one on; `make sim SEED=17` shows one seed's history.

use std::time::Duration;

use replicamq_simulation::pace::Since;
use replicamq_simulation::plan::{FAULTS, Fault};
use replicamq_simulation::simulation::{Outcome, drill, replay, report, simulate};
use replicamq_simulation::terminal::{number, tell};

/// As many as take a few seconds.
const SEEDS: u64 = 400;
/// Failures that are told before a batch gives up; `FAILURES=1` stops at the first.
const FAILURES_MAX: u64 = 20;
/// Lines of history that a failure shows.
const LINES: usize = 150;
/// A batch tells how far it is, this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

#[test]
fn a_seed_gives_one_history() {
    for seed in 0..8 {
        let (first, second) = (simulate(seed, true), simulate(seed, true));
        assert_eq!(first.lines, second.lines, "seed {seed}");
        assert_eq!(first.hash, second.hash, "seed {seed}");
        let (third, fourth) = (simulate(seed, false), simulate(seed, false));
        assert_eq!(third.hash, fourth.hash, "seed {seed}");
        assert_eq!(third.simulated_us, first.simulated_us, "seed {seed}");
        assert_eq!(third.figures.steps, first.figures.steps, "seed {seed}");
    }
}

#[test]
fn a_healthy_master_is_not_disturbed() {
    for seed in 0..20 {
        for fault in [None, Some(Fault::KillReplica), Some(Fault::CutReplica)] {
            let outcome = drill(seed, fault);
            assert_eq!(outcome.violation, None, "drill {seed} of {fault:?}");
            assert_eq!(outcome.figures.masters, 1, "drill {seed} of {fault:?}");
        }
    }
}

#[test]
fn a_report_says_how_to_see_the_seed_again() {
    assert!(report(3, 1).ends_with("\nsee it again: make sim SEED=3\n"));
}

/// Of drills on ordinary machines, several faults each: the longest outages.
fn outages_ms(fault: Fault) -> Vec<u64> {
    let mut worst: Vec<u64> = (0..40)
        .map(|seed| {
            let outcome = drill(seed, Some(fault));
            assert_eq!(outcome.violation, None, "drill {seed} of {fault:?}");
            assert!(outcome.figures.masters > 2, "drill {seed} of {fault:?}");
            outcome.figures.outage_us_max / 1_000
        })
        .collect();
    worst.sort_unstable();
    tell(&format!(
        "{fault:?}: the longest outage of a drill is {} ms in half of them, {} ms in the worst",
        worst[worst.len() / 2],
        worst[worst.len() - 1]
    ));
    worst
}

/// Its streams reset at once: nobody waits for a session or a lease.
#[test]
fn a_killed_master_costs_clients_less_than_a_second() {
    assert!(outages_ms(Fault::KillMaster).last() < Some(&1_000));
}

/// The successor has everything, and nobody has to notice anything.
#[test]
fn a_master_that_hands_over_costs_clients_less_than_a_fifth_of_a_second() {
    assert!(outages_ms(Fault::Transfer).last() < Some(&200));
}

/// Only its silence tells.
#[test]
fn a_master_cut_off_costs_clients_less_than_two_seconds() {
    assert!(outages_ms(Fault::CutMaster).last() < Some(&2_000));
}

/// It hears a quorum, which sees nothing wrong: only its own clock tells.
#[test]
fn a_master_whose_disk_hangs_costs_clients_less_than_four_seconds() {
    assert!(outages_ms(Fault::HungMaster).last() < Some(&4_000));
}

/// The others would have it stand, and it cannot: a quorum without it is enough.
#[test]
fn a_replica_whose_disk_hangs_costs_clients_less_than_four_seconds() {
    assert!(outages_ms(Fault::HungReplica).last() < Some(&4_000));
}

/// It says that it would promise, and would stand before the other, but does not. Where its
/// log ends later, nobody else may lead before one of them comes back: so not in the worst case.
#[test]
fn a_replica_without_zookeeper_is_not_waited_for() {
    let outages_ms = outages_ms(Fault::DeafReplica);
    assert!(outages_ms[outages_ms.len() / 2] < 4_000);
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = number("SEED") {
        let lines = number("LINES").unwrap_or(usize::MAX);
        tell(&report(seed, lines));
        assert!(
            simulate(seed, false).violation.is_none(),
            "seed {seed} fails"
        );
        return;
    }
    let first = number("FROM").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    assert!(seeds > 0, "SEEDS is at least 1");
    let failures_max = number("FAILURES").unwrap_or(FAILURES_MAX);
    let mut batch = Batch::new();
    let mut told = Since::now();
    for seed in first..first + seeds {
        batch.add(&simulate(seed, false));
        if batch.failed.len() as u64 >= failures_max {
            break;
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Since::now();
            tell(&format!("of {seeds} seeds from {first} on, {batch}"));
        }
    }
    tell(&batch.to_string());
    tell(&batch.faults_by_kind());
    if let Some(&seed) = batch.failed.first() {
        panic!(
            "{}\nall that failed: {:?}",
            report(seed, LINES),
            batch.failed
        );
    }
}

/// What a batch of seeds came to.
#[derive(Debug)]
struct Batch {
    since: Since,
    seeds: u64,
    failed: Vec<u64>,
    steps: u64,
    sends: u64,
    consumes: u64,
    faults: [u64; FAULTS.len()],
    masters: u64,
    installs: u64,
    parted: u64,
    simulated_us: u64,
    served_us_max: u64,
    recovered_us_max: u64,
}

impl Batch {
    fn new() -> Self {
        Self {
            since: Since::now(),
            seeds: 0,
            failed: Vec::new(),
            steps: 0,
            sends: 0,
            consumes: 0,
            faults: [0; FAULTS.len()],
            masters: 0,
            installs: 0,
            parted: 0,
            simulated_us: 0,
            served_us_max: 0,
            recovered_us_max: 0,
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        let figures = outcome.figures;
        self.seeds += 1;
        self.steps += figures.steps;
        self.sends += figures.sends;
        self.consumes += figures.consumes;
        for (sum, count) in self.faults.iter_mut().zip(figures.faults) {
            *sum += count;
        }
        self.masters += figures.masters;
        self.installs += figures.installs;
        self.parted += u64::from(figures.parted);
        self.simulated_us += outcome.simulated_us;
        self.served_us_max = self.served_us_max.max(figures.served_us);
        self.recovered_us_max = self.recovered_us_max.max(figures.recovered_us);
        if let Some(violation) = &outcome.violation {
            self.failed.push(outcome.seed);
            tell(&format!(
                "seed {} broke \"{}\": {}\n{}",
                outcome.seed,
                violation.checker,
                violation.text,
                replay(outcome.seed)
            ));
        }
    }
}

impl Batch {
    /// What was done, and how often.
    fn faults_by_kind(&self) -> String {
        let kinds = FAULTS.iter().zip(self.faults);
        let kinds: Vec<String> = kinds
            .map(|(kind, count)| format!("{kind:?} {count}"))
            .collect();
        format!(
            "faults by kind: {}; in local_* modes {} runs lost what no quorum had",
            kinds.join(", "),
            self.parted
        )
    }
}

impl std::fmt::Display for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        write!(
            f,
            "{} seeds, {} failed: {} steps, {} acknowledged sends and {} consumes ({} a minute), {} faults, {} masters, {} checkpoints, \
             {} simulated minutes; after the faults served again within {} ms, all level within {} ms",
            self.seeds,
            self.failed.len(),
            self.steps,
            self.sends,
            self.consumes,
            (self.sends + self.consumes) * 60_000 / millis.max(1),
            self.faults.iter().sum::<u64>(),
            self.masters,
            self.installs,
            self.simulated_us / 60_000_000,
            self.served_us_max / 1_000,
            self.recovered_us_max / 1_000
        )
    }
}
