//! What a start does with a tail of which nobody knows whether it was synced.

use super::*;

/// What this thread gave the system to write, so far.
fn written_bytes() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

/// A sync fails and ends the process; the next one reads the tail from the page cache,
/// and its own sync has nothing to write, for the system believes the pages clean. So
/// the tail was acknowledged after all, and is not on the disk.
#[test]
fn a_tail_beyond_the_mark_is_written_again_before_it_counts() {
    const UNSYNCED: u64 = 7;
    let rewritten = |synced: u64, unsynced: u64| {
        let directory = tempfile::tempdir().unwrap();
        let mut log = create(directory.path());
        fill(&mut log, 1, 1, synced);
        for sequence in synced + 1..=synced + unsynced {
            write(&mut log, &[entry(1, sequence, 1000)]);
        }
        let before = read_all(&log);
        drop(log);
        let examined = examine(&options(directory.path()), Floor::default()).unwrap();
        assert_eq!(examined.damage, None);
        let already = written_bytes();
        let log = examined.finish().unwrap();
        let bytes = written_bytes() - already;
        assert_eq!(read_all(&log), before);
        assert_eq!(log.synced(), Position::new(1, synced + unsynced));
        bytes
    };
    let (none, some, late) = (
        rewritten(10, 0),
        rewritten(10, UNSYNCED),
        rewritten(50, UNSYNCED),
    );
    let more = some - none;
    assert!(
        (UNSYNCED * 1000..UNSYNCED * 1000 + 2 * PAGE_BYTES).contains(&more),
        "{more}"
    );
    assert!(
        late < some + 2 * PAGE_BYTES,
        "{late}: what is synced is left alone"
    );
}
