//! What the writer says of a disk that does not sync.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;

use bytes::Bytes;
use replicamq_log::{Aside, Disk, DiskFile, Fill, LogOptions, Notes, RealDisk, Retention, Work};
use replicamq_quorum::EpochHistory;

use super::*;
use crate::Options;
use crate::directory::Locked;

/// A disk that takes writes, and refuses to sync them once it was told to.
#[derive(Debug, Clone, Default)]
struct Worn(Arc<AtomicBool>);

#[derive(Debug)]
struct WornFile {
    disk: Worn,
    file: Arc<dyn DiskFile>,
}

impl Worn {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "as the operations that it answers"
    )]
    fn file(&self, file: Arc<dyn DiskFile>) -> io::Result<Arc<dyn DiskFile>> {
        let disk = self.clone();
        Ok(Arc::new(WornFile { disk, file }))
    }
}

impl Disk for Worn {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(RealDisk.open(path)?)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(RealDisk.create(path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        RealDisk.sync_directory(directory)
    }

    fn aside(&self, work: Work) -> io::Result<Aside> {
        RealDisk.aside(work)
    }
}

impl DiskFile for WornFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.disk.0.load(Ordering::Acquire) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.sync_data()
    }
}

/// What the writer tells of an entry and a promise on such a disk, and what it notes.
fn told(sync: SyncMode) -> (Vec<StoreEvent>, Fill) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        created_unfilled: false,
        ..Options::new(directory.path().join("node"), "broker-1")
    };
    let opened = Locked::take(&options.directory)
        .unwrap()
        .open(&options)
        .unwrap();
    let opened = Arc::new(opened.directory);
    let disk = Worn::default();
    let log_options = LogOptions {
        disk: Arc::new(disk.clone()),
        directory: directory.path().to_owned(),
        segment_bytes: 32 << 10,
        retention: Retention {
            bytes: u64::MAX,
            age: Duration::MAX,
        },
    };
    let log = Log::create(log_options, Position::default(), EpochHistory::default()).unwrap();
    disk.0.store(true, Ordering::Release);
    let (sender, events) = mpsc::channel();
    let writer = Writer {
        log,
        sync,
        directory: Arc::clone(&opened),
        progress: Arc::new(Progress {
            submitted: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            holds: Arc::default(),
        }),
        notify: Arc::new(move |event| sender.send(event).unwrap()),
    };
    let (commands, queue) = mpsc::sync_channel(8);
    let entry = Entry {
        position: Position::new(1, 1),
        batch: Bytes::from_static(b"batch"),
    };
    commands.send(Command::Append(vec![entry])).unwrap();
    commands.send(Command::StorePromise(Epoch(2))).unwrap();
    drop(commands);
    writer.run(&queue);
    (events.iter().collect(), opened.notes().fill())
}

#[test]
fn nothing_is_acknowledged_when_a_sync_fails() {
    let (events, fill) = told(SyncMode::Disk);
    let [StoreEvent::Fatal(FatalError::Disk(error))] = &events[..] else {
        panic!("a failed sync stops the node: {events:?}");
    };
    assert_eq!(error.operation, "sync");
    assert_eq!(fill, Fill::Filled, "nothing was promised of it");
}

/// It was acknowledged from memory, and the system may have dropped it with the failed sync:
/// the node came back with a shorter log, and could elect a master without the entry.
#[test]
fn a_failed_sync_of_what_was_acknowledged_from_memory_is_damage() {
    let (events, fill) = told(SyncMode::Memory);
    let [
        StoreEvent::Logged { appended, durable },
        StoreEvent::Fatal(_),
    ] = &events[..]
    else {
        panic!("a failed sync stops the node: {events:?}");
    };
    assert_eq!(*appended, Position::new(1, 1));
    assert_eq!(*durable, Position::default());
    assert_eq!(fill, Fill::Unfilled);
}

/// The note of it lies on the same disk, which takes no syncs any more.
#[test]
fn damage_is_noted_on_a_disk_that_takes_no_syncs() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Worn::default();
    Notes::create(&disk, directory.path(), Fill::Filled).unwrap();
    let notes = Notes::open(Arc::new(disk.clone()), directory.path());
    let notes = notes.unwrap().unwrap();
    disk.0.store(true, Ordering::Release);
    notes.record_damage();
    assert_eq!(notes.fill(), Fill::Unfilled);
    let next = Notes::open(Arc::new(RealDisk), directory.path());
    assert_eq!(next.unwrap().unwrap().fill(), Fill::Unfilled);
}

/// With the note taken back at once, a loss of power before the log was synced went unseen.
#[test]
fn what_an_earlier_run_had_in_memory_stays_noted_until_it_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    Notes::create(&RealDisk, directory.path(), Fill::Filled).unwrap();
    let notes = || Notes::open(Arc::new(RealDisk), directory.path()).unwrap();
    assert!(!notes().unwrap().begin_run("one", true).unwrap());
    assert!(!notes().unwrap().begin_run("one", false).unwrap());
    assert!(notes().unwrap().begin_run("two", false).unwrap());
    assert_eq!(notes().unwrap().fill(), Fill::Unfilled);
    assert!(!notes().unwrap().begin_run("three", false).unwrap());
}
