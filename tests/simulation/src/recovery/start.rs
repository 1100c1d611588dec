//! Death, and what a start makes of what is left.

use std::path::Path;

use replicamq_log::{Damage, Fill, LogError, Notes, OpenError, Recovery};
use replicamq_quorum::{Epoch, Sequence};

use crate::files::{self, DIRECTORY};
use crate::recovery::harm::Harm;
use crate::recovery::{HALF, Rig, Step, Stop, broken};

/// Starts that may be interrupted, one after the other.
const INTERRUPTED_MAX: u64 = 3;
/// Changes before a start is interrupted.
const BUDGET_MAX: u64 = 25;

impl Rig {
    /// The process dies, perhaps with the power, perhaps something rots; then it starts.
    pub(super) fn die(&mut self, why: &str) -> Step<()> {
        self.tell(|| format!("dies: {why}"));
        self.fall();
        let mut harm = None;
        if self.random.chance(200_000) {
            harm = Some(self.harm());
            self.figures.harms += 1;
        }
        if let Some(harm) = &harm {
            // Its damage may be noted by a start that comes to no end.
            self.expected.fill.attempt(Fill::Unfilled);
            let text = harm.to_string();
            self.tell(|| text);
        }
        let interrupted = self.random.below(INTERRUPTED_MAX + 1);
        for attempt in 0.. {
            if attempt < interrupted {
                self.trouble();
            } else {
                self.platter.set_free_space(None);
            }
            match self.start(harm.as_ref()) {
                Err(Stop::Died(why)) => {
                    self.figures.interrupted += 1;
                    self.tell(|| format!("  the start ends: {why}"));
                    let lost = self.fall();
                    if let Some(harm) = &mut harm {
                        // What is left of the file may be put aside, or be gone with the power.
                        harm.must_be_found &= !lost;
                        harm.place = None;
                    }
                }
                result => {
                    // What was not used up must not reach into the process's life.
                    if attempt < interrupted {
                        self.platter.disarm();
                    }
                    result?;
                    self.figures.starts += 1;
                    if !self.random.chance(100_000) {
                        return Ok(());
                    }
                    self.tell(|| "starts once more".to_owned());
                    harm = None;
                    self.fall();
                }
            }
        }
        Ok(())
    }

    /// The next start has to do with this.
    fn trouble(&mut self) {
        match self.random.below(4) {
            0 | 1 => {
                let changes = self.random.below(BUDGET_MAX);
                self.tell(|| format!("  dies after {changes} more changes"));
                self.platter.die_after(changes);
            }
            2 => {
                let syncs = self.random.below(4);
                self.tell(|| format!("  the sync after {syncs} more fails"));
                self.platter.fail_sync_after(syncs);
            }
            _ => {}
        }
    }

    /// Whether the power went too.
    fn fall(&mut self) -> bool {
        self.log = None;
        self.notes = None;
        self.figures.deaths += 1;
        let syncs = self.platter.told().failed_syncs;
        if syncs > self.figures.told.failed_syncs {
            self.figures.told.failed_syncs = syncs;
            self.expected.cache_lost = true;
        }
        if self.random.chance(HALF) {
            let lost = self.platter.lose_power();
            self.expected.cache_lost = true;
            self.tell(|| format!("  the power is lost, and something with it: {lost}"));
            return true;
        }
        self.platter.kill();
        false
    }

    fn start(&mut self, harm: Option<&Harm>) -> Step<()> {
        let found = opened(Notes::open(self.disk(), Path::new(DIRECTORY)))?;
        let Some(notes) = found else {
            if harm.is_some_and(Harm::took_current) {
                return Err(Stop::Over);
            }
            return broken("notes", "CURRENT cannot be read");
        };
        let generation = notes.generation();
        let switched = generation != self.expected.generation.told();
        self.expected.generation.found("generation", generation)?;
        if let Some(after) = self.expected.installing.take()
            && switched
        {
            self.installed(after);
        }
        files::remove_others(&self.platter, generation);
        let promised = opened(notes.promised())?;
        self.check_promise(promised, harm)?;
        let floor = self.expected.floor();
        let recovered = notes.recover(&self.options(generation), floor, promised, false);
        let recovery = opened(recovered)?;
        self.check(&recovery, notes.fill(), harm)?;
        self.take_over(recovery, notes)
    }

    fn check_promise(&mut self, promised: Option<Epoch>, harm: Option<&Harm>) -> Step<()> {
        match promised {
            // A start that met the damage, and came to no end, took it from the log's entries.
            Some(epoch) if harm.is_some() && self.expected.may_be_promised(epoch, harm) => {
                self.expected.promised.set(epoch);
                Ok(())
            }
            Some(epoch) => self.expected.promised.found("promises", epoch),
            None if harm.is_some_and(Harm::took_promise) => Ok(()),
            None => broken("promises", "PROMISE cannot be read"),
        }
    }

