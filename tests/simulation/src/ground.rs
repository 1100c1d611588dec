//! The log and the notes that ship, on the simulated disk of one machine.
//!
//! Whatever a node's writer is told is done here as the server does it; whatever a start finds
//! is found by the shipped recovery. What must be found, others know.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use replicamq_log::{
    Damage, Disk, DiskError, Fill, Floor, Log, LogError, LogOptions, Notes, OpenError, Recovery,
};
use replicamq_quorum::{Entry, Epoch, EpochHistory, Position, Sequence};

use crate::files::{self, DIRECTORY};
use crate::platter::Platter;
use crate::random::Random;

/// Small, so that every run rolls over many of them.
const SEGMENT_BYTES: u64 = 8 << 10;
/// Of a segment: where the size of its header stands, and the whole pages that it takes.
const HEADER_BYTES_AT: usize = 16;
const PAGE_BYTES: usize = 4096;
/// Starts that are interrupted, in a million.
const INTERRUPTED_PPM: u32 = 200_000;
/// Changes before one is.
const BUDGET_MAX: u64 = 20;

/// Why something was not done.
#[derive(Debug)]
pub enum Trouble {
    /// The disk failed: the process stops.
    Dies(String),
    /// A checksum does not agree: where something rots, the node's life ends.
    Damaged(String),
    /// The log did what it must not.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dies(text) | Self::Damaged(text) | Self::Broken(text) => text.fmt(f),
        }
    }
}

impl From<DiskError> for Trouble {
    fn from(error: DiskError) -> Self {
        if Platter::caused(&error.error) {
            Self::Dies(error.to_string())
        } else {
            Self::Broken(error.to_string())
        }
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Disk(error) => error.into(),
            damaged @ LogError::Damaged { .. } => Self::Damaged(damaged.to_string()),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Disk(error) => error.into(),
            newer @ OpenError::NewerFormat { .. } => Self::Broken(newer.to_string()),
        }
    }
}

type Done<T> = Result<T, Trouble>;

/// What a start finds.
#[derive(Debug)]
pub struct Found {
    /// All entries that the log holds; `None` where they cannot be read.
    pub entries: Option<Vec<Entry>>,
    /// The first that it holds, or will hold.
    pub first: Sequence,
    /// Which epoch wrote what, from the first entry ever on.
    pub history: EpochHistory,
    /// Where the log ends.
    pub last: Position,
    /// The highest epoch promised.
    pub promised: Epoch,
    /// Whether the store may be built upon.
    pub fill: Fill,
    /// What is missing.
    pub damage: Option<Damage>,
}

/// How a node keeps its log.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Log that is kept behind what the store has flushed.
    pub retention_bytes: u64,
    /// What it answers for need not be synced.
    pub in_memory: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Ground {
    /// The disk.
    pub platter: Platter,
    setup: Setup,
    /// Counts the machine's starts.
    boot: u64,
    notes: Option<Notes>,
    log: Option<Log>,
    /// The newest segment, and the bytes of it that even a loss of power leaves.
    settled: Option<(PathBuf, usize)>,
}

impl Ground {
    /// An empty log, on a disk of this chance.
    #[must_use]
    pub fn new(seed: u64, setup: Setup) -> Self {
        let mut ground = Self {
            platter: Platter::new(Random::new(seed)),
            setup,
            boot: 1,
            notes: None,
            log: None,
            settled: None,
        };
        let made = ground.make();
        made.expect("a new disk is well");
        ground
    }

    fn make(&mut self) -> Done<()> {
        let log = Log::create(
            self.options(1),
            Position::default(),
            EpochHistory::default(),
        )?;
        Notes::create(&self.platter, Path::new(DIRECTORY), Fill::Filled)?;
        self.notes = Notes::open(self.disk(), Path::new(DIRECTORY))?;
        self.log = Some(log);
        self.begin_run(self.notes())?;
        Ok(())
    }

