//! One fault after another: begun, held, healed, and what the cluster made of it.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use replicamq_harness::cluster::not_tested;
use replicamq_harness::wait::{self, Since};

use crate::kinds::{ALL, Kind, Served};
use crate::world::{Choice, Roles, World};

/// While a fault lasts that leaves a quorum, on a busy machine.
const SERVED_WITHIN: Duration = Duration::from_secs(15);

/// After the heal.
const SERVED_AGAIN_WITHIN: Duration = Duration::from_secs(30);
const LEVEL_WITHIN: Duration = Duration::from_mins(1);
const SETTLED_WITHIN: Duration = Duration::from_mins(1);

/// Of the faults of a long run, so many come before the last one is overcome.
const HASTE: f64 = 0.25;

/// Acknowledged sends that tell that clients are served.
const SERVED: u64 = 50;

/// One fault, and what chance decides of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) kind: Kind,
    pub(crate) hold: Duration,
    /// Whether it is held until clients are served in spite of it, where they can be.
    pub(crate) waits: bool,
    /// Whether the next one comes before the cluster is level again, where it may.
    pub(crate) hasty: bool,
    pub(crate) choice: Choice,
}

impl Round {
    /// One that a test asks for.
    pub(crate) fn of(kind: Kind, hold: Duration) -> Self {
        let choice = Choice {
            replica: 0,
            percent: 10,
            hurt: 0,
        };
        Self {
            kind,
            hold,
            waits: true,
            hasty: false,
            choice,
        }
    }
}

/// What the cluster made of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    /// The longest time without an acknowledged send: since the fault began, or since its
    /// heal where nobody can be served before. It says nothing in haste.
    pub(crate) interruption: Option<Duration>,
    /// From the heal until all three nodes miss nothing, if that was waited for.
    pub(crate) level: Option<Duration>,
    pub(crate) elections: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(interruption) = self.interruption {
            write!(formatter, "clients waited {interruption:.1?}, ")?;
        }
        if let Some(level) = self.level {
            write!(formatter, "level after {level:.1?}, ")?;
        }
        write!(formatter, "elections {}", self.elections)
    }
}

/// All rounds of a run, from one seed.
#[derive(Debug)]
pub(crate) struct Rounds {
    random: StdRng,
    /// What chance chooses from.
    kinds: Vec<Kind>,
    /// Each kind once, where the run is short.
    once: Option<Vec<Kind>>,
    longest: Duration,
}

impl Rounds {
    /// Each of these kinds once, in an order of chance, and shortly.
    pub(crate) fn each_once(seed: u64, kinds: &[Kind]) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut once = kinds.to_vec();
        once.shuffle(&mut random);
        Self {
            random,
            kinds: Vec::new(),
            once: Some(once),
            longest: Duration::from_millis(2500),
        }
    }

    /// These kinds for ever.
    pub(crate) fn endless(seed: u64, kinds: &[Kind]) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            kinds: kinds.to_vec(),
            once: None,
            longest: Duration::from_secs(10),
        }
    }
}

impl Iterator for Rounds {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let kind = match &mut self.once {
            Some(once) => once.pop()?,
            None => *self.kinds.choose(&mut self.random)?,
        };
        let longest = u64::try_from(self.longest.as_millis()).expect("it is short");
        // Always the same draws, so that the next round does not depend on the kind.
        let hold = self.random.random_range(1000..=longest);
        Some(Round {
            kind,
            hold: Duration::from_millis(hold),
            waits: self.random.random_bool(0.5),
            hasty: self.random.random_bool(HASTE) && self.once.is_none(),
            choice: Choice {
                replica: self.random.random_range(0..2),
                percent: self.random.random_range(5..=30),
                hurt: self.random.random_range(0..64),
            },
        })
    }
}

