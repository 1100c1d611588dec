//! Which segments go, and which stay.

use super::*;

/// Until nothing more goes; the first sequence left, if anything went.
fn trim_all(log: &mut Log, flushed: Sequence, held: Option<Sequence>) -> Option<Sequence> {
    let mut first = None;
    while let Some(now) = log.trim(flushed, held).unwrap() {
        first = Some(now);
    }
    first
}

#[test]
fn nothing_is_trimmed_that_the_store_has_not_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    log.options.retention.bytes = 0;
    fill(&mut log, 1, 1, 100);
    assert_eq!(log.trim(Sequence(0), None).unwrap(), None);
    let second = log.index.segments()[1].first();
    assert_eq!(log.trim(Sequence(second.0 - 2), None).unwrap(), None);
    assert_eq!(
        log.trim(Sequence(second.0 - 1), None).unwrap(),
        Some(second)
    );
    assert_eq!(log.first(), second);
    assert_eq!(log.index().read(Sequence(1), 100, None).unwrap().0, []);
}

#[test]
fn what_a_replica_waits_for_stays_longer_but_not_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    log.options.retention.bytes = 2 * SEGMENT_BYTES;
    fill(&mut log, 1, 1, 200);
    let second = log.index.segments()[1].first();
    let third = log.index.segments()[2].first();
    let waiting = Some(Sequence(second.0 - 1));
    assert_eq!(log.trim(Sequence(200), waiting).unwrap(), Some(second));
    let waiting = Some(Sequence(second.0));
    assert_eq!(log.trim(Sequence(200), waiting).unwrap(), None);
    assert_eq!(log.first(), second);
    // Its disk is not the price of a replica that does not come.
    fill(&mut log, 1, 201, 400);
    let first = trim_all(&mut log, Sequence(400), waiting);
    assert!(first.is_some_and(|first| first >= third), "{first:?}");
    let kept = log.index.bytes();
    assert!((8..=10).contains(&(kept / SEGMENT_BYTES)), "{kept}");
}

#[test]
fn what_is_too_old_goes_though_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    let last = Sequence(100);
    fill(&mut log, 1, 1, last.0);
    log.options.retention.age = Duration::from_hours(1);
    assert_eq!(log.trim(last, None).unwrap(), None, "all of it is young");
    log.options.retention.age = Duration::ZERO;
    assert_eq!(log.trim(Sequence(0), None).unwrap(), None, "not flushed");
    assert_eq!(log.trim(last, Some(Sequence(0))).unwrap(), None, "awaited");
    let active = log.active.first();
    assert!(active > Sequence(1));
    let first = log.trim(last, None).unwrap();
    assert!(first < Some(active), "one at a time: {first:?}");
    let first = trim_all(&mut log, last, None);
    assert_eq!(first, Some(active), "the last file stays");
}

/// A queue with little traffic filled its file once in months, and kept all of it.
#[test]
fn a_file_that_is_too_old_is_filled_no_further() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    log.options.retention.age = Duration::from_hours(1);
    fill(&mut log, 1, 1, 3);
    assert_eq!(log.active.first(), Sequence(1), "there is room");
    log.options.retention.age = Duration::ZERO;
    fill(&mut log, 1, 4, 4);
    assert_eq!(log.active.first(), Sequence(4));
    assert_eq!(trim_all(&mut log, Sequence(4), None), Some(Sequence(4)));
    assert_eq!(sequences(&log), [4]);
    log.options.retention.age = Duration::from_hours(1);
    fill(&mut log, 1, 5, 6);
    assert_eq!(sequences(&log), [4, 5, 6]);
    let floor = Floor {
        applied: Position::new(1, 4),
        history: log.history().clone(),
    };
    drop(log);
    let (log, damage) = reopen_above(directory.path(), floor);
    assert_eq!((sequences(&log), damage), (vec![4, 5, 6], None));
}
