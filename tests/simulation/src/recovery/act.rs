//! What a living process does with its log, and what its disk does to it.

use replicamq_log::{Fill, Log};
use replicamq_quorum::{Epoch, Position, Sequence};

use crate::files;
use crate::recovery::expected::Noted;
use crate::recovery::{HALF, Rig, Step, Stop, entry};

/// Entries in a group.
const GROUP_MAX: u64 = 6;
/// Changes before a process dies.
const BUDGET_MAX: u64 = 30;
/// Free bytes on a disk that is about to be full.
const FREE_MAX: u64 = 40_000;

impl Rig {
    pub(super) fn act(&mut self) -> Step<()> {
        let chance = self.random.below(100);
        self.fold(chance);
        match chance {
            0..48 => self.append(),
            48..58 => self.cut(),
            58..66 => self.promise(),
            66..76 => self.apply(),
            76..80 => self.keep_up(),
            80..83 => self.set_fill(),
            83..84 => self.install(),
            84..92 => {
                let changes = self.random.below(BUDGET_MAX);
                self.tell(|| format!("  dies after {changes} more changes"));
                self.platter.die_after(changes);
                Ok(())
            }
            92..95 => {
                let syncs = self.random.below(6);
                self.tell(|| format!("  the sync after {syncs} more fails"));
                self.platter.fail_sync_after(syncs);
                Ok(())
            }
            95..97 => {
                let bytes = self.random.below(FREE_MAX);
                self.tell(|| format!("  {bytes} bytes are free"));
                self.platter.set_free_space(Some(bytes));
                Ok(())
            }
            _ => Err(Stop::Died("killed".to_owned())),
        }
    }

    fn append(&mut self) -> Step<()> {
        self.expected.epoch += u64::from(self.random.chance(100_000));
        let mut groups = 1;
        while groups < 3 && self.random.chance(HALF / 2) {
            groups += 1;
        }
        // More than one before the sync, as where a log need not be synced.
        for _ in 0..groups {
            let from = self.expected.last() + 1;
            let to = from + self.random.below(GROUP_MAX);
            let epoch = self.expected.epoch;
            let entries: Vec<_> = (from..=to)
                .map(|sequence| entry(Position::new(epoch, sequence)))
                .collect();
            self.figures.entries += entries.len() as u64;
            self.fold(to);
            self.tell(|| format!("appends {epoch}.{from} to {to}"));
            self.expected.entries.extend(entries.iter().cloned());
            self.log().stage(&entries)?;
            self.log().write()?;
            self.expected.written = to;
        }
        if groups > 1 && self.random.chance(HALF) {
            return Ok(());
        }
        self.sync()?;
        self.log().mark()?;
        self.expected.marked = self.expected.synced;
        self.log().prepare()?;
        self.trim()
    }

    fn sync(&mut self) -> Step<()> {
        // The newest entry was written when everything reported so far was synced.
        let proven = self.expected.synced;
        self.log().sync()?;
        if self.expected.synced < self.expected.written {
            self.expected.proven = proven;
        }
        self.expected.synced = self.expected.written;
        let synced = self.expected.synced;
        self.tell(|| format!("  synced to {synced}"));
        Ok(())
    }

    fn trim(&mut self) -> Step<()> {
        let flushed = Sequence(self.expected.applied);
        if let Some(first) = self.log().trim(flushed, None)? {
            self.tell(|| format!("  trimmed to {first}"));
        }
        Ok(())
    }

    fn cut(&mut self) -> Step<()> {
        let (low, high) = (self.expected.applied, self.expected.last());
        let low = low.max(self.expected.begins_after);
        let keep = self.random.between((low, high));
        self.figures.orders += 1;
        self.tell(|| format!("cuts after {keep}"));
        self.expected.cut = Some(keep);
        let position = self.expected.position(keep);
        let applied = Sequence(self.expected.applied);
        self.log().cut(position, applied)?;
        if keep < high {
            self.expected.settle(keep);
        }
        self.expected.cut = None;
        // What was cut is written by nobody again: another master's entries follow.
        self.expected.epoch += u64::from(keep < high);
        self.tell(|| "  cut".to_owned());
        Ok(())
    }

    fn promise(&mut self) -> Step<()> {
        self.sync()?;
        let epoch = Epoch(self.expected.promised.told().0.max(self.expected.epoch) + 1);
        self.figures.orders += 1;
        self.tell(|| format!("promises {epoch}"));
        self.expected.promised.attempt(epoch);
        self.notes().store_promise(epoch)?;
        self.expected.promised.set(epoch);
        self.tell(|| "  promised".to_owned());
        Ok(())
    }

    /// The store has flushed more.
    fn apply(&mut self) -> Step<()> {
        let range = (self.expected.applied, self.expected.synced);
        self.expected.applied = self.random.between(range);
        let applied = self.expected.applied;
        self.tell(|| format!("applied up to {applied}"));
        self.trim()
    }

    /// As a process does every second, and at its end.
    fn keep_up(&mut self) -> Step<()> {
        self.sync()?;
        self.log().sync_mark()?;
        self.expected.marked = self.expected.synced;
        self.expected.marked_durable = self.expected.synced;
        self.tell(|| "keeps up".to_owned());
        Ok(())
    }

    fn set_fill(&mut self) -> Step<()> {
        let fill = self
            .random
            .pick(&[Fill::Unfilled, Fill::Filling, Fill::Filled]);
        self.figures.orders += 1;
        self.tell(|| format!("is {fill:?}"));
        self.expected.fill.attempt(fill);
        self.notes().set_fill(fill)?;
        self.expected.fill.set(fill);
        Ok(())
    }

    /// A checkpoint takes the place of log and store, as far as it concerns the log.
    fn install(&mut self) -> Step<()> {
        self.sync()?;
        let after = self.expected.synced;
        let generation = self.expected.generation.told() + 1;
        self.figures.orders += 1;
        self.tell(|| format!("installs generation {generation} after {after}"));
        let (position, history) = (self.expected.position(after), self.expected.history(after));
        self.expected.installing = Some(after);
        self.expected.generation.attempt(generation);
        self.expected.fill.attempt(Fill::Filling);
        // What an earlier attempt left is removed, file by file, before it begins.
        for path in self.platter.paths() {
            if path.parent() == Some(&files::directory(generation)) {
                self.platter.lose(&path);
            }
        }
        let log = Log::create(self.options(generation), position, history)?;
        self.notes().switch(generation, Fill::Filling)?;
        self.log = Some(log);
        self.installed(after);
        self.expected.generation = Noted::new(generation);
        self.expected.fill.set(Fill::Filling);
        Ok(())
    }

    /// The log begins anew behind what the store holds.
    pub(super) fn installed(&mut self, after: u64) {
        self.expected.settle(after);
        self.expected.begins_after = after;
        self.expected.applied = after;
        self.expected.proven = 0;
        self.expected.installing = None;
        self.expected.epoch += 1;
    }
}
