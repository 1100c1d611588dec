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
//! ```
//!
//! A generation is replaced by making the next one beside it and then rewriting
//! CURRENT, which is one rename: a crash leaves the old one or the new.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replicamq_log::sealed::{self, Fields, Loaded};
use replicamq_log::{Context, DiskError, Fill, Floor, Log, LogOptions, Notes, RealDisk, Retention};
use replicamq_quorum::Position;

use crate::identity::{self, Identity};
use crate::lock::{self, Lock};
use crate::options::SEGMENT_BYTES_MIN;
use crate::table::Table;
use crate::{ClusterError, OpenError, Options, SyncMode, files};

const GENERATION: &str = "generation-";
const ASIDE: &str = "damaged";
const LOG: &str = "log";
const STORE: &str = "store";

/// Where a checkpoint for this directory may be gathered; on the same file system.
pub fn staging_directory(directory: &Path) -> PathBuf {
    directory.join("staging")
}

/// A directory that no other process has open.
pub(crate) struct Locked {
    path: PathBuf,
    lock: Lock,
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
    pub(crate) fn open(mut self, options: &Options) -> Result<(Directory, bool), OpenError> {
        if !sealed::is_name(&options.node) {
            return Err(OpenError::NameInvalid {
                name: options.node.clone(),
            });
        }
        let created = is_new(&self.path)?;
        if created {
            create(&self.path, options)?;
        }
        if let Some(incarnation) = &options.incarnation {
            self.lock.enter(incarnation)?;
        }
        let directory = self.read()?;
        let found = directory.identity().node;
        if found != options.node {
            return Err(OpenError::OtherNode {
                directory: directory.path,
                found,
                wanted: options.node.clone(),
            });
        }
        Ok((directory, created))
    }

    /// Reads what the directory is.
    pub(crate) fn read(self) -> Result<Directory, OpenError> {
        let Self { path, lock } = self;
        let identity = Identity::from_fields(&required(&path, "IDENTITY", identity::KIND)?)
            .ok_or_else(|| unreadable(&path, "IDENTITY"))?;
        let notes =
            Notes::open(Arc::new(RealDisk), &path)?.ok_or_else(|| unreadable(&path, "CURRENT"))?;
        let directory = Directory {
            path,
            lock,
            notes,
            identity: Mutex::new(identity),
        };
        directory.remove_others()?;
        if directory.notes.fill() == Fill::Filled {
            files::remove_tree(&directory.path.join(ASIDE))?;
        }
        Ok(directory)
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
                    &self.path.join("IDENTITY"),
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

/// Whether nothing was made here yet, or not to the end.
fn is_new(path: &Path) -> Result<bool, DiskError> {
    let there = |name: &str| {
        let path = path.join(name);
        path.try_exists().context("look for", &path)
    };
    if there("CREATING")? {
        return Ok(true);
    }
    let some = there("IDENTITY")? || there("CURRENT")? || there("PROMISE")?;
    Ok(!some && generations(path)?.is_empty())
}

fn create(path: &Path, options: &Options) -> Result<(), OpenError> {
    let marker = path.join("CREATING");
    File::create(&marker)
        .and_then(|file| file.sync_all())
        .context("create", &marker)?;
    files::sync_directory(path)?;
    for name in ["IDENTITY", "CURRENT", "PROMISE"] {
        files::remove(&path.join(name))?;
    }
    for generation in generations(path)? {
        files::remove_tree(&generation)?;
    }
    make_generation(&generation_path(path, 1), options)?;
    let identity = Identity::create(&options.node)?;
    sealed::store(
        &RealDisk,
        &path.join("IDENTITY"),
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

fn log_options(generation: &Path, options: &Options) -> LogOptions {
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

fn generation_path(path: &Path, generation: u64) -> PathBuf {
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

/// One of the files without which nothing can be told.
fn required(directory: &Path, name: &str, kind: &str) -> Result<Fields, OpenError> {
    let path = directory.join(name);
    match sealed::load(&RealDisk, &path, kind)? {
        Loaded::Fields(fields) => Ok(fields),
        Loaded::Missing | Loaded::Damaged => Err(OpenError::Unreadable { path }),
        Loaded::Newer { found, known } => Err(OpenError::NewerFormat { path, found, known }),
    }
}

fn unreadable(directory: &Path, name: &str) -> OpenError {
    OpenError::Unreadable {
        path: directory.join(name),
    }
}
