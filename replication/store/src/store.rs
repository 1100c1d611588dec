//! The store as the rest of the node has it: threads behind bounded queues, each of
//! which answers in its own order, and one that looks for damage by itself.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use replicamq_log::{Context, DiskError, Fill, Floor, Index, Log};
use replicamq_quorum::{Entry, Epoch, EpochHistory, NodeId, Position, Recovered, Sequence};

use crate::applier::{self, Applier};
use crate::directory::{Begun, Directory, Locked};
use crate::flush::FlushPolicy;
use crate::holds::{Holds, LogHold};
use crate::reader::Reader;
use crate::scrub::{self, Scrubber};
use crate::table::{self, Table, TableError};
use crate::writer::{self, Writer};
use crate::{
    COMMANDS_MAX, CheckpointError, ClusterError, Damage, FatalError, Identity, Load, OpenError,
    Options, ReadLog, StoreEvent, SyncMode,
};

/// Takes what the threads report, on their threads: it must not block for long.
pub type Notify = Arc<dyn Fn(StoreEvent) + Send + Sync>;

/// Log and store of one node. Dropping it, like [`Store::close`], carries out
/// what was asked, flushes, and ends the threads.
pub struct Store {
    directory: Arc<Directory>,
    table: Arc<Table>,
    index: Arc<Index>,
    progress: Arc<Progress>,
    notify: Notify,
    /// `None` only while it is dropped.
    queues: Option<Queues>,
    threads: Vec<JoinHandle<()>>,
    options: Options,
}

struct Queues {
    writer: SyncSender<writer::Command>,
    applier: SyncSender<applier::Command>,
    reader: SyncSender<ReadLog>,
    scrubber: Option<SyncSender<scrub::Command>>,
}

/// What the threads know of each other.
pub(crate) struct Progress {
    /// The highest sequence handed to the applier: committed, never to be cut.
    pub(crate) submitted: AtomicU64,
    /// How far RocksDB has flushed.
    pub(crate) flushed: AtomicU64,
    /// Replicas that the log waits for.
    pub(crate) holds: Arc<Holds>,
}

/// What [`Store::open`] gives.
#[derive(Debug)]
pub struct Opened {
    /// The store; its threads run.
    pub store: Store,
    /// What the quorum starts from.
    pub recovered: Recovered,
    /// Whose directory it is.
    pub identity: Identity,
    /// The directory was made just now.
    pub created: bool,
    /// What was found missing in this start; the node is unfilled from now on.
    pub damage: Option<Damage>,
}

/// What the log and the store take on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The segments in use.
    pub log_bytes: u64,
    /// The files of RocksDB.
    pub store_bytes: u64,
}

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The last entry in it.
    pub applied: Position,
    /// Which epoch wrote what, up to there.
    pub history: EpochHistory,
    /// Its files, by name and size.
    pub files: Vec<(String, u64)>,
}

impl Store {
    /// Locks the directory, finds what it holds, and starts the threads.
    pub fn open(options: Options, notify: Notify) -> Result<Opened, OpenError> {
        let Begun {
            directory,
            created,
            mut damage,
        } = Locked::take(&options.directory)?.open(&options)?;
        if directory.begin_run(options.sync)? {
            damage.get_or_insert(Damage::UnsyncedLost);
        }
        directory.empty_staging()?;
        let promised = directory.notes().promised()?;
        let table = open_table(&directory, &options, &mut damage)?;
        let floor = table
            .floor()
            .map_err(|error| store_error(&directory, error))?;
        let log_options = directory.log_options(&options);
        fs::create_dir_all(&log_options.directory)
            .context("make the directory", &log_options.directory)?;
        let recovery =
            directory
                .notes()
                .recover(&log_options, floor.clone(), promised, damage.is_some())?;
        if options.sync == SyncMode::Disk {
            // Only now: before, an earlier run in memory mode may have had entries there alone.
            directory.notes().record_synced()?;
        }
        if let Some(found) = recovery.damage {
            damage.get_or_insert(found.into());
        }
        let log = recovery.log;
        let recovered = Recovered {
            promised: recovery.promised,
            last: log.last(),
            applied: floor.applied.sequence,
            history: log.history().clone(),
            log_first: log.first(),
            unfilled: directory.notes().fill() == Fill::Unfilled,
            filling: directory.notes().fill() == Fill::Filling,
        };
        let identity = directory.identity();
        let progress = Progress {
            submitted: AtomicU64::new(floor.applied.sequence.0),
            flushed: AtomicU64::new(floor.applied.sequence.0),
            holds: Arc::new(Holds::default()),
        };
        let mut store = Self {
            index: log.index(),
            table: Arc::new(table),
            directory: Arc::new(directory),
            progress: Arc::new(progress),
            notify: Arc::clone(&notify),
            queues: None,
            threads: Vec::new(),
            options,
        };
        store.start(log, floor, notify)?;
        Ok(Opened {
            store,
            recovered,
            identity,
            created,
            damage,
        })
    }

