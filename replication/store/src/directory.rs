//! The data directory: who may use it, what it is, and which generation of log
//! and store counts.
//!
//! ```text
//! LOCK       held by the process that has it open, with its number and who had it before
//! IDENTITY   whose it is
//! CURRENT    the generation that counts, and whether it is filled
//! PROMISE    the highest epoch promised; outlives generations
//! CREATING   there while the directory is being made
//! generation-N/log, generation-N/store
//! damaged/   the last generation that did not open, for a human, until the node is filled
//! staging/   where a checkpoint is gathered before it is installed
//! outgoing/  checkpoints for replicas
//! ```
//!
//! A generation is replaced by making the next one beside it and then rewriting
//! CURRENT, which is one rename: a crash leaves the old one or the new.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replicamq_log::sealed::{self, Loaded};
use replicamq_log::{
    Context, Damage as LogDamage, Disk, DiskError, Fill, Floor, Log, LogOptions, Notes, RealDisk,
    Retention,
};
use replicamq_quorum::Position;

use crate::identity::{self, Identity};
use crate::lock::{self, Lock};
use crate::options::SEGMENT_BYTES_MIN;
use crate::table::Table;
use crate::{ClusterError, Damage, OpenError, Options, SyncMode, files};

pub(crate) const GENERATION: &str = "generation-";
const IDENTITY: &str = "IDENTITY";
const CURRENT: &str = "CURRENT";
pub(crate) const ASIDE: &str = "damaged";
pub(crate) const STAGING: &str = "staging";
pub(crate) const OUTGOING: &str = "outgoing";
pub(crate) const LOG: &str = "log";
pub(crate) const STORE: &str = "store";

/// Where a checkpoint for this directory may be gathered; on the same file system.
pub fn staging_directory(directory: &Path) -> PathBuf {
    directory.join(STAGING)
}

/// Where checkpoints for replicas may be made; on the same file system.
pub fn outgoing_directory(directory: &Path) -> PathBuf {
    directory.join(OUTGOING)
}

/// A directory that no other process has open.
pub(crate) struct Locked {
    path: PathBuf,
    lock: Lock,
}

/// What [`Locked::open`] gives.
pub(crate) struct Begun {
    pub(crate) directory: Directory,
    /// It was made just now.
    pub(crate) created: bool,
    /// What was lost of the small files.
    pub(crate) damage: Option<Damage>,
}

/// What the small files say.
pub(crate) struct Small {
    pub(crate) identity: Identity,
    pub(crate) notes: Notes,
    /// The one that is lost. What was safe to say stands in its place.
    pub(crate) damage: Option<Damage>,
}

/// The small files of an open directory.
pub(crate) struct Directory {
    path: PathBuf,
    /// Unlocks when it is dropped.
    lock: Lock,
    notes: Notes,
    identity: Mutex<Identity>,
}

impl Locked {
    /// Makes the directory if it is not there, and takes it.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        files::create_directories(path)?;
        let lock = Lock::take(path)?;
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// Reads what the directory is, or makes it one. True if it was made.
    pub(crate) fn open(mut self, options: &Options) -> Result<Begun, OpenError> {
        check_name(options)?;
        let created = is_new(&self.path)?;
        if created {
            create(&self.path, options)?;
        }
        if let Some(incarnation) = &options.incarnation {
            self.lock.enter(incarnation)?;
        }
        let Small {
            identity,
            notes,
            damage,
        } = Small::mend(&(Arc::new(RealDisk) as Arc<dyn Disk>), &self.path, options)?;
        let directory = self.with(identity, notes)?;
        Ok(Begun {
            directory,
            created,
            damage,
        })
    }

    /// Reads what the directory is.
    pub(crate) fn read(self) -> Result<Directory, OpenError> {
        let identity = whose(&RealDisk, &self.path)?;
        let identity = identity.ok_or_else(|| unreadable(&self.path, IDENTITY))?;
        let notes = Notes::open(Arc::new(RealDisk), &self.path)?;
        let notes = notes.ok_or_else(|| unreadable(&self.path, CURRENT))?;
        self.with(identity, notes)
    }

    fn with(self, identity: Identity, notes: Notes) -> Result<Directory, OpenError> {
        let Self { path, lock } = self;
        let directory = Directory {
            path,
            lock,
            notes,
            identity: Mutex::new(identity),
        };
        directory.remove_others()?;
        directory.remove_aside()?;
        Ok(directory)
    }
}