    /// Whether what an earlier run had in memory alone is gone.
    fn begin_run(&self, notes: &Notes) -> Done<bool> {
        Ok(notes.begin_run(&self.boot.to_string(), self.setup.in_memory)?)
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.platter.clone())
    }

    fn options(&self, generation: u64) -> LogOptions {
        let bytes = self.setup.retention_bytes;
        files::options(&self.platter, generation, SEGMENT_BYTES, bytes)
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("it is open, but for a crash")
    }

    fn notes(&self) -> &Notes {
        self.notes.as_ref().expect("it is open, but for a crash")
    }

    /// How it is kept.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// A group is written.
    pub fn write(&mut self, entries: &[Entry]) -> Done<()> {
        self.log().stage(entries)?;
        Ok(self.log().write()?)
    }

    /// It is synced.
    pub fn sync(&mut self) -> Done<()> {
        Ok(self.log().sync()?)
    }

    /// What follows a sync.
    pub fn mark(&mut self) -> Done<()> {
        self.log().mark()?;
        Ok(self.log().prepare()?)
    }

    /// Everything after `keep` goes.
    pub fn cut(&mut self, keep: Position, applied: Sequence) -> Done<()> {
        self.settled = None;
        Ok(self.log().cut(keep, applied)?)
    }

    /// For good.
    pub fn promise(&mut self, epoch: Epoch) -> Done<()> {
        self.log().sync()?;
        Ok(self.notes().store_promise(epoch)?)
    }

    /// What is done every so often; the first sequence that is left.
    pub fn keep_up(&mut self, flushed: Sequence) -> Done<Sequence> {
        self.log().sync()?;
        self.log().sync_mark()?;
        self.log().trim(flushed, None)?;
        let newest = self.segments().pop();
        self.settled = newest.map(|path| {
            let bytes = self.platter.read(&path).unwrap_or_default();
            let used = used(&bytes);
            (path, used)
        });
        Ok(self.log().first())
    }

    /// As the scrub does, in one go: everything is read and checked.
    pub fn scrub(&self) -> Done<()> {
        let log = self.log.as_ref().expect("it is open, but for a crash");
        self.read(Sequence(log.first().0 - 1), usize::MAX)?;
        Ok(())
    }

    /// Notes damage that was met, on the way out.
    pub fn record_damage(&self) {
        self.notes().record_damage();
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut paths = self.platter.paths();
        paths.retain(|path| is_segment(path));
        paths
    }

    /// A bit flips in an entry, under the process. None in what is synced but not marked so for
    /// good: with the power lost as well, that passes for torn. `None` if there is no entry.
    pub fn decay(&self, random: &mut Random) -> Option<String> {
        let path = random
            .pick(&self.segments().iter().collect::<Vec<_>>())
            .clone();
        let bytes = self.platter.read(&path)?;
        let end = match &self.settled {
            Some((newest, end)) if *newest == path => *end,
            Some((newest, _)) if *newest > path => used(&bytes),
            _ => 0,
        };
        let header = bytes.get(HEADER_BYTES_AT..HEADER_BYTES_AT + 4)?;
        let header = u32::from_le_bytes(header.try_into().expect("four bytes"));
        let begin = usize::try_from(header).ok()?.next_multiple_of(PAGE_BYTES);
        if end <= begin {
            return None;
        }
        let at = begin + random.index(end - begin);
        self.platter.flip(&path, at, random.index(8));
        Some(format!("a bit of {} flips at byte {at}", path.display()))
    }

    /// As for a replica.
    pub fn read(&self, after: Sequence, bytes_max: usize) -> Done<Vec<Entry>> {
        let log = self.log.as_ref().expect("it is open, but for a crash");
        Ok(log.index().read(after, bytes_max, None)?.0)
    }

    /// Whether the store may be built upon.
    pub fn set_fill(&mut self, fill: Fill) -> Done<()> {
        Ok(self.notes().set_fill(fill)?)
    }

    /// A checkpoint takes the place of the log.
    pub fn install(&mut self, last: Position, history: EpochHistory, fill: Fill) -> Done<()> {
        let generation = self.notes().generation() + 1;
        self.log = None;
        self.settled = None;
        let log = Log::create(self.options(generation), last, history)?;
        self.notes().switch(generation, fill)?;
        self.begin_run(self.notes())?;
        self.log = Some(log);
        files::remove_others(&self.platter, generation);
        Ok(())
    }

    /// The process is gone, perhaps with the power.
    pub fn crash(&mut self, power: bool) {
        self.log = None;
        self.notes = None;
        self.settled = None;
        if power {
            self.boot += 1;
            self.platter.lose_power();
        } else {
            self.platter.kill();
        }
    }

    /// What the next process finds; some begin in vain.
    pub fn recover(&mut self, floor: &Floor, power: bool, random: &mut Random) -> Done<Found> {
        if random.chance(INTERRUPTED_PPM) {
            self.platter.die_after(random.below(BUDGET_MAX));
            match self.start(floor.clone()) {
                Err(Trouble::Dies(_)) => self.crash(power && random.chance(500_000)),
                result => {
                    self.platter.disarm();
                    return result;
                }
            }
        }
        self.start(floor.clone())
    }

    fn start(&mut self, floor: Floor) -> Done<Found> {
        let Some(notes) = Notes::open(self.disk(), Path::new(DIRECTORY))? else {
            return Err(Trouble::Broken("CURRENT cannot be read".to_owned()));
        };
        let lost = self.begin_run(&notes)?;
        let generation = notes.generation();
        files::remove_others(&self.platter, generation);
        let promised = notes.promised()?;
        let options = self.options(generation);
        let Recovery {
            log,
            promised,
            damage,
        } = notes.recover(&options, floor, promised, lost)?;
        if !self.setup.in_memory {
            notes.record_synced()?;
        }
        let first = log.first();
        let read = log.index().read(Sequence(first.0 - 1), usize::MAX, None);
        let entries = match read {
            Ok((entries, _)) => Some(entries),
            Err(LogError::Damaged { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let found = Found {
            entries,
            first,
            history: log.history().clone(),
            last: log.last(),
            promised,
            fill: notes.fill(),
            damage,
        };
        self.log = Some(log);
        self.notes = Some(notes);
        Ok(found)
    }

    /// Something of the newest segment, or of a note, is not as it was written.
    pub fn rot(&mut self, random: &mut Random) -> String {
        self.crash(false);
        let newest = self.segments().pop();
        let mut paths = self.platter.paths();
        paths.retain(|path| !is_segment(path));
        let path = match newest {
            Some(newest) if random.chance(800_000) => newest,
            _ => paths.swap_remove(random.index(paths.len())),
        };
        let used = self.platter.read(&path).map_or(0, |bytes| used(&bytes));
        let at = random.index(used.max(1));
        if is_segment(&path) && random.chance(100_000) {
            self.platter.truncate(&path, at);
            return format!("{} ends at byte {at}", path.display());
        }
        if is_segment(&path) && random.chance(100_000) {
            self.platter.lose(&path);
            return format!("{} is gone", path.display());
        }
        self.platter.flip(&path, at, random.index(8));
        format!("{} has a flipped bit at byte {at}", path.display())
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "segment")
}

/// Up to the last byte that is not zero.
fn used(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().rev().take_while(|&&byte| byte == 0);
    bytes.len() - zeros.count()
}