    fn check(&mut self, recovery: &Recovery, fill: Fill, harm: Option<&Harm>) -> Step<()> {
        let last = recovery.log.last();
        let end = last.sequence.0;
        let damage = recovery.damage.as_ref();
        self.tell(|| match damage {
            Some(damage) => format!("starts at {last}: {damage}"),
            None => format!("starts at {last}"),
        });
        self.fold(end);
        self.figures.found += u64::from(damage.is_some());
        if end > self.expected.last() || self.expected.position(end) != last {
            return broken("invented", format!("the log ends at {last}"));
        }
        let noted = damage.is_some() || (harm.is_some() && fill == Fill::Unfilled);
        match (damage, harm) {
            (Some(damage), None) => return broken("damage", format!("out of nothing: {damage}")),
            (Some(damage), Some(harm)) => harm.check_place(damage)?,
            (None, _) => {}
        }
        self.expected.fill.found("fill", fill)?;
        if damage.is_some() && fill != Fill::Unfilled {
            return broken("fill", format!("{fill:?} in spite of the damage"));
        }
        if !noted {
            self.check_end(end, harm)?;
        }
        self.check_entries(recovery, harm)
    }

    /// Nothing was found missing: then nothing is.
    fn check_end(&self, end: u64, harm: Option<&Harm>) -> Step<()> {
        if let Some(harm) = harm
            && harm.must_be_found
        {
            return broken("damage", format!("not found: {harm}"));
        }
        let least = self.expected.least();
        let least = harm
            .and_then(|harm| harm.leaves)
            .unwrap_or(least)
            .min(least);
        let cut = self.expected.cut == Some(end);
        if end < least && !cut {
            return broken("lost", format!("the log ends at {end}, not at {least}"));
        }
        Ok(())
    }

    /// Every entry is the one that was given.
    fn check_entries(&mut self, recovery: &Recovery, harm: Option<&Harm>) -> Step<()> {
        let log = &recovery.log;
        let (first, last) = (log.first().0, log.last().sequence.0);
        let (begins, applied) = (self.expected.begins_after + 1, self.expected.applied);
        let begins_anew = recovery.damage.is_some() && first == applied + 1;
        if (first < begins || first > applied + 1) && !begins_anew {
            return broken("first", format!("{first} with {applied} applied"));
        }
        for sequence in 1..=last {
            let epoch = log.history().epoch_at(Sequence(sequence));
            if epoch != Some(self.expected.entry(sequence).position.epoch) {
                return broken("history", format!("{epoch:?} at {sequence}"));
            }
        }
        match log.index().read(Sequence(first - 1), usize::MAX, None) {
            Ok((entries, _)) => {
                let from = usize::try_from(first - 1).expect("logs are short");
                let to = usize::try_from(last).expect("logs are short");
                if entries != self.expected.entries[from.min(to)..to] {
                    return broken(
                        "entries",
                        format!("{first} to {last} are not what was given"),
                    );
                }
                Ok(())
            }
            Err(LogError::Damaged { path, offset, .. })
                if harm.is_some_and(|harm| harm.may_be_at(&path, offset)) =>
            {
                self.figures.found += 1;
                Err(Stop::Over)
            }
            Err(error) => error_of(error),
        }
    }

    fn take_over(&mut self, recovery: Recovery, notes: Notes) -> Step<()> {
        let last = recovery.log.last().sequence.0;
        if recovery.log.synced() != recovery.log.last() {
            return broken("synced", "a start leaves something unsynced");
        }
        if self.expected.cut.is_some() || last < self.expected.last() {
            // Whoever continues from here may be another master.
            self.expected.epoch +=
                u64::from(self.expected.cut.is_some() || self.random.chance(HALF));
        }
        self.expected.settle(last);
        if recovery.damage.is_some() {
            self.expected.promised.set(recovery.promised);
            if recovery.log.first().0 > last {
                self.expected.begins_after = self.expected.begins_after.max(last);
            }
        }
        self.log = Some(recovery.log);
        self.notes = Some(notes);
        Ok(())
    }
}

/// What a start that cannot go on means.
fn opened<T>(result: Result<T, OpenError>) -> Step<T> {
    match result {
        Ok(value) => Ok(value),
        Err(OpenError::Disk(error)) => Err(error.into()),
        Err(error) => broken("notes", error.to_string()),
    }
}

fn error_of(error: LogError) -> Step<()> {
    match error {
        LogError::Disk(error) => Err(error.into()),
        other => broken("entries", other.to_string()),
    }
}

impl Harm {
    /// The damage is told where it is.
    fn check_place(&self, damage: &Damage) -> Step<()> {
        if self.is_harmless {
            return broken(
                "damage",
                format!("{damage}, though there is another copy: {self}"),
            );
        }
        let right = match damage {
            Damage::LogEntry { path, offset, .. } | Damage::LogShort { path, offset, .. } => {
                self.place.is_none() || self.is_at(path, *offset)
            }
            Damage::LogHeader { path } | Damage::File { path } => *path == self.path,
            Damage::LogSegmentMissing { .. } | Damage::LogGap { .. } => true,
        };
        if right {
            Ok(())
        } else {
            broken("place", format!("{damage}, but: {self}"))
        }
    }
}
