//! One shipped log, with its notes, on one simulated disk: appended to, cut, trimmed and
//! rolled, killed in any change, its power lost, its syncs refused, its disk full or damaged.
//!
//! After every start the log is held against a list. What was reported as synced is there, in
//! order and bit for bit; nothing is there that was not given; a cut is done or not; a promise
//! and a fill outlive what they were told for. Damage is reported where there is some, with
//! its place, and only there. Starts themselves are interrupted too.

mod act;
mod expected;
mod harm;
mod start;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use replicamq_log::{Disk, DiskError, Fill, Log, LogError, LogOptions, Notes};
use replicamq_quorum::{Entry, EpochHistory, Position};

use crate::checkers::Violation;
use crate::files::{self, DIRECTORY};
use crate::platter::{Platter, Told};
use crate::random::Random;
use crate::recovery::expected::Expected;

/// What a run does, in steps.
const STEPS: (u64, u64) = (8, 60);
/// Shares of a million have names of their own where they are drawn; a half is said often.
const HALF: u32 = 500_000;

/// What became of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Of the run.
    pub seed: u64,
    /// What was broken first.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub figures: Figures,
    /// A number that stands for all that happened.
    pub hash: u64,
    /// The history, where it was asked for.
    pub lines: Vec<String>,
}

/// What happened how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Entries that were given to the log.
    pub entries: u64,
    /// Cuts, promises and other orders.
    pub orders: u64,
    /// Starts that came to an end.
    pub starts: u64,
    /// Starts that did not.
    pub interrupted: u64,
    /// Processes that died, with the power or without.
    pub deaths: u64,
    /// Faults of the disk that came to pass.
    pub told: Told,
    /// Flipped bits, truncated and missing files.
    pub harms: u64,
    /// Damage that was found.
    pub found: u64,
}

/// Why a step did not come to its end.
#[derive(Debug)]
enum Stop {
    /// The process died, or had to.
    Died(String),
    Broken(Violation),
    /// Nothing more can be learned from this disk.
    Over,
}

type Step<T> = Result<T, Stop>;

fn broken<T>(checker: &'static str, text: impl Into<String>) -> Step<T> {
    let text = text.into();
    Err(Stop::Broken(Violation { checker, text }))
}

impl From<DiskError> for Stop {
    fn from(error: DiskError) -> Self {
        if Platter::caused(&error.error) {
            Self::Died(error.to_string())
        } else {
            Self::Broken(Violation {
                checker: "disk errors",
                text: error.to_string(),
            })
        }
    }
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Disk(error) => error.into(),
            other => Self::Broken(Violation {
                checker: "refused",
                text: other.to_string(),
            }),
        }
    }
}

/// A process on its machine.
struct Rig {
    random: Random,
    platter: Platter,
    segment_bytes: u64,
    retention_bytes: u64,
    notes: Option<Notes>,
    log: Option<Log>,
    expected: Expected,
    figures: Figures,
    hash: u64,
    lines: Option<Vec<String>>,
}

/// One run.
#[must_use]
pub fn endure(seed: u64, text: bool) -> Outcome {
    let mut random = Random::new(seed);
    let platter = Platter::new(Random::new(random.number()));
    let mut rig = Rig {
        segment_bytes: random.pick(&[8 << 10, 12 << 10, 16 << 10]),
        retention_bytes: random.pick(&[0, 16 << 10, 32 << 10]),
        random,
        platter,
        notes: None,
        log: None,
        expected: Expected::default(),
        figures: Figures::default(),
        hash: seed,
        lines: text.then(Vec::new),
    };
    let violation = match rig.run() {
        Err(Stop::Broken(violation)) => Some(violation),
        Ok(()) | Err(Stop::Over | Stop::Died(_)) => None,
    };
    rig.figures.told = rig.platter.told();
    Outcome {
        seed,
        violation,
        figures: rig.figures,
        hash: rig.hash,
        lines: rig.lines.unwrap_or_default(),
    }
}

/// What a person needs to see of a seed that failed.
#[must_use]
pub fn report(seed: u64) -> String {
    let outcome = endure(seed, true);
    let mut report = outcome.lines.join("\n");
    match outcome.violation {
        Some(Violation { checker, text }) => {
            write!(report, "\n\nseed {seed} broke \"{checker}\": {text}")
        }
        None => write!(report, "\n\nseed {seed} holds"),
    }
    .expect("a string takes all");
    report.push('\n');
    report
}

impl Rig {
    fn run(&mut self) -> Step<()> {
        self.make()?;
        for _ in 0..self.random.between(STEPS) {
            match self.act() {
                Ok(()) => {}
                Err(Stop::Died(why)) => self.die(&why)?,
                Err(stop) => return Err(stop),
            }
        }
        self.die("the end")
    }

    /// A directory that is just made, on a disk that is well.
    fn make(&mut self) -> Step<()> {
        let fill = self.random.pick(&[Fill::Filled, Fill::Unfilled]);
        let options = self.options(1);
        let log = Log::create(options, Position::default(), EpochHistory::default())?;
        Notes::create(&self.platter, Path::new(DIRECTORY), fill)?;
        self.expected.fill.set(fill);
        self.notes = match Notes::open(self.disk(), Path::new(DIRECTORY)) {
            Ok(notes) => notes,
            Err(error) => return broken("notes", error.to_string()),
        };
        self.log = Some(log);
        Ok(())
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.platter.clone())
    }

    fn options(&self, generation: u64) -> LogOptions {
        files::options(
            &self.platter,
            generation,
            self.segment_bytes,
            self.retention_bytes,
        )
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("the process lives")
    }

    fn notes(&self) -> &Notes {
        self.notes.as_ref().expect("the process lives")
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(text());
        }
    }

    fn fold(&mut self, number: u64) {
        self.hash = (self.hash ^ number)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(5);
    }
}

/// The one entry that can stand there: who writes the same place again writes the same.
fn entry(position: Position) -> Entry {
    let mixed = (position.epoch.0 << 32 | position.sequence.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let bytes = match mixed >> 60 {
        0 => mixed >> 20 & 0x3fff,
        1..=3 => mixed >> 20 & 0x7ff,
        _ => mixed >> 20 & 0xff,
    };
    let byte = (mixed >> 8 & 0xff) as u8;
    let bytes = usize::try_from(bytes).expect("entries are small");
    Entry {
        position,
        batch: Bytes::from(vec![byte; bytes]),
    }
}