    fn start(&mut self, log: Log, floor: Floor, notify: Notify) -> Result<(), OpenError> {
        let writer = Writer {
            log,
            sync: self.options.sync,
            directory: Arc::clone(&self.directory),
            progress: Arc::clone(&self.progress),
            notify: Arc::clone(&notify),
        };
        let applier = Applier {
            table: Arc::clone(&self.table),
            index: Arc::clone(&self.index),
            directory: Arc::clone(&self.directory),
            progress: Arc::clone(&self.progress),
            notify: Arc::clone(&notify),
            floor,
            flush: FlushPolicy::new(self.options.replay_bytes_max),
        };
        let reader = Reader {
            index: Arc::clone(&self.index),
            directory: Arc::clone(&self.directory),
            progress: Arc::clone(&self.progress),
            notify: Arc::clone(&notify),
        };
        let scrubber = self.options.scrub.map(|scrub| Scrubber {
            table: Arc::clone(&self.table),
            index: Arc::clone(&self.index),
            directory: Arc::clone(&self.directory),
            notify,
            scrub,
            again: Cell::new(false),
        });
        self.queues = Some(Queues {
            writer: self.spawn("replicamq-log", |commands| writer.run(&commands))?,
            applier: self.spawn("replicamq-store", |commands| applier.run(&commands))?,
            reader: self.spawn("replicamq-read", |commands| reader.run(&commands))?,
            scrubber: scrubber
                .map(|scrubber| self.spawn("replicamq-scrub", |commands| scrubber.run(&commands)))
                .transpose()?,
        });
        Ok(())
    }

