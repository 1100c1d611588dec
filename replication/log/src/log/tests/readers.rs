//! Reading beside changes that have nothing to do with what is read.

use std::sync::Barrier;

use super::*;

/// It gave up after eight changes, with an empty read: the applier took that for
/// entries that are not there, and a master for a log that begins later.
#[test]
fn old_segments_that_go_disturb_nobody_who_reads_new_ones() {
    const OLD: usize = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    fill(&mut log, 1, 1, 25);
    let newest = log.index.segments().pop().unwrap();
    let mut segments = vec![
        Segment {
            number: 0,
            ..newest.clone()
        };
        OLD
    ];
    segments.push(newest);
    let index = Index::new(segments, log.last(), log.tail);
    let (begin, done) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            begin.wait();
            let none = Retention {
                bytes: 0,
                age: Duration::MAX,
            };
            let now = pace::now();
            while index.drop_oldest(none, now, Sequence(0), None).is_some() {}
            done.store(true, Ordering::Release);
        });
        begin.wait();
        while !done.load(Ordering::Acquire) {
            let (entries, _) = index.read(Sequence(5), 1 << 20, None).unwrap();
            assert_eq!(entries.len(), 20);
        }
    });
}

#[test]
fn a_read_of_what_goes_is_empty_or_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    log.options.retention.bytes = 0;
    fill(&mut log, 1, 1, 200);
    let index = log.index();
    let trimmed = thread::scope(|scope| {
        let trimming = scope.spawn(|| log.trim(Sequence(200), None).unwrap().unwrap());
        loop {
            let (entries, _) = index.read(Sequence(0), 60_000, None).unwrap();
            let Some(first) = entries.first() else {
                break;
            };
            assert_eq!(*first, entry(1, 1, 1000));
        }
        trimming.join().unwrap()
    });
    let (entries, _) = index
        .read(Sequence(trimmed.0 - 1), usize::MAX, None)
        .unwrap();
    assert_eq!(entries, read_all(&log));
}
