//! What is noted beside the log: the epoch that was promised, and which
//! generation of log and store counts and how far it can be trusted. And how
//! a start holds log, store and notes against each other.
//!
//! ```text
//! CURRENT    the generation that counts, and whether it is filled
//! PROMISE    the highest epoch promised; outlives generations
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use replicamq_quorum::{Epoch, Position};

use crate::log::{Examined, examine};
use crate::sealed::{self, Fields, Loaded};
use crate::{Damage, Disk, DiskError, Floor, Log, LogOptions, OpenError};

const CURRENT_KIND: &str = "current";
const PROMISE_KIND: &str = "promise";

/// The notes of one data directory, which is open.
#[derive(Debug)]
pub struct Notes {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    current: Mutex<Current>,
    /// Damage was met while it is open.
    damaged: AtomicBool,
}

/// How far the store can be trusted to hold what this node acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Wiped or damaged: it needs a checkpoint.
    Unfilled,
    /// A checkpoint was installed; the log has yet to catch up.
    Filling,
    /// It counts.
    Filled,
}

/// What CURRENT says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Current {
    generation: u64,
    fill: Fill,
    /// The boot of the machine in which entries may be in memory only.
    memory_boot: Option<String>,
}

/// What a start makes of log and promise.
#[derive(Debug)]
pub struct Recovery {
    /// In order, as far as it is good.
    pub log: Log,
    /// The highest epoch that was promised, as far as can be told.
    pub promised: Epoch,
    /// What was found missing; it is on record.
    pub damage: Option<Damage>,
}

/// What a start would find of log and promise.
#[derive(Debug)]
pub struct Preview {
    /// The end of the log, as far as it is good.
    pub last: Position,
    /// The highest epoch that was promised, as far as can be told.
    pub promised: Epoch,
    /// What is missing.
    pub damage: Option<Damage>,
}

impl Notes {
    /// The notes of a new directory: generation 1, and nothing promised.
    pub fn create(disk: &dyn Disk, directory: &Path, fill: Fill) -> Result<(), DiskError> {
        store_promise(disk, directory, Epoch(0))?;
        let current = Current {
            generation: 1,
            fill,
            memory_boot: None,
        };
        current.store(disk, directory)
    }