    fn spawn<C: Send + 'static>(
        &mut self,
        name: &str,
        run: impl FnOnce(Receiver<C>) + Send + 'static,
    ) -> Result<SyncSender<C>, DiskError> {
        let (sender, receiver) = sync_channel(COMMANDS_MAX);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(receiver))
            .context("start a thread for", &self.options.directory)?;
        self.threads.push(thread);
        Ok(sender)
    }

    fn queues(&self) -> &Queues {
        self.queues
            .as_ref()
            .expect("they are there until it is dropped")
    }

    /// Whose directory it is.
    pub fn identity(&self) -> Identity {
        self.directory.identity()
    }

    /// Incarnations that had this very directory open before and certainly
    /// have it open no more: what they left elsewhere is nobody's. Not all that
    /// there were: none from before the machine's last start.
    pub fn predecessors(&self) -> &[String] {
        self.directory.predecessors()
    }

    /// Adopts the id of the cluster, once and for all.
    pub fn set_cluster(&self, cluster: &str) -> Result<(), ClusterError> {
        self.directory.set_cluster(cluster)
    }

    /// Notes, durably, that the store may be built upon: a master filled it,
    /// or the cluster is as new as it is.
    pub fn mark_filled(&self) -> Result<(), DiskError> {
        self.directory.notes().set_fill(Fill::Filled)?;
        send(&self.queues().applier, applier::Command::RemoveAside);
        Ok(())
    }

    /// Notes, durably, that the store may not be built upon before it was
    /// replaced by a checkpoint.
    pub fn mark_unfilled(&self) -> Result<(), DiskError> {
        self.directory.notes().set_fill(Fill::Unfilled)
    }

    /// Notes damage that was told by [`StoreEvent::Rotten`]: the next start finds the store unfilled.
    pub fn note_damage(&self) {
        self.directory.notes().record_damage();
    }

    /// Has everything read soon, if it is scrubbed at all: somebody saw signs of damage.
    pub fn scrub_now(&self) {
        if let Some(scrubber) = &self.queues().scrubber {
            // A full queue is asked often enough.
            drop(scrubber.try_send(scrub::Command::Now));
        }
    }

    /// Appends entries to the log, which must follow its last one; answered by
    /// [`StoreEvent::Logged`].
    pub fn append(&self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            send(&self.queues().writer, writer::Command::Append(entries));
        }
    }

    /// Cuts the log after `keep`; answered by [`StoreEvent::Truncated`]. To cut
    /// what was handed to [`Store::apply`] is fatal.
    pub fn truncate(&self, keep: Position) {
        send(&self.queues().writer, writer::Command::Truncate(keep));
    }

    /// Stores a promise, after everything appended before it is synced;
    /// answered by [`StoreEvent::PromiseStored`].
    pub fn store_promise(&self, epoch: Epoch) {
        send(&self.queues().writer, writer::Command::StorePromise(epoch));
    }

    /// Makes committed entries visible, in order; answered by [`StoreEvent::Applied`].
    pub fn apply(&self, entries: Vec<Entry>) {
        if let Some(last) = entries.last() {
            self.submitted(last.position.sequence);
            send(&self.queues().applier, applier::Command::Apply(entries));
        }
    }

    /// Like [`Store::apply`], with the entries from the log; answered by at
    /// least one [`StoreEvent::Applied`].
    pub fn replay(&self, to: Sequence) {
        self.submitted(to);
        send(&self.queues().applier, applier::Command::Replay(to));
    }

    fn submitted(&self, sequence: Sequence) {
        self.progress
            .submitted
            .fetch_max(sequence.0, Ordering::AcqRel);
    }

    /// Reads pairs, after everything handed over before is applied; answered
    /// by [`StoreEvent::Loaded`].
    pub fn load(&self, load: Load) {
        send(&self.queues().applier, applier::Command::Load(load));
    }

    /// Reads entries for a replica; answered by [`StoreEvent::LogRead`].
    pub fn read_log(&self, request: ReadLog) {
        send(&self.queues().reader, request);
    }

    /// Keeps the log from where a checkpoint that is made after this call can
    /// end, for the replica that is to take it.
    pub fn hold_log(&self, replica: &NodeId) -> LogHold {
        let flushed = Sequence(self.progress.flushed.load(Ordering::Acquire));
        self.progress.holds.hold(replica, flushed)
    }

    /// Links the store's files into `directory`, which must not exist and must
    /// be on the same file system. Takes as long as a flush; blocks nobody else.
    /// Where it shows that the store cannot be trusted, a [`StoreEvent::Fatal`]
    /// comes as well.
    pub fn checkpoint(&self, directory: &Path) -> Result<CheckpointInfo, CheckpointError> {
        // The store would be flushed anyway, but then nobody could tell what failed.
        self.table.flush(true).map_err(|error| self.fatal(error))?;
        let made = self.table.checkpoint(directory);
        let floor = made.map_err(|error| match error {
            CheckpointError::StoreDamaged { path, reason } => {
                self.fatal(FatalError::StoreDamaged { path, reason })
            }
            CheckpointError::Refused { .. } | CheckpointError::Fatal(_) => error,
        })?;
        let files = list(directory).map_err(|error| CheckpointError::Refused {
            directory: directory.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(CheckpointInfo {
            applied: floor.applied,
            history: floor.history,
            files,
        })
    }

    /// No thread met it, so that nobody else tells of it.
    fn fatal(&self, error: FatalError) -> CheckpointError {
        if let FatalError::StoreDamaged { .. } = error {
            self.directory.notes().record_damage();
        }
        let text = error.to_string();
        (self.notify)(StoreEvent::Fatal(error));
        CheckpointError::Fatal(text)
    }

    /// What the files take.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            log_bytes: self.index.bytes(),
            store_bytes: self.table.bytes(),
        }
    }

    /// Carries out what was asked, flushes, and ends the threads.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queues = None;
        for thread in self.threads.drain(..) {
            let joined = thread.join();
            assert!(
                joined.is_ok() || thread::panicking(),
                "the threads of a store do not panic"
            );
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("directory", &self.options.directory)
            .finish_non_exhaustive()
    }
}

/// The files in a flat directory, by name and size.
fn list(directory: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, entry.metadata()?.len()));
    }
    files.sort_unstable();
    Ok(files)
}

/// A thread that is gone has said why.
fn send<C>(queue: &SyncSender<C>, command: C) {
    drop(queue.send(command));
}

/// Opens RocksDB, or begins anew if it is damaged.
fn open_table(
    directory: &Directory,
    options: &Options,
    damage: &mut Option<Damage>,
) -> Result<Table, OpenError> {
    let path = directory.table_path();
    let opened = Table::open(&path, options).and_then(|table| table.floor().map(|_| table));
    match opened {
        Ok(table) => Ok(table),
        Err(TableError::Failed(reason)) => Err(OpenError::Store { path, reason }),
        Err(TableError::Newer(found)) => Err(newer(path, found)),
        Err(TableError::Damaged(reason) | TableError::Missing(reason)) => {
            // A later build may have laid it out so that it does not even open here.
            if let Err(TableError::Newer(found)) = Table::inspect(&path) {
                return Err(newer(path, found));
            }
            damage.get_or_insert(Damage::Store { path, reason });
            directory.replace_damaged(options)?;
            Table::open(&directory.table_path(), options)
                .map_err(|error| store_error(directory, error))
        }
    }
}

fn newer(path: PathBuf, found: u32) -> OpenError {
    OpenError::NewerFormat {
        path,
        found,
        known: table::FORMAT,
    }
}

fn store_error(directory: &Directory, error: TableError) -> OpenError {
    OpenError::Store {
        path: directory.table_path(),
        reason: error.into_reason(),
    }
}

#[cfg(test)]
mod tests;
