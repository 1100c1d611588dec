//! A node's disk: the log, the promise and the store, and what a crash leaves of them.
//!
//! The log is the shipped one on a simulated platter ([`crate::ground`]): a killed process
//! leaves all that was written, a power loss what was synced and any part of the rest, and the
//! shipped recovery makes of it what it can. What it makes is held against what was given.

use std::collections::VecDeque;

use replicamq_log::{Fill, Floor};
use replicamq_quorum::{Entry, Epoch, Event, Position, Recovered, Sequence};

use crate::ground::{Ground, Setup, Trouble};
use crate::log::Log;
use crate::random::Random;
use crate::store::{Pairs, Store, StoreState};

/// Changes to the disk that a process makes before it is killed, of those it was told.
const GASPS_MAX: u64 = 24;

/// What the one writer does.
#[derive(Debug, Clone)]
pub enum LogOperation {
    /// Entries at the end.
    Append(Vec<Entry>),
    /// Cut what follows.
    Truncate(Position),
    /// Keep a promise.
    Promise(Epoch),
}

/// The log and the promise, in one of the disk's two states.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The log.
    pub log: Log,
    /// The highest epoch promised.
    pub promised: Epoch,
}

impl Image {
    /// One operation is done.
    pub fn run(&mut self, operation: LogOperation) {
        match operation {
            LogOperation::Append(entries) => {
                for entry in entries {
                    self.log.append(entry);
                }
            }
            LogOperation::Truncate(keep) => self.log.truncate(keep),
            LogOperation::Promise(epoch) => self.promised = self.promised.max(epoch),
        }
    }
}

/// Whether the store may be built upon, as the server keeps it on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filled {
    /// It is whole.
    #[default]
    Yes,
    /// A checkpoint was installed; the log has not caught up.
    Filling,
    /// Wiped or damaged.
    No,
}

/// What rots on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Rot {
    #[default]
    Nothing,
    /// Nobody in this life of the store has met it.
    Unmet,
    /// It was met and noted; the store's life is about to end.
    Noted,
}

/// One node's disk: the log and the notes that ship, on a simulated platter, and beside them
/// what they were given and must hold.
#[derive(Debug)]
pub struct Disk {
    ground: Ground,
    /// What the operating system has.
    pub written: Image,
    /// What is on the platter.
    pub durable: Image,
    /// Written, not synced.
    unsynced: Vec<LogOperation>,
    /// Where a cut that is under way ends.
    cutting: Option<Position>,
    /// What was only written may be gone: a sync failed.
    doubtful: bool,
    /// The key-value store that the log builds.
    pub store: Store,
    /// Whether the store may be built upon.
    filled: Filled,
    /// The store's own name: a wiped one gets a new name.
    pub store_id: u64,
    /// It was wiped or damaged, and is not whole again: known to the simulator alone.
    pub lost: bool,
    rot: Rot,
    /// Counts losses and checkpoints.
    pub fillings: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// The power went too.
    pub power: bool,
    /// It carries out what it can of what it was told before.
    pub gasps: bool,
    /// A log that does not wait for the disk loses what it had, and says so.
    pub may_damage: bool,
}

impl Disk {
    /// Empty. Two of the same name and seed fare the same.
    #[must_use]
    pub fn new(store_id: u64, seed: u64, setup: Setup) -> Self {
        Self {
            ground: Ground::new(seed, setup),
            written: Image::default(),
            durable: Image::default(),
            unsynced: Vec::new(),
            cutting: None,
            doubtful: false,
            store: Store::default(),
            filled: Filled::Yes,
            store_id,
            lost: false,
            rot: Rot::default(),
            fillings: 0,
        }
    }

    /// Whether the store may be built upon.
    pub fn filled(&self) -> Filled {
        self.filled
    }

    /// Whether something of it is rotten: known to the simulator alone.
    pub fn is_rotten(&self) -> bool {
        self.rot != Rot::Nothing
    }

    /// Whether nothing of it was lost, nor is rotten.
    pub fn is_whole(&self) -> bool {
        !self.lost && !self.is_rotten()
    }