impl Small {
    /// Reads them. Where one is lost, the generation stays, unfilled: a master replaces it, or
    /// an operator accepts it. The other file must vouch that it is one of ours.
    pub(crate) fn mend(
        disk: &Arc<dyn Disk>,
        path: &Path,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let lost = |name: &str| LogDamage::File {
            path: path.join(name),
        };
        let identity = whose(&**disk, path)?;
        if let Some(other) = identity.as_ref().filter(|one| one.node != options.node) {
            return Err(OpenError::OtherNode {
                directory: path.to_owned(),
                found: other.node.clone(),
                wanted: options.node.clone(),
            });
        }
        let notes = Notes::open(Arc::clone(disk), path)?;
        let (identity, notes, lost) = match (identity, notes) {
            (Some(identity), Some(notes)) => (identity, notes, None),
            (Some(identity), None) => {
                let number = only_generation(path)?.ok_or_else(|| unreadable(path, CURRENT))?;
                let notes = Notes::begin_anew(Arc::clone(disk), path, number)?;
                (identity, notes, Some(lost(CURRENT)))
            }
            (None, Some(_)) if !options.adopts => {
                let path = path.join(IDENTITY);
                return Err(OpenError::Unidentified { path });
            }
            (None, Some(notes)) => {
                notes.set_fill(Fill::Unfilled)?;
                let identity = Identity::create(&options.node)?;
                let fields = identity.fields();
                sealed::store(&**disk, &path.join(IDENTITY), identity::KIND, &fields)?;
                (identity, notes, Some(lost(IDENTITY)))
            }
            (None, None) => return Err(unreadable(path, IDENTITY)),
        };
        Ok(Self {
            identity,
            notes,
            damage: lost.map(Into::into),
        })
    }
}