    /// Reads CURRENT, without which nothing can be told: `None` if it is missing or damaged.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<Option<Self>, OpenError> {
        let path = directory.join("CURRENT");
        let current = match sealed::load(&*disk, &path, CURRENT_KIND)? {
            Loaded::Fields(fields) => Current::from_fields(&fields),
            Loaded::Missing | Loaded::Damaged => None,
            Loaded::Newer { found, known } => {
                return Err(OpenError::NewerFormat { path, found, known });
            }
        };
        Ok(current.map(|current| Self::with(disk, directory, current)))
    }

    /// New notes where CURRENT is lost: this generation counts, once a master has filled it.
    pub fn begin_anew(
        disk: Arc<dyn Disk>,
        directory: &Path,
        generation: u64,
    ) -> Result<Self, DiskError> {
        let current = Current {
            generation,
            fill: Fill::Unfilled,
            memory_boot: None,
        };
        current.store(&*disk, directory)?;
        Ok(Self::with(disk, directory, current))
    }

    fn with(disk: Arc<dyn Disk>, directory: &Path, current: Current) -> Self {
        Self {
            disk,
            directory: directory.to_owned(),
            current: Mutex::new(current),
            damaged: AtomicBool::new(false),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current
            .lock()
            .expect("nobody panics while holding the notes")
    }

    fn change(&self, change: impl FnOnce(&mut Current)) -> Result<(), DiskError> {
        let mut current = self.current();
        let mut changed = current.clone();
        change(&mut changed);
        if changed != *current {
            changed.store(&*self.disk, &self.directory)?;
            *current = changed;
        }
        Ok(())
    }

    /// Which generation counts.
    pub fn generation(&self) -> u64 {
        self.current().generation
    }

    /// How far it can be trusted.
    pub fn fill(&self) -> Fill {
        self.current().fill
    }

    /// What was found damaged in this run is not filled by what a master said before.
    pub fn set_fill(&self, fill: Fill) -> Result<(), DiskError> {
        self.change(|current| {
            let damaged = self.damaged.load(Ordering::Acquire);
            current.fill = if damaged { Fill::Unfilled } else { fill };
        })
    }

    /// Notes damage on the way out. A disk that takes no syncs may take the note without: the
    /// next process of this boot reads it, and one of the next boot knows that entries in memory
    /// are gone. If even that fails, a start finds the damage by itself, or not before it is
    /// read again.
    pub fn record_damage(&self) {
        self.damaged.store(true, Ordering::Release);
        if self.set_fill(Fill::Unfilled).is_ok() {
            return;
        }
        let mut current = self.current();
        current.fill = Fill::Unfilled;
        let (path, fields) = (self.directory.join("CURRENT"), current.fields());
        drop(sealed::store_unsynced(
            &*self.disk,
            &path,
            CURRENT_KIND,
            &fields,
        ));
    }

    /// Another generation counts from now on. Its files are durable.
    pub fn switch(&self, generation: u64, fill: Fill) -> Result<(), DiskError> {
        self.change(|current| {
            *current = Current {
                generation,
                fill,
                memory_boot: None,
            };
        })
    }

    /// Notes whether entries of this run may be in memory only, in this boot of the machine
    /// (empty if that is not known); that those of an earlier run may be, it leaves to
    /// [`Notes::recover`]. True if entries of an earlier run are gone with its boot.
    pub fn begin_run(&self, boot: &str, in_memory: bool) -> Result<bool, DiskError> {
        let lost = match &self.current().memory_boot {
            Some(earlier) => boot.is_empty() || earlier != boot,
            None => false,
        };
        let noted = if boot.is_empty() { "unknown" } else { boot };
        self.change(|current| {
            if lost {
                current.fill = Fill::Unfilled;
            }
            if lost || in_memory {
                current.memory_boot = in_memory.then(|| noted.to_owned());
            }
        })?;
        Ok(lost)
    }

    /// Nothing is in memory only any more.
    pub fn record_synced(&self) -> Result<(), DiskError> {
        self.change(|current| current.memory_boot = None)
    }

    /// The highest epoch promised; `None` if that cannot be told.
    pub fn promised(&self) -> Result<Option<Epoch>, OpenError> {
        let path = self.promise_path();
        match sealed::load(&*self.disk, &path, PROMISE_KIND)? {
            Loaded::Fields(fields) => Ok(fields.number("epoch").map(Epoch)),
            Loaded::Missing | Loaded::Damaged => Ok(None),
            Loaded::Newer { found, known } => Err(OpenError::NewerFormat { path, found, known }),
        }
    }

    fn promise_path(&self) -> PathBuf {
        self.directory.join("PROMISE")
    }

    /// Promises, for good; durable when it returns.
    pub fn store_promise(&self, epoch: Epoch) -> Result<(), DiskError> {
        store_promise(&*self.disk, &self.directory, epoch)
    }

    /// What [`Notes::recover`] would find, without the work. That a cut is finished is for
    /// a [`crate::DryDisk`] to keep to itself.
    pub fn preview(
        &self,
        options: &LogOptions,
        floor: Floor,
        promised: Option<Epoch>,
    ) -> Result<Preview, OpenError> {
        let (examined, damage) = self.examine(options, floor, promised)?;
        let last = examined.last();
        Ok(Preview {
            last,
            promised: promised.unwrap_or_default().max(last.epoch),
            damage,
        })
    }

    fn examine(
        &self,
        options: &LogOptions,
        floor: Floor,
        promised: Option<Epoch>,
    ) -> Result<(Examined, Option<Damage>), OpenError> {
        let examined = examine(options, floor)?;
        let mut damage = examined.damage.clone();
        if promised.is_none() {
            let path = self.promise_path();
            damage = Some(Damage::File { path });
        }
        Ok((examined, damage))
    }

    /// Takes the log over. `promised` is what [`Notes::promised`] said; `damaged`, whether
    /// anything else was found missing. Damage is on record before anything is cut, and what
    /// the log shows to have been promised before that is told.
    pub fn recover(
        &self,
        options: &LogOptions,
        floor: Floor,
        promised: Option<Epoch>,
        damaged: bool,
    ) -> Result<Recovery, OpenError> {
        let (examined, damage) = self.examine(options, floor, promised)?;
        let damaged = damaged || damage.is_some();
        if damaged {
            self.set_fill(Fill::Unfilled)?;
        }
        let finished = examined.finish();
        if finished.is_err() && self.current().memory_boot.is_some() {
            // What an earlier run had in memory may be gone with a sync that failed.
            self.record_damage();
        }
        let log = finished?;
        // Its own entries show that it promised at least that epoch.
        let promised = promised.unwrap_or_default().max(log.last().epoch);
        if damaged {
            self.store_promise(promised)?;
        }
        Ok(Recovery {
            log,
            promised,
            damage,
        })
    }
}

impl Fill {
    const ALL: [Self; 3] = [Self::Unfilled, Self::Filling, Self::Filled];

    fn name(self) -> &'static str {
        match self {
            Self::Unfilled => "unfilled",
            Self::Filling => "filling",
            Self::Filled => "filled",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fill| fill.name() == name)
    }
}

impl Current {
    fn store(&self, disk: &dyn Disk, directory: &Path) -> Result<(), DiskError> {
        let path = directory.join("CURRENT");
        sealed::store(disk, &path, CURRENT_KIND, &self.fields())
    }

    fn fields(&self) -> Fields {
        let fields = Fields::default()
            .with("generation", &self.generation)
            .with("fill", &self.fill.name());
        match &self.memory_boot {
            Some(boot) => fields.with("memory-boot", boot),
            None => fields,
        }
    }

    fn from_fields(fields: &Fields) -> Option<Self> {
        Some(Self {
            generation: fields.number("generation")?,
            fill: Fill::from_name(fields.text("fill")?)?,
            memory_boot: fields.text("memory-boot").map(str::to_owned),
        })
    }
}

fn store_promise(disk: &dyn Disk, directory: &Path, epoch: Epoch) -> Result<(), DiskError> {
    let fields = Fields::default().with("epoch", &epoch);
    sealed::store(disk, &directory.join("PROMISE"), PROMISE_KIND, &fields)
}