    /// Notes that, durably.
    pub fn set_filled(&mut self, filled: Filled) -> Result<(), Trouble> {
        if filled != self.filled {
            self.ground.set_fill(filled.into())?;
            // What was found damaged in this life is not filled by what a master said before.
            self.filled = if self.rot == Rot::Noted {
                Filled::No
            } else {
                filled
            };
        }
        Ok(())
    }

    /// So much space is left; `None`: enough.
    pub fn set_free_space(&self, bytes: Option<u64>) {
        self.ground.platter.set_free_space(bytes);
    }

    /// The next sync fails.
    pub fn fail_sync(&self) {
        self.ground.platter.fail_sync_after(0);
    }

    /// The group is written; it is not synced. A cut and a promise are both at once.
    pub fn write(&mut self, group: &[LogOperation]) -> Result<(), Trouble> {
        for operation in group {
            if let LogOperation::Append(entries) = operation {
                self.written.run(operation.clone());
                let done = self.ground.write(entries);
                self.note(done)?;
            }
            self.unsynced.push(operation.clone());
        }
        Ok(())
    }

    /// Everything written is synced; what the writer reports.
    pub fn sync(
        &mut self,
        logged_after_cut: bool,
        reports: &mut Vec<Event>,
    ) -> Result<(), Trouble> {
        let done = self.ground.sync();
        self.note(done)?;
        let mut appended = false;
        for operation in std::mem::take(&mut self.unsynced) {
            let done = match &operation {
                LogOperation::Append(_) => Ok(()),
                LogOperation::Truncate(keep) => {
                    self.cutting = Some(*keep);
                    self.ground.cut(*keep, self.store.applied())
                }
                LogOperation::Promise(epoch) => self.ground.promise(*epoch),
            };
            self.note(done)?;
            self.cutting = None;
            if !matches!(operation, LogOperation::Append(_)) {
                self.written.run(operation.clone());
            }
            self.durable.run(operation.clone());
            match operation {
                LogOperation::Append(_) => appended = true,
                LogOperation::Truncate(keep) => {
                    reports.push(Event::Truncated { keep });
                    appended = logged_after_cut;
                }
                LogOperation::Promise(epoch) => {
                    // Whoever hears of it takes all before it to be durable.
                    if std::mem::take(&mut appended) {
                        reports.push(self.logged());
                    }
                    reports.push(Event::PromiseStored { epoch });
                }
            }
        }
        if appended {
            reports.push(self.logged());
        }
        let done = self.ground.mark();
        self.note(done)
    }

    /// Whether entries alone are written and not synced, which need not be in a memory mode.
    pub fn may_wait(&self) -> bool {
        let mut unsynced = self.unsynced.iter();
        unsynced.all(|operation| matches!(operation, LogOperation::Append(_)))
    }

    /// Whether something is written and not synced.
    pub fn is_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// How far it is.
    pub fn logged(&self) -> Event {
        Event::Logged {
            appended: self.written.log.last(),
            durable: self.durable.log.last(),
        }
    }

    fn note(&mut self, done: Result<(), Trouble>) -> Result<(), Trouble> {
        self.doubtful |= done.is_err();
        done
    }

    /// As for a replica, or to replay: what the log itself reads.
    pub fn read(&self, after: Sequence, bytes_max: usize) -> Result<Vec<Entry>, Trouble> {
        let entries = self.ground.read(after, bytes_max)?;
        let same = entries
            .iter()
            .all(|entry| self.written.log.get(entry.position.sequence) == Some(entry));
        if same {
            Ok(entries)
        } else {
            let text = format!("what is read after {after} is not what was given");
            Err(Trouble::Broken(text))
        }
    }

    /// The store has flushed: the log behind may go. Its first sequence.
    pub fn flush(&mut self) -> Result<Sequence, Trouble> {
        self.store.flush();
        let done = self.ground.keep_up(self.store.flushed());
        self.doubtful |= done.is_err();
        let first = done?;
        self.written.log.trim(first);
        self.durable.log.trim(first);
        Ok(first)
    }