impl Directory {
    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
            .lock()
            .expect("nobody panics while holding the identity")
            .clone()
    }

    pub(crate) fn predecessors(&self) -> &[String] {
        self.lock.predecessors()
    }

    pub(crate) fn set_cluster(&self, cluster: &str) -> Result<(), ClusterError> {
        if !sealed::is_name(cluster) {
            return Err(ClusterError::IdInvalid {
                cluster: cluster.to_owned(),
            });
        }
        let mut identity = self
            .identity
            .lock()
            .expect("nobody panics while holding the identity");
        match &identity.cluster {
            Some(found) if found == cluster => Ok(()),
            Some(found) => Err(ClusterError::OtherCluster {
                found: found.clone(),
                wanted: cluster.to_owned(),
            }),
            None => {
                let mut adopted = identity.clone();
                adopted.cluster = Some(cluster.to_owned());
                sealed::store(
                    &RealDisk,
                    &self.path.join(IDENTITY),
                    identity::KIND,
                    &adopted.fields(),
                )?;
                *identity = adopted;
                Ok(())
            }
        }
    }

    /// Whether entries that were only in memory are gone; notes the mode of this run.
    pub(crate) fn begin_run(&self, sync: SyncMode) -> Result<bool, DiskError> {
        self.notes
            .begin_run(&lock::boot_id(), sync == SyncMode::Memory)
    }

    pub(crate) fn log_options(&self, options: &Options) -> LogOptions {
        log_options(&self.generation_path(), options)
    }

    pub(crate) fn table_path(&self) -> PathBuf {
        self.generation_path().join(STORE)
    }

    fn generation_path(&self) -> PathBuf {
        generation_path(&self.path, self.notes.generation())
    }

    /// Puts a generation that does not open aside and begins an empty one, unfilled.
    pub(crate) fn replace_damaged(&self, options: &Options) -> Result<(), OpenError> {
        let old = self.generation_path();
        let generation = self.notes.generation() + 1;
        let path = generation_path(&self.path, generation);
        files::remove_tree(&path)?;
        make_generation(&path, options)?;
        self.switch(generation, Fill::Unfilled)?;
        let aside = self.path.join(ASIDE);
        files::remove_tree(&aside)?;
        match fs::rename(&old, &aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context("put aside", &old)?
            }
            _ => Ok(files::sync_directory(&self.path)?),
        }
    }

    /// Makes the next generation of an empty log and a staged store, and switches to it.
    pub(crate) fn install(
        &self,
        staging: &Path,
        floor: Floor,
        held: Option<Position>,
    ) -> Result<(), DiskError> {
        let whole =
            self.notes.fill() == Fill::Filled && held.is_some_and(|held| held <= floor.applied);
        let generation = self.notes.generation() + 1;
        let path = generation_path(&self.path, generation);
        files::remove_tree(&path)?;
        // Of the smallest size: the first entries begin one of the right size.
        let log_options = LogOptions {
            disk: Arc::new(RealDisk),
            directory: path.join(LOG),
            segment_bytes: SEGMENT_BYTES_MIN,
            retention: Retention {
                bytes: 0,
                age: Duration::MAX,
            },
        };
        fs::create_dir_all(&log_options.directory).context("make the directory", &path)?;
        drop(Log::create(log_options, floor.applied, floor.history)?);
        files::sync_tree(staging)?;
        let store = path.join(STORE);
        fs::rename(staging, &store).context("move the checkpoint to", &store)?;
        files::sync_directory(&path)?;
        let fill = if whole { Fill::Filled } else { Fill::Filling };
        self.switch(generation, fill)?;
        self.remove_others()
    }

    fn switch(&self, generation: u64, fill: Fill) -> Result<(), DiskError> {
        files::sync_directory(&self.path)?;
        self.notes.switch(generation, fill)
    }

    /// Removes what is left of a checkpoint that was being gathered.
    pub(crate) fn empty_staging(&self) -> Result<(), DiskError> {
        files::remove_tree(&staging_directory(&self.path))
    }

    /// Removes what did not open, unless it may still be needed.
    pub(crate) fn remove_aside(&self) -> Result<(), DiskError> {
        if self.notes.fill() == Fill::Filled {
            files::remove_tree(&self.path.join(ASIDE))?;
        }
        Ok(())
    }

    /// Removes generations that do not count.
    fn remove_others(&self) -> Result<(), DiskError> {
        let current = self.generation_path();
        for path in generations(&self.path)? {
            if path != current {
                files::remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

/// It must fit on a line.
pub(crate) fn check_name(options: &Options) -> Result<(), OpenError> {
    if sealed::is_name(&options.node) {
        return Ok(());
    }
    Err(OpenError::NameInvalid {
        name: options.node.clone(),
    })
}

/// Whether nothing was made here yet, or not to the end.
pub(crate) fn is_new(path: &Path) -> Result<bool, DiskError> {
    let there = |name: &str| {
        let path = path.join(name);
        path.try_exists().context("look for", &path)
    };
    if there("CREATING")? {
        return Ok(true);
    }
    let some = there(IDENTITY)? || there(CURRENT)? || there("PROMISE")?;
    Ok(!some && generations(path)?.is_empty())
}

fn create(path: &Path, options: &Options) -> Result<(), OpenError> {
    let marker = path.join("CREATING");
    File::create(&marker)
        .and_then(|file| file.sync_all())
        .context("create", &marker)?;
    files::sync_directory(path)?;
    for name in [IDENTITY, CURRENT, "PROMISE"] {
        files::remove(&path.join(name))?;
    }
    for generation in generations(path)? {
        files::remove_tree(&generation)?;
    }
    make_generation(&generation_path(path, 1), options)?;
    let identity = Identity::create(&options.node)?;
    sealed::store(
        &RealDisk,
        &path.join(IDENTITY),
        identity::KIND,
        &identity.fields(),
    )?;
    let fill = if options.created_unfilled {
        Fill::Unfilled
    } else {
        Fill::Filled
    };
    Notes::create(&RealDisk, path, fill)?;
    files::remove(&marker)?;
    Ok(files::sync_directory(path)?)
}

/// An empty log and an empty store.
fn make_generation(path: &Path, options: &Options) -> Result<(), OpenError> {
    let log_options = log_options(path, options);
    let floor = Floor::default();
    fs::create_dir_all(&log_options.directory).context("make the directory", path)?;
    drop(Log::create(
        log_options,
        floor.applied,
        floor.history.clone(),
    )?);
    let store = path.join(STORE);
    let made = Table::create(&store, options, &floor);
    made.map_err(|error| OpenError::Store {
        path: store,
        reason: error.into_reason(),
    })?;
    files::sync_directory(path)?;
    Ok(())
}

pub(crate) fn log_options(generation: &Path, options: &Options) -> LogOptions {
    LogOptions {
        disk: Arc::new(RealDisk),
        directory: generation.join(LOG),
        segment_bytes: options.segment_bytes(),
        retention: Retention {
            bytes: options.retention_bytes,
            age: options.retention_age,
        },
    }
}

pub(crate) fn generation_path(path: &Path, generation: u64) -> PathBuf {
    path.join(format!("{GENERATION}{generation}"))
}

fn generations(path: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).context("list", path)? {
        let entry = entry.context("list", path)?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.starts_with(GENERATION))
        {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Which generation there is, if there is just one.
fn only_generation(path: &Path) -> Result<Option<u64>, DiskError> {
    let found = generations(path)?;
    let [only] = found.as_slice() else {
        return Ok(None);
    };
    let name = only.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix(GENERATION));
    Ok(number.and_then(|number| number.parse().ok()))
}

/// What IDENTITY says; `None` if it is missing or damaged.
fn whose(disk: &dyn Disk, directory: &Path) -> Result<Option<Identity>, OpenError> {
    let path = directory.join(IDENTITY);
    match sealed::load(disk, &path, identity::KIND)? {
        Loaded::Fields(fields) => Ok(Identity::from_fields(&fields)),
        Loaded::Missing | Loaded::Damaged => Ok(None),
        Loaded::Newer { found, known } => Err(OpenError::NewerFormat { path, found, known }),
    }
}

fn unreadable(directory: &Path, name: &str) -> OpenError {
    OpenError::Unreadable {
        path: directory.join(name),
    }
}
