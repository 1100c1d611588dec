//! The log against crashes, flipped bits and missing files. A crash is a log
//! that is dropped: what it did not write is gone, what it did not mark as
//! synced may be torn.

mod model;
mod readers;
mod tail;
mod trim;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use replicamq_quorum::{Entry, Position, Sequence};

use super::*;
use crate::{Damage, RealDisk};

const SEGMENT_BYTES: u64 = 32 << 10;

fn options(directory: &Path) -> LogOptions {
    LogOptions {
        disk: Arc::new(RealDisk),
        directory: directory.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        retention: Retention {
            bytes: u64::MAX,
            age: Duration::MAX,
        },
    }
}

fn create(directory: &Path) -> Log {
    Log::create(
        options(directory),
        Position::default(),
        EpochHistory::default(),
    )
    .unwrap()
}

fn reopen_above(directory: &Path, floor: Floor) -> (Log, Option<Damage>) {
    let examined = examine(&options(directory), floor).unwrap();
    let damage = examined.damage.clone();
    (examined.finish().unwrap(), damage)
}

fn reopen(directory: &Path) -> (Log, Option<Damage>) {
    reopen_above(directory, Floor::default())
}

fn entry(epoch: u64, sequence: u64, bytes: usize) -> Entry {
    let byte = u8::try_from(sequence % 251).unwrap();
    Entry {
        position: Position::new(epoch, sequence),
        batch: Bytes::from(vec![byte; bytes]),
    }
}

/// Entries as the batches of one group.
fn write(log: &mut Log, entries: &[Entry]) {
    log.stage(entries).unwrap();
    log.write().unwrap();
}

/// As an acknowledged group.
fn append(log: &mut Log, entries: &[Entry]) {
    write(log, entries);
    log.sync().unwrap();
    log.mark().unwrap();
}

fn fill(log: &mut Log, epoch: u64, from: u64, to: u64) {
    for sequence in from..=to {
        append(log, &[entry(epoch, sequence, 1000)]);
    }
}

fn read_all(log: &Log) -> Vec<Entry> {
    let after = Sequence(log.first().0 - 1);
    log.index().read(after, usize::MAX, None).unwrap().0
}

fn sequences(log: &Log) -> Vec<u64> {
    read_all(log)
        .iter()
        .map(|e| e.position.sequence.0)
        .collect()
}

fn active(log: &Log) -> (PathBuf, usize) {
    (log.active.path.clone(), usize::try_from(log.tail).unwrap())
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

fn moved(path: &Path, to: &Path) -> PathBuf {
    to.join(path.file_name().unwrap())
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_appended_is_there_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 50);
    fill(&mut log, 3, 51, 100);
    let before = read_all(&log);
    let history = log.history().clone();
    drop(log);
    let (log, damage) = reopen(directory.path());
    assert_eq!(damage, None);
    assert_eq!(log.last(), Position::new(3, 100));
    assert_eq!(log.first(), Sequence(1));
    assert_eq!(*log.history(), history);
    assert_eq!(read_all(&log), before);
    assert!(log.index.segments().len() > 2, "the test spans segments");
}

#[test]
fn batches_of_all_sizes_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    let sizes = [0, 1, 7, 8, 4063, 4064, 4096, 20_000, 130_000, 3 << 20, 5];
    let entries: Vec<_> = sizes
        .iter()
        .zip(1..)
        .map(|(&bytes, sequence)| entry(1, sequence, bytes))
        .collect();
    append(&mut log, &entries);
    assert_eq!(read_all(&log), entries);
    drop(log);
    let (log, damage) = reopen(directory.path());
    assert_eq!(damage, None);
    assert_eq!(read_all(&log), entries);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 3);
    let (path, from) = active(&log);
    // Not synced as far as anyone was told.
    write(&mut log, &[entry(1, 4, 300)]);
    let (_, to) = active(&log);
    drop(log);
    let whole = fs::read(&path).unwrap();
    for end in from..to {
        for rest in [0x00, 0xff] {
            let crashed = copy(directory.path());
            let mut bytes = whole.clone();
            bytes[end..to].fill(rest);
            fs::write(moved(&path, crashed.path()), bytes).unwrap();
            let (mut log, damage) = reopen(crashed.path());
            assert_eq!(damage, None, "torn at {}", end - from);
            // Only zeros were missing: the entry is whole.
            let last = log.last().sequence.0;
            assert!(last == 3 || end + 8 > to, "torn at {}", end - from);
            append(&mut log, &[entry(2, last + 1, 10)]);
            drop(log);
            let (log, damage) = reopen(crashed.path());
            assert_eq!((log.last(), damage), (Position::new(2, last + 1), None));
        }
    }
}