    /// The process died; `queued` was on its way to the writer. What is left of log and notes
    /// is what the shipped recovery makes of it: nobody else looks before the next start.
    pub fn end(
        &mut self,
        random: &mut Random,
        end: End,
        queued: VecDeque<LogOperation>,
    ) -> Result<(), Trouble> {
        // A writer that failed does nothing more.
        if end.gasps && !self.doubtful {
            self.ground.platter.die_after(random.below(GASPS_MAX));
            match self.gasp(queued) {
                Err(Trouble::Broken(text)) => return Err(Trouble::Broken(text)),
                Err(Trouble::Damaged(_)) => self.note_damage(),
                Ok(()) | Err(Trouble::Dies(_)) => {}
            }
        }
        self.ground.platter.set_free_space(None);
        let floor = self.floor();
        self.ground.crash(end.power);
        self.doubtful |= end.power;
        self.unsynced.clear();
        self.store.crash();
        let rotten = self.is_rotten();
        self.recover(random, end, &floor, rotten)?;
        Ok(())
    }

    /// Up to where the process is killed.
    fn gasp(&mut self, queued: VecDeque<LogOperation>) -> Result<(), Trouble> {
        let mut unheard = Vec::new();
        self.sync(true, &mut unheard)?;
        for operation in queued {
            self.write(&[operation])?;
            self.sync(true, &mut unheard)?;
        }
        Ok(())
    }

    /// What the store holds after a crash.
    fn floor(&self) -> Floor {
        let flushed = self.store.flushed();
        let mut history = self.written.log.history().clone();
        history.truncate(flushed);
        let applied = self.written.log.position(flushed);
        Floor {
            applied: applied.unwrap_or_default(),
            history,
        }
    }

    /// Holds what a start finds against what must be there. Whether there was damage.
    fn recover(
        &mut self,
        random: &mut Random,
        end: End,
        floor: &Floor,
        rotten: bool,
    ) -> Result<bool, Trouble> {
        let broken = |text: String| Err(Trouble::Broken(text));
        let found = self.ground.recover(floor, end.power, random)?;
        let gone = end.power && self.ground.setup().in_memory;
        let noted = (rotten || gone) && found.fill == Fill::Unfilled;
        let damaged = found.damage.is_some() || noted;
        if gone && !damaged {
            return broken("the power was lost, and nothing is on record".to_owned());
        }
        if let Some(damage) = &found.damage
            && !rotten
            && !end.may_damage
        {
            return broken(format!("damage out of nothing: {damage}"));
        }
        if found.entries.is_none() && !rotten {
            return broken("the log cannot be read".to_owned());
        }
        if self.rot == Rot::Noted {
            if found.fill != Fill::Unfilled {
                return broken("damage was met, and is not on record".to_owned());
            }
            self.rot = Rot::Unmet;
        }
        for entry in found.entries.iter().flatten() {
            let given = |image: &Image| image.log.get(entry.position.sequence) == Some(entry);
            if !given(&self.written) && !given(&self.durable) {
                return broken(format!("{} was not given", entry.position));
            }
        }
        let least = if self.doubtful {
            self.durable.log.last()
        } else {
            self.written.log.last()
        };
        let cut = self.cutting.take() == Some(found.last);
        if found.last.sequence < least.sequence && !cut && !damaged {
            return broken(format!("the log ends at {}, not at {least}", found.last));
        }
        if found.promised < self.durable.promised {
            let promised = self.durable.promised;
            return broken(format!("{} is promised after {promised}", found.promised));
        }
        if found.fill != self.filled.into() && !damaged {
            return broken(format!("the store is {:?}", found.fill));
        }
        let log = match found.entries {
            Some(entries) => Log::found(entries, found.history, found.last),
            None if self.written.log.holds(found.last) => {
                self.written.log.within(found.first, found.last)
            }
            None => self.durable.log.within(found.first, found.last),
        };
        let promised = found.promised;
        self.written = Image { log, promised };
        self.durable = self.written.clone();
        self.doubtful = false;
        if damaged {
            self.damage();
        }
        Ok(damaged)
    }

