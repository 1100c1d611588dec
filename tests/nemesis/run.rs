//! A run's figures: told now and then, and at its end, however it ends.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use replicamq_harness::cluster::say;
use replicamq_harness::wait::Since;

use crate::given;
use crate::kinds::Kind;
use crate::ledger::Counts;
use crate::report::{Account, Report};
use crate::rounds::{Outcome, Round};

/// A run that is cut off has shown its figures up to so long ago.
const TOLD_EVERY: Duration = Duration::from_mins(5);

/// What an operator asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) seed: u64,
    pub(crate) fault: Option<Kind>,
    pub(crate) minutes: Option<u64>,
}

impl Wish {
    /// The line that has the same again.
    fn again(self) -> String {
        let fault = self.fault.map(|kind| format!(" FAULT={}", kind.name()));
        let minutes = self.minutes.map(|minutes| format!(" MINUTES={minutes}"));
        format!(
            "make nemesis SEED={}{}{}",
            self.seed,
            fault.unwrap_or_default(),
            minutes.unwrap_or_default()
        )
    }
}

/// A run that fails tells its figures too, and how to have it again.
#[derive(Debug)]
pub(crate) struct Run {
    wish: Wish,
    /// What the nodes leave behind.
    directory: PathBuf,
    since: Since,
    told: Since,
    report: Report,
    counts: Counts,
    /// The one that is played.
    round: Option<(usize, Kind)>,
}

impl Run {
    pub(crate) fn begin(wish: Wish, directory: PathBuf) -> Self {
        if let Some(path) = given("REPORT") {
            // Rather told now than after an hour.
            let opened = File::options().create(true).append(true).open(&path);
            opened.unwrap_or_else(|error| panic!("REPORT={path}: {error}"));
        }
        say(&format!(
            "seed {}: `{}` plays the same rounds again",
            wish.seed,
            wish.again()
        ));
        Self {
            wish,
            directory,
            since: Since::now(),
            told: Since::now(),
            report: Report::default(),
            counts: Counts::default(),
            round: None,
        }
    }

    /// Whether the time is over that was asked for.
    pub(crate) fn is_over(&self) -> bool {
        let minutes = self.wish.minutes;
        minutes.is_some_and(|minutes| self.since.elapsed() >= Duration::from_secs(minutes * 60))
    }

    pub(crate) fn begin_round(&mut self, index: usize, round: Round) {
        let Round { kind, hold, .. } = round;
        self.round = Some((index, kind));
        say(&format!(
            "{:>5} s  round {index}: {} for {hold:?}, {}{}{:?}",
            self.since.elapsed().as_secs(),
            kind.name(),
            if round.waits { "waits, " } else { "" },
            if round.hasty { "hasty, " } else { "" },
            round.choice,
        ));
    }

    pub(crate) fn end_round(&mut self, outcome: Outcome, counts: Counts) {
        say(&format!("         {outcome}"));
        self.report.add(outcome);
        self.counts = counts;
        self.round = None;
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Since::now();
            Self::tell(&self.report.text(Account::Open(counts)));
        }
    }

    /// All is well, and the account is settled.
    pub(crate) fn end(self, counts: Counts) {
        Self::tell(&self.report.text(Account::Settled(counts)));
    }

    /// To whoever looks on, and to the file that was asked for.
    fn tell(text: &str) {
        say(text);
        if let Some(path) = given("REPORT")
            && let Err(error) = fs::write(&path, text)
        {
            say(&format!("REPORT={path}: {error}"));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let at = match self.round {
            Some((index, kind)) => format!("round {index}, `{}`", kind.name()),
            None => "the settlement".to_owned(),
        };
        Self::tell(&format!(
            "{}\nFAILED in {at}. The same again: `{}`. The nodes' logs, and all that they had: {}\n",
            self.report.text(Account::Open(self.counts)),
            self.wish.again(),
            self.directory.display(),
        ));
    }
}
