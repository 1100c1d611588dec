//! What fuzzers call: the files of a small log, damaged as one likes, and then a start. See
//! `replicamq-fuzzing`.
//!
//! Whatever lies there, the start says what is damaged or finds nothing amiss, never an entry that
//! was not put in, nor one in another's place. One fault alone never goes unnoticed if it took
//! anything that was synced, and after each start the log can be written and read again.

mod memory;
mod script;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use replicamq_fuzzing::Input;
use replicamq_quorum::{Entry, Epoch, EpochHistory, Position, Sequence};

use crate::{Disk, Fill, Floor, Log, LogError, LogOptions, Notes, OpenError, Recovery, Retention};
use memory::MemoryDisk;

const SEGMENT_BYTES: u64 = 16 << 10;
/// More than any epoch of the log.
const PROMISED: Epoch = Epoch(19);
const GROUPS_MAX: usize = 10;

/// A log with what it was told.
struct World {
    disk: Arc<MemoryDisk>,
    options: LogOptions,
    /// All that is in it, from the first sequence on.
    entries: Vec<Entry>,
    /// How many of them were synced, and noted to be.
    marked: usize,
    /// What the store holds.
    floor: Floor,
}

/// First what was written, then what happened to the files.
pub fn log_recovery(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    world.write(&mut input);
    let faults = script::damage(&world.disk, &mut input);
    let Some(recovery) = world.recover() else {
        return;
    };
    let found = world.check(&recovery.log);
    if faults <= 1 && recovery.damage.is_none() {
        // What the store holds need not be in the log any more, nor readable there.
        let synced = world.entries.iter().take(world.marked);
        let lacking = synced.filter(|entry| entry.position > world.floor.applied);
        let lost = lacking.filter(|entry| !found.contains(entry));
        assert_eq!(lost.count(), 0, "synced entries went, and nobody said so");
        assert_eq!(
            recovery.promised, PROMISED,
            "the promise went, and nobody said so"
        );
    }
    world.goes_on(recovery.log, found);
}

impl World {
    fn new() -> Self {
        let disk = Arc::new(MemoryDisk::default());
        let options = LogOptions {
            disk: Arc::clone(&disk) as Arc<dyn Disk>,
            directory: PathBuf::from("log"),
            segment_bytes: SEGMENT_BYTES,
            retention: Retention {
                bytes: 2 * SEGMENT_BYTES,
                age: Duration::MAX,
            },
        };
        Notes::create(&*disk, Path::new(""), Fill::Filled).expect("this disk works");
        let world = Self {
            disk,
            options,
            entries: Vec::new(),
            marked: 0,
            floor: Floor::default(),
        };
        let notes = world.notes().expect("they were just made");
        notes.store_promise(PROMISED).expect("this disk works");
        world
    }

    /// `None`: they are damaged, and the directory is set aside.
    fn notes(&self) -> Option<Notes> {
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        unless_newer(Notes::open(disk, Path::new(""))).flatten()
    }

    fn write(&mut self, input: &mut Input<'_>) {
        let (options, none) = (self.options.clone(), Position::default());
        let mut log = Log::create(options, none, EpochHistory::default()).expect("this disk works");
        let mut epoch = 1;
        for _ in 0..=input.below(GROUPS_MAX) {
            epoch += input.below(3).saturating_sub(1) as u64;
            self.stage(&mut log, epoch, input);
            match input.below(5) {
                0 => {}
                1 => self.cut(&mut log, input),
                2 => {
                    self.apply(input);
                    log.trim(self.floor.applied.sequence, None)
                        .expect("this disk works");
                }
                _ => {
                    log.sync().expect("this disk works");
                    log.mark().expect("this disk works");
                    self.note_synced(&log);
                    log.prepare().expect("this disk works");
                }
            }
        }
    }

    fn stage(&mut self, log: &mut Log, epoch: u64, input: &mut Input<'_>) {
        let mut group = Vec::new();
        for _ in 0..=input.below(4) {
            let sequence = (self.entries.len() + group.len() + 1) as u64;
            let bytes = input.pick(&[20, 0, 7, 500, 3_000, 4_064, 9_000, 15_000]);
            let byte = u8::try_from((sequence * 7 + epoch) % 251).expect("it is less than 251");
            group.push(Entry {
                position: Position::new(epoch, sequence),
                batch: Bytes::from(vec![byte; bytes]),
            });
        }
        log.stage(&group).expect("they follow one another");
        log.write().expect("this disk works");
        self.entries.extend(group);
        self.note_synced(log);
    }