    /// The store beside the log is found to be damaged.
    pub fn damage_store(&mut self) -> Result<(), Trouble> {
        self.set_filled(Filled::No)?;
        self.damage();
        Ok(())
    }

    fn damage(&mut self) {
        self.filled = Filled::No;
        self.lost = true;
        self.fillings += 1;
    }

    /// A bit flips under the process, in the log or in the store.
    pub fn decay(&mut self, random: &mut Random) -> Option<String> {
        let what = if random.chance(500_000) {
            self.ground.decay(random)
        } else {
            self.store.decay(random)
        };
        if what.is_some() {
            self.rot = Rot::Unmet;
        }
        what
    }

    /// Reads everything, as the scrub does. What it finds is not noted.
    pub fn scrub(&mut self) -> Result<(), Trouble> {
        self.ground.scrub()?;
        self.store.scrub().map_err(Trouble::Damaged)?;
        self.rot = Rot::Nothing;
        Ok(())
    }

    /// Damage was met: the next start finds the store unfilled.
    pub fn note_damage(&mut self) {
        self.ground.record_damage();
        self.rot = Rot::Noted;
    }

    /// Something rots while no process lives. What, and whether the next one will know.
    pub fn rot(&mut self, random: &mut Random) -> Result<(String, bool), Trouble> {
        let floor = self.floor();
        let what = self.ground.rot(random);
        let end = End {
            power: false,
            gasps: false,
            may_damage: true,
        };
        let found = self.recover(random, end, &floor, true)?;
        Ok((what, found))
    }

    /// Emptied. Its new name tells it from the old one.
    pub fn wipe(&mut self, store_id: u64, seed: u64) {
        let fillings = self.fillings + 1;
        *self = Self::new(store_id, seed, self.ground.setup());
        self.lost = true;
        self.fillings = fillings;
    }

    /// A checkpoint takes the place of the store and the log. The promise stays.
    /// A store that was whole, and ends no later than the checkpoint, stays
    /// whole: whatever it had acknowledged is in there or was never committed.
    pub fn install(&mut self, checkpoint: &Checkpoint, whole: bool) -> Result<(), Trouble> {
        assert!(
            self.written.promised == self.durable.promised,
            "a checkpoint comes after the promise is synced"
        );
        let covered = checkpoint.last >= self.durable.log.last();
        if !whole || self.filled != Filled::Yes || !covered {
            self.filled = Filled::Filling;
        }
        let (last, history) = (checkpoint.last, checkpoint.history.clone());
        self.ground
            .install(last, history.clone(), self.filled.into())?;
        let log = Log::after_checkpoint(last, history);
        self.unsynced.clear();
        self.written.log = log.clone();
        self.durable.log = log;
        self.store = Store::from_checkpoint(checkpoint.state, checkpoint.pairs.clone());
        self.rot = Rot::Nothing;
        self.fillings += 1;
        Ok(())
    }

    /// What a process finds.
    pub fn recovered(&self) -> Recovered {
        Recovered {
            promised: self.durable.promised,
            last: self.durable.log.last(),
            applied: self.store.applied(),
            history: self.durable.log.history().clone(),
            log_first: self.durable.log.first(),
            unfilled: self.filled == Filled::No,
            filling: self.filled == Filled::Filling,
        }
    }
}

impl From<Filled> for Fill {
    fn from(filled: Filled) -> Self {
        match filled {
            Filled::Yes => Self::Filled,
            Filled::Filling => Self::Filling,
            Filled::No => Self::Unfilled,
        }
    }
}

/// A checkpoint of a master's store.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// How far the store is.
    pub state: StoreState,
    /// What it holds.
    pub pairs: Pairs,
    /// The last entry in it.
    pub last: Position,
    /// Which epoch wrote what, up to there.
    pub history: replicamq_quorum::EpochHistory,
}
