//! One seed, one run: how it ended, and how to see it again.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checkers::Violation;
use crate::plan::{Fault, Plan};
use crate::random::Random;
use crate::world::{Figures, World};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// Of its whole history.
    pub hash: u64,
    /// What was broken.
    pub violation: Option<Violation>,
    /// How it went.
    pub figures: Figures,
    /// Simulated microseconds.
    pub simulated_us: u64,
    /// Its last lines, if they were wanted.
    pub lines: Vec<String>,
}

/// Runs a seed. A panic of the state machine is a violation like any other.
#[must_use]
pub fn simulate(seed: u64, text: bool) -> Outcome {
    run(seed, World::new(seed, text))
}

/// A healthy cluster of three, to which this happens again and again; or nothing.
#[must_use]
pub fn drill(seed: u64, fault: Option<Fault>) -> Outcome {
    let mut random = Random::new(seed);
    let plan = Plan::drill(fault, &mut random);
    run(seed, World::with_plan(plan, random, false))
}

fn run(seed: u64, mut world: World) -> Outcome {
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let mut violation = world.checkers.violation().cloned();
    world.figures.parted = world.checkers.has_parted();
    if let Err(panic) = ended {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default();
        violation = Some(Violation {
            checker: "assertion",
            text,
        });
    }
    Outcome {
        seed,
        hash: world.trace.hash(),
        violation,
        figures: world.figures,
        simulated_us: world.now_us,
        lines: world.trace.lines().map(str::to_owned).collect(),
    }
}

/// What a person needs to see of a seed that failed: the end of its history, and how to replay it.
#[must_use]
pub fn report(seed: u64, lines_max: usize) -> String {
    let outcome = simulate(seed, true);
    let mut report = String::new();
    let skipped = outcome.lines.len().saturating_sub(lines_max);
    for line in outcome.lines.iter().skip(skipped) {
        writeln!(report, "{line}").expect("a string takes all");
    }
    match outcome.violation {
        Some(Violation { checker, text }) => {
            writeln!(report, "\nseed {seed} broke \"{checker}\": {text}")
        }
        None => writeln!(report, "\nseed {seed} holds"),
    }
    .expect("a string takes all");
    writeln!(report, "{}", replay(seed)).expect("a string takes all");
    report
}

/// What to type to see a seed's whole history.
#[must_use]
pub fn replay(seed: u64) -> String {
    format!("see it again: make sim SEED={seed}")
}