    /// A sync is always noted, also that which a new segment needs.
    fn note_synced(&mut self, log: &Log) {
        self.marked = usize::try_from(log.synced().sequence.0).expect("there are few");
    }

    fn cut(&mut self, log: &mut Log, input: &mut Input<'_>) {
        let applied = usize::try_from(self.floor.applied.sequence.0).expect("there are few");
        let kept = applied.max(self.entries.len().saturating_sub(input.below(8)));
        self.entries.truncate(kept);
        let keep = self.entries.last().map(|entry| entry.position);
        log.cut(keep.unwrap_or_default(), self.floor.applied.sequence)
            .expect("what is cut was not applied");
        self.note_synced(log);
    }

    /// Only what was synced is committed, and applied.
    fn apply(&mut self, input: &mut Input<'_>) {
        let applied = usize::try_from(self.floor.applied.sequence.0).expect("there are few");
        let more = (self.marked.saturating_sub(applied)).min(input.below(20));
        for entry in self.entries.iter().skip(applied).take(more) {
            self.floor.applied = entry.position;
            self.floor.history.append(entry.position);
        }
    }

    /// `None`: the start refuses a newer format, or the directory.
    fn recover(&self) -> Option<Recovery> {
        let notes = self.notes()?;
        let promised = unless_newer(notes.promised())?;
        let recovered = notes.recover(&self.options, self.floor.clone(), promised, false);
        let recovery = unless_newer(recovered)?;
        let filled = notes.fill() == Fill::Filled;
        assert!(recovery.damage.is_none() || !filled, "damage is on record");
        Some(recovery)
    }

    /// What the log holds, all of which was put in.
    fn check(&self, log: &Log) -> Vec<Entry> {
        let first = log.first();
        assert!(log.last() >= self.floor.applied, "it ends before the store");
        assert!(
            first <= self.floor.applied.sequence.next(),
            "it begins after the store"
        );
        let found = self.read(log);
        let last = found.last().map(|entry| entry.position);
        assert!(
            last.is_none_or(|last| last == log.last()),
            "it ends elsewhere"
        );
        for entry in &found {
            let sequence = entry.position.sequence;
            let index = usize::try_from(sequence.0 - 1).expect("there are few");
            assert_eq!(Some(entry), self.entries.get(index), "nobody wrote that");
            assert_eq!(log.history().epoch_at(sequence), Some(entry.position.epoch));
        }
        found
    }

    /// All of it, or what the store lacks: only that is read by a start. Damage before that
    /// is met, and named, by whoever reads it.
    fn read(&self, log: &Log) -> Vec<Entry> {
        let read = |after| log.index().read(after, usize::MAX, None);
        match read(Sequence(log.first().0 - 1)) {
            Ok((found, _)) => found,
            Err(LogError::Damaged { sequence, .. }) => {
                assert!(sequence <= self.floor.applied.sequence, "it was overlooked");
                let lacking = read(self.floor.applied.sequence);
                lacking.expect("what a start found can be read").0
            }
            Err(error) => panic!("damage stops a reader: {error}"),
        }
    }

    /// After a start nothing is amiss any more.
    fn goes_on(&self, mut log: Log, mut found: Vec<Entry>) {
        let entry = Entry {
            position: Position {
                epoch: Epoch(20),
                sequence: log.last().sequence.next(),
            },
            batch: Bytes::from_static(b"after"),
        };
        log.stage(std::slice::from_ref(&entry)).expect("it follows");
        log.write().expect("this disk works");
        log.sync().expect("this disk works");
        log.mark().expect("this disk works");
        let first = log.first();
        drop(log);
        found.push(entry);
        let again = self.recover().expect("the start put it in order");
        assert_eq!(again.damage, None, "the start left damage behind");
        assert_eq!(again.log.first(), first);
        assert_eq!(self.read(&again.log), found);
    }
}

/// On a disk that works nothing else keeps a start from its end.
fn unless_newer<T>(opened: Result<T, OpenError>) -> Option<T> {
    match opened {
        Ok(opened) => Some(opened),
        Err(OpenError::NewerFormat { .. }) => None,
        Err(error) => panic!("damage stops the start: {error}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_recoveries_passes() {
        replicamq_fuzzing::replay("log_recovery", super::log_recovery);
    }
}