/// The kinds that can be had here, of all or of the one that is asked for; says what is left out.
pub(crate) fn possible(world: &World, wanted: Option<Kind>) -> Vec<Kind> {
    let kinds = ALL.iter().map(|facts| facts.kind);
    let kinds = kinds.filter(|kind| wanted.is_none_or(|wanted| wanted == *kind));
    let possible = kinds.filter(|kind| match world.lacks(*kind) {
        Some(why) => {
            not_tested(&format!("{}: {why}", kind.name()));
            false
        }
        None => true,
    });
    possible.collect()
}

impl World {
    /// Plays a round to its end.
    pub(crate) fn play(&mut self, round: Round) -> Result<Outcome, String> {
        self.play_and_look(round, |_, _| Ok(()))
    }

    /// The same, with a look at the cluster at the end of the fault, before it is healed.
    pub(crate) fn play_and_look(
        &mut self,
        round: Round,
        look: impl FnOnce(&Self, Roles) -> Result<(), String>,
    ) -> Result<Outcome, String> {
        let facts = round.kind.facts();
        if !round.kind.spares_disks() {
            self.level()?;
        }
        let in_haste = std::mem::take(&mut self.in_haste);
        let epoch = self.cluster.epoch();
        let stalls = self.watch.stalls();
        let roles = self.roles(round.choice);
        self.load.arm();
        // Who was not told that a client is gone goes on delivering to it.
        self.load.overlap(round.kind == Kind::ResetClients);
        self.hurt(round.kind, roles, round.choice);
        let served = facts.served == Served::During && round.waits && !in_haste;
        if served && !self.load.goes_on(SERVED, SERVED_WITHIN) {
            return Err(format!(
                "nobody is served for {SERVED_WITHIN:?} of the fault"
            ));
        }
        wait::pause(round.hold);
        look(self, roles)?;
        if facts.served == Served::After {
            self.load.arm();
        }
        let mut healed = Since::now();
        self.heal(round.kind, roles);
        if round.kind == Kind::KillZooKeeperAndMaster {
            // The start of a Java process is not the cluster's.
            self.load.arm();
            healed = Since::now();
        }
        if !self.load.goes_on(SERVED, SERVED_AGAIN_WITHIN) {
            return Err(format!(
                "nobody is served for {SERVED_AGAIN_WITHIN:?} after the heal"
            ));
        }
        // Clients that overlap have to settle first.
        let may = round.kind.spares_disks() && round.kind != Kind::ResetClients;
        self.in_haste = round.hasty && may;
        let level = (!self.in_haste).then(|| self.level().map(|()| healed.elapsed()));
        let level = level.transpose()?;
        let interruption = self.load.interruption();
        if !self.in_haste {
            self.load.settles(SETTLED_WITHIN)?;
            self.load.overlap(false);
        }
        let elections = self.cluster.epoch() - epoch;
        let most = facts.elections_max + (self.watch.stalls() - stalls);
        if elections > most && !in_haste {
            return Err(format!("{elections} elections, where {most} are the most"));
        }
        Ok(Outcome {
            kind: round.kind,
            interruption: (!in_haste).then_some(interruption),
            level,
            elections,
        })
    }

    /// Waits until all three miss nothing.
    pub(crate) fn level(&mut self) -> Result<(), String> {
        self.in_haste = false;
        let level = wait::within(LEVEL_WITHIN, || self.cluster.is_complete());
        level.ok_or_else(|| format!("not level within {LEVEL_WITHIN:?} of the heal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_rounds_again() {
        let all: Vec<Kind> = ALL.iter().map(|facts| facts.kind).collect();
        let rounds = |seed| {
            let rounds = Rounds::endless(seed, &all).take(50);
            rounds.map(|round| format!("{round:?}")).collect::<Vec<_>>()
        };
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
        let mut once: Vec<Kind> = Rounds::each_once(7, &all).map(|round| round.kind).collect();
        once.sort();
        assert_eq!(once.len(), all.len());
        once.dedup();
        assert_eq!(once.len(), all.len());
    }
}