#[test]
fn a_torn_group_is_cut_at_its_first_bad_entry_and_its_rest_never_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 3);
    let (path, from) = active(&log);
    let group: Vec<_> = (4..=8).map(|sequence| entry(1, sequence, 100)).collect();
    write(&mut log, &group);
    drop(log);
    flip(&path, from + 132 + 40);
    let (mut log, damage) = reopen(directory.path());
    assert_eq!((log.last(), damage), (Position::new(1, 4), None));
    append(&mut log, &[entry(1, 5, 100)]);
    drop(log);
    let (log, damage) = reopen(directory.path());
    assert_eq!((log.last(), damage), (Position::new(1, 5), None));
}

#[test]
fn a_flipped_bit_under_synced_entries_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 4);
    let (path, offset) = active(&log);
    fill(&mut log, 1, 5, 8);
    drop(log);
    // In the length, the checksum, the position, the batch.
    for at in [0, 5, 10, 18, 26, 500] {
        let damaged = copy(directory.path());
        flip(&moved(&path, damaged.path()), offset + at);
        let (log, damage) = reopen(damaged.path());
        let Some(Damage::LogEntry {
            sequence,
            offset: found,
            ..
        }) = damage
        else {
            panic!("byte {at}: {damage:?}");
        };
        assert_eq!((sequence, found), (Sequence(5), offset as u64));
        assert_eq!(log.last(), Position::new(1, 4));
        let kept = moved(&path, damaged.path()).with_extension("damaged");
        assert!(kept.exists(), "a human may still want to look");
        drop(log);
        let (_, damage) = reopen(damaged.path());
        assert_eq!(damage, None, "it is put in order once");
    }
}

#[test]
fn a_flipped_bit_in_the_last_synced_entry_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 4);
    let (path, offset) = active(&log);
    fill(&mut log, 1, 5, 5);
    drop(log);
    flip(&path, offset + 100);
    let (log, damage) = reopen(directory.path());
    let Some(Damage::LogShort { needed, .. }) = damage else {
        panic!("{damage:?}");
    };
    assert_eq!(needed, Position::new(1, 5));
    assert_eq!(log.last(), Position::new(1, 4));
}

#[test]
fn a_missing_segment_or_header_is_damage_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 150);
    let segments = log.index.segments();
    let (history, last) = (log.history().clone(), log.last());
    drop(log);
    assert!(segments.len() >= 5);
    // The store holds all but the newest segment and a half.
    let applied = Position::new(1, segments[segments.len() - 2].previous.sequence.0 + 5);
    for (index, segment) in segments.iter().enumerate() {
        for gone in [true, false] {
            let damaged = copy(directory.path());
            let path = moved(&segment.path, damaged.path());
            if gone {
                fs::remove_file(&path).unwrap();
            } else {
                flip(&path, 30);
            }
            let floor = Floor {
                applied,
                history: history.clone(),
            };
            let (mut log, damage) = reopen_above(damaged.path(), floor);
            // Without its oldest segment a log is one that was trimmed.
            assert_eq!(damage.is_none(), gone && index == 0, "segment {index}");
            let expected = match segments.len() - index {
                1 => segment.previous,
                // The log cannot be continued; it begins anew after the store.
                2 => applied,
                _ => last,
            };
            assert_eq!(log.last(), expected, "segment {index}");
            fill(
                &mut log,
                2,
                expected.sequence.0 + 1,
                expected.sequence.0 + 50,
            );
            drop(log);
            let (log, damage) = reopen_above(
                damaged.path(),
                Floor {
                    applied,
                    history: history.clone(),
                },
            );
            assert_eq!(damage, None, "segment {index}");
            assert_eq!(log.last(), Position::new(2, expected.sequence.0 + 50));
        }
    }
}

#[test]
fn a_log_that_is_gone_begins_after_what_the_store_holds() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = EpochHistory::default();
    history.append(Position::new(4, 1));
    let applied = Position::new(4, 90);
    let (mut log, damage) = reopen_above(directory.path(), Floor { applied, history });
    assert!(
        matches!(damage, Some(Damage::LogSegmentMissing { .. })),
        "{damage:?}"
    );
    assert_eq!((log.last(), log.first()), (applied, Sequence(91)));
    fill(&mut log, 4, 91, 95);
    assert_eq!(sequences(&log), [91, 92, 93, 94, 95]);
}

#[test]
fn a_log_that_ends_below_the_store_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 10);
    drop(log);
    let floor = |epoch, sequence| {
        let mut history = EpochHistory::default();
        history.append(Position::new(epoch, 1));
        Floor {
            applied: Position::new(epoch, sequence),
            history,
        }
    };
    for floor in [floor(1, 11), floor(2, 10)] {
        let damaged = copy(directory.path());
        let applied = floor.applied;
        let (log, damage) = reopen_above(damaged.path(), floor);
        assert!(
            matches!(damage, Some(Damage::LogShort { .. })),
            "{damage:?}"
        );
        assert_eq!(log.last(), applied);
    }
}

#[test]
fn a_lost_durable_mark_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 3);
    drop(log);
    fs::remove_file(mark::path(directory.path())).unwrap();
    let (log, damage) = reopen(directory.path());
    assert!(matches!(damage, Some(Damage::File { .. })), "{damage:?}");
    assert_eq!(log.last(), Position::new(1, 3));
}

#[test]
fn recycled_segments_do_not_give_old_entries_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    log.options.retention.bytes = SEGMENT_BYTES;
    let mut sequence = 0;
    let mut trimmed = 0;
    while trimmed < 12 {
        sequence += 1;
        append(&mut log, &[entry(1, sequence, 1000)]);
        if log.trim(Sequence(sequence), None).unwrap().is_some() {
            trimmed += 1;
        }
        // Every so often, as after a crash.
        if sequence % 7 == 0 {
            drop(log);
            let floor = Floor {
                applied: Position::new(1, sequence),
                ..Floor::default()
            };
            let (opened, damage) = reopen_above(directory.path(), floor);
            assert_eq!((opened.last(), damage), (Position::new(1, sequence), None));
            log = opened;
            log.options.retention.bytes = SEGMENT_BYTES;
        }
    }
    assert!(log.first().0 > 100);
    let (path, offset) = active(&log);
    let stale = fs::read(path).unwrap()[offset..]
        .iter()
        .any(|&byte| byte != 0);
    assert!(stale, "the test ran over a recycled file");
}

#[test]
fn a_cut_goes_back_over_segments_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 60);
    fill(&mut log, 2, 61, 100);
    drop(log);
    for keep in [0, 1, 30, 31, 32, 59, 60, 61, 93, 99, 100] {
        let cut = copy(directory.path());
        let (mut log, _) = reopen(cut.path());
        let epoch = match keep {
            0 => 0,
            1..=60 => 1,
            _ => 2,
        };
        let keep = Position::new(epoch, keep);
        log.cut(keep, Sequence(0)).unwrap();
        assert_eq!(sequences(&log), (1..=keep.sequence.0).collect::<Vec<_>>());
        // Entries as long as those that were cut: theirs must not show up behind.
        fill(&mut log, 3, keep.sequence.0 + 1, keep.sequence.0 + 2);
        drop(log);
        let (log, damage) = reopen(cut.path());
        assert_eq!(damage, None, "cut after {keep}");
        assert_eq!(log.last(), Position::new(3, keep.sequence.0 + 2));
        assert_eq!(
            log.history().epoch_at(keep.sequence).unwrap_or_default(),
            keep.epoch
        );
    }
}

#[test]
fn a_cut_that_a_crash_interrupts_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 100);
    let keep = Position::new(1, 40);
    let segments = log.index.segments();
    note_cut(&log.options, keep).unwrap();
    drop(log);
    let holder = segments
        .iter()
        .rposition(|s| s.previous.sequence <= keep.sequence)
        .unwrap();
    // Steps of the cut that were carried out before the crash.
    for step in 0..3 {
        let crashed = copy(directory.path());
        if step > 0 {
            fs::remove_file(moved(&segments.last().unwrap().path, crashed.path())).unwrap();
        }
        if step > 1 {
            let path = moved(&segments[holder].path, crashed.path());
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() * 3 / 4;
            bytes[middle..middle + 4096].fill(0);
            fs::write(&path, bytes).unwrap();
        }
        let (log, damage) = reopen(crashed.path());
        assert_eq!((log.last(), damage), (keep, None), "step {step}");
        assert!(!cut_path(&options(crashed.path())).exists());
    }
}

/// The start that met the damage went on without the cut; the next one carried it out on
/// what had been appended since.
#[test]
fn a_cut_that_damage_makes_void_is_never_carried_out() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 20);
    note_cut(&log.options, Position::new(1, 10)).unwrap();
    let (path, begin) = (log.active.path.clone(), log.active.begin);
    drop(log);
    flip(&path, usize::try_from(begin).unwrap() + 3000);
    let (mut log, damage) = reopen(directory.path());
    let Some(Damage::LogEntry { sequence, .. }) = damage else {
        panic!("{damage:?}");
    };
    assert_eq!(log.last().sequence.next(), sequence);
    fill(&mut log, 2, sequence.0, 20);
    drop(log);
    let (log, damage) = reopen(directory.path());
    assert_eq!((log.last(), damage), (Position::new(2, 20), None));
}

#[test]
fn spares_that_crashes_left_are_told_apart() {
    for names in [["kept-0", "first-0"], ["first-0", "kept-0"]] {
        let directory = tempfile::tempdir().unwrap();
        let mut log = create(directory.path());
        fill(&mut log, 1, 1, 3);
        drop(log);
        for name in names {
            let path = directory.path().join(name).with_extension("spare");
            let bytes = usize::try_from(SEGMENT_BYTES).unwrap();
            fs::write(path, vec![1; bytes]).unwrap();
        }
        let (mut log, damage) = reopen(directory.path());
        assert_eq!(damage, None);
        fill(&mut log, 1, 4, 100);
        assert_eq!(sequences(&log), (1..=100).collect::<Vec<_>>());
    }
}

/// The slot that the cut did not write said how far the log had been synced before.
#[test]
fn a_mark_from_before_a_cut_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 10);
    log.cut(Position::new(1, 5), Sequence(0)).unwrap();
    drop(log);
    for slot in 0..2 {
        let damaged = copy(directory.path());
        flip(&mark::path(damaged.path()), slot * 4096 + 20);
        let (log, damage) = reopen(damaged.path());
        assert_eq!((log.last(), damage), (Position::new(1, 5), None));
    }
}

#[test]
fn a_cut_below_the_applied_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 10);
    for (keep, applied) in [
        (Position::new(1, 5), 6),
        (Position::new(2, 5), 0),
        (Position::new(1, 11), 0),
    ] {
        let error = log.cut(keep, Sequence(applied)).unwrap_err();
        assert!(matches!(error, LogError::CutRefused { .. }), "{error}");
        assert_eq!(log.last(), Position::new(1, 10));
    }
}

#[test]
fn an_entry_that_does_not_follow_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 5, 1, 3);
    for wrong in [entry(5, 5, 1), entry(5, 3, 1), entry(4, 4, 1)] {
        let error = log.stage(&[wrong]).unwrap_err();
        assert!(matches!(error, LogError::Gap { .. }), "{error}");
    }
}

#[test]
fn a_read_begins_anywhere_and_stops_at_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 100);
    let index = log.index();
    for after in [0, 1, 30, 31, 32, 98, 99] {
        let (entries, _) = index.read(Sequence(after), 2500, None).unwrap();
        let found: Vec<_> = entries.iter().map(|e| e.position.sequence.0).collect();
        let expected: Vec<_> = (after + 1..=(after + 3).min(100)).collect();
        assert_eq!(found, expected);
    }
    assert_eq!(index.read(Sequence(100), 2500, None).unwrap().0, []);
    assert_eq!(index.read(Sequence(50), 0, None).unwrap().0.len(), 1);
    // With a cursor, as a replica that catches up.
    let (mut after, mut cursor, mut seen) = (0, None, Vec::new());
    while after < 100 {
        let (entries, next) = index.read(Sequence(after), 5000, cursor).unwrap();
        seen.extend(entries.iter().map(|e| e.position.sequence.0));
        after = *seen.last().unwrap();
        cursor = next;
    }
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_reader_meets_a_flipped_bit_with_an_error_and_a_cut_without() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 10);
    let index = log.index();
    let (_, cursor) = index.read(Sequence(5), 1, None).unwrap();
    log.cut(Position::new(1, 4), Sequence(0)).unwrap();
    append(&mut log, &[entry(2, 5, 10), entry(2, 6, 3000)]);
    fill(&mut log, 2, 7, 8);
    let (entries, _) = index.read(Sequence(6), 9999, cursor).unwrap();
    assert_eq!(entries, [entry(2, 7, 1000), entry(2, 8, 1000)]);
    let (path, offset) = active(&log);
    flip(&path, offset - 100);
    let error = index.read(Sequence(6), 9999, None).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Damaged {
                sequence: Sequence(8),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_reader_beside_cuts_and_recycling_sees_rising_entries_and_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    log.options.retention.bytes = SEGMENT_BYTES;
    let index = log.index();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u64;
            while !done.load(Ordering::Acquire) {
                let first = index.first().0;
                let (entries, _) = index
                    .read(Sequence(first + reads % 40), 20_000, None)
                    .unwrap();
                for pair in entries.windows(2) {
                    assert_eq!(pair[0].position.sequence.next(), pair[1].position.sequence);
                    assert!(pair[0].position.epoch <= pair[1].position.epoch);
                }
                reads += 1;
            }
            reads
        });
        let mut last = 0;
        for epoch in 1..=200 {
            let sizes = [900, 3000, 10, 5000, 1200, 2500, 700, 40];
            let group: Vec<_> = sizes
                .iter()
                .zip(last + 1..)
                .map(|(bytes, sequence)| {
                    entry(epoch, sequence, bytes + 8 * usize::try_from(epoch).unwrap())
                })
                .collect();
            append(&mut log, &group);
            let keep = group[4].position;
            log.cut(keep, Sequence(0)).unwrap();
            last = keep.sequence.0;
            log.trim(Sequence(last), None).unwrap();
        }
        done.store(true, Ordering::Release);
        assert!(reader.join().unwrap() > 0);
    });
}
