//! The threads together, on a real directory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use replicamq_proto::store::v1::{Batch, DeleteRange, Op, Put, op::Kind};
use replicamq_quorum::NodeId;

use super::*;
use crate::sealed::{self, Loaded};
use crate::{InstallError, SyncMode, install, staging_directory};

const WAIT: Duration = Duration::from_secs(30);

struct Rig {
    store: Store,
    events: Receiver<StoreEvent>,
    recovered: Recovered,
    damage: Option<Damage>,
}

fn options(directory: &Path) -> Options {
    Options {
        segment_bytes: 64 << 10,
        created_unfilled: false,
        ..Options::new(directory, "broker-1")
    }
}

fn try_open(options: Options) -> Result<Rig, OpenError> {
    let (sender, events) = mpsc::channel();
    let notify = move |event| drop(sender.send(event));
    let opened = Store::open(options, Arc::new(notify))?;
    Ok(Rig {
        store: opened.store,
        events,
        recovered: opened.recovered,
        damage: opened.damage,
    })
}

fn open(directory: &Path) -> Rig {
    try_open(options(directory)).unwrap()
}

impl Rig {
    fn event(&self) -> StoreEvent {
        self.events.recv_timeout(WAIT).expect("the store answers")
    }

    fn wait_logged(&self, sequence: u64) {
        loop {
            match self.event() {
                StoreEvent::Logged { durable, .. } if durable.sequence.0 >= sequence => break,
                StoreEvent::Fatal(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    fn wait_applied(&self, to: u64) {
        loop {
            match self.event() {
                StoreEvent::Applied { sequence } if sequence.0 >= to => break,
                StoreEvent::Fatal(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    /// Appends and applies, as a node that stands alone does.
    fn commit(&self, entries: Vec<Entry>) {
        let last = entries.last().unwrap().position.sequence.0;
        self.store.append(entries.clone());
        self.wait_logged(last);
        self.store.apply(entries);
        self.wait_applied(last);
    }

    fn load(&self, load: Load) -> (Vec<(Bytes, Bytes)>, bool) {
        self.store.load(load);
        loop {
            match self.event() {
                StoreEvent::Loaded {
                    token: 7,
                    pairs,
                    more,
                } => return (pairs, more),
                StoreEvent::Fatal(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    fn keys(&self) -> Vec<String> {
        let (pairs, more) = self.load(everything());
        assert!(!more);
        let text = |key: Bytes| String::from_utf8(key.to_vec()).unwrap();
        pairs.into_iter().map(|(key, _)| text(key)).collect()
    }
}

fn everything() -> Load {
    Load {
        token: 7,
        from: Bytes::new(),
        to: Bytes::new(),
        pairs_max: usize::MAX,
        bytes_max: usize::MAX,
        reverse: false,
    }
}

fn key(number: u64) -> String {
    format!("key-{number:06}")
}

fn put(number: u64, bytes: usize) -> Op {
    Op {
        kind: Some(Kind::Put(Put {
            key: Bytes::from(key(number)),
            value: Bytes::from(vec![b'v'; bytes]),
        })),
    }
}

fn batch(epoch: u64, sequence: u64, ops: Vec<Op>) -> Entry {
    Entry {
        position: Position::new(epoch, sequence),
        batch: Bytes::from(Batch { ops }.encode_to_vec()),
    }
}

/// Each puts a key of its own number.
fn puts(epoch: u64, from: u64, to: u64) -> Vec<Entry> {
    (from..=to)
        .map(|sequence| batch(epoch, sequence, vec![put(sequence, 100)]))
        .collect()
}

/// What a crash of the process leaves: the files as they are now.
fn crash(directory: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(directory, to.path());
    to
}

#[test]
fn what_was_committed_is_there_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    assert_eq!(
        rig.recovered,
        Recovered {
            log_first: Sequence(1),
            ..Recovered::default()
        }
    );
    rig.commit(puts(1, 1, 5));
    rig.commit(vec![
        batch(2, 6, Vec::new()),
        batch(
            2,
            7,
            vec![Op {
                kind: Some(Kind::Delete(Bytes::from(key(1)))),
            }],
        ),
        batch(
            2,
            8,
            vec![Op {
                kind: Some(Kind::DeleteRange(DeleteRange {
                    from: Bytes::from(key(3)),
                    to: Bytes::from(key(5)),
                })),
            }],
        ),
    ]);
    assert_eq!(rig.keys(), [key(2), key(5)]);
    rig.store.close();
    let rig = open(directory.path());
    assert_eq!(rig.damage, None);
    assert_eq!(rig.recovered.last, Position::new(2, 8));
    assert_eq!(rig.recovered.applied, Sequence(8));
    assert_eq!(rig.recovered.promised, Epoch(2));
    assert_eq!(rig.recovered.history.starts().len(), 2);
    assert_eq!(rig.keys(), [key(2), key(5)]);
}

#[test]
fn what_queues_during_a_sync_goes_with_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, events) = mpsc::channel();
    let (release, released) = mpsc::sync_channel::<()>(0);
    let released = std::sync::Mutex::new(released);
    // Holds the log's thread after its first group, as a slow disk would.
    let notify = move |event| {
        sender.send(event).unwrap();
        let waits = released.lock().unwrap();
        drop(waits.recv());
    };
    let opened = Store::open(options(directory.path()), Arc::new(notify)).unwrap();
    opened.store.append(puts(1, 1, 1));
    let durable = || match events.recv_timeout(WAIT).unwrap() {
        StoreEvent::Logged { durable, .. } => durable.sequence.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(durable(), 1);
    for sequence in 2..=500 {
        opened.store.append(puts(1, sequence, sequence));
    }
    drop(release);
    assert_eq!(durable(), 500, "one group for all that waited");
}

#[test]
fn a_store_that_crashed_holds_exactly_what_it_says_and_replays_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.commit(puts(1, 1, 20));
    rig.store.table.flush(true).unwrap();
    rig.commit(puts(1, 21, 40));
    let crashed = crash(directory.path());
    let rig = open(crashed.path());
    assert_eq!(rig.damage, None);
    assert_eq!(rig.recovered.applied, Sequence(20));
    assert_eq!(rig.recovered.last, Position::new(1, 40));
    assert_eq!(rig.keys(), (1..=20).map(key).collect::<Vec<_>>());
    rig.store.replay(Sequence(33));
    rig.wait_applied(33);
    assert_eq!(rig.keys(), (1..=33).map(key).collect::<Vec<_>>());
    rig.store.replay(Sequence(33));
    rig.wait_applied(33);
    rig.store.apply(puts(1, 34, 40));
    rig.wait_applied(40);
    assert_eq!(rig.keys().len(), 40);
}

#[test]
fn a_crash_at_any_moment_of_a_load_leaves_one_position() {
    let directory = tempfile::tempdir().unwrap();
    let mut small = options(directory.path());
    small.write_buffer_bytes = 64 << 10;
    small.replay_bytes_max = 64 << 10;
    let rig = try_open(small).unwrap();
    for round in 0..8 {
        let entries: Vec<_> = (1..=100)
            .map(|n| {
                let sequence = round * 100 + n;
                // The key, and a second one that must go with it.
                let ops = vec![put(sequence, 1000), put(500_000 + sequence, 10)];
                batch(1, sequence, ops)
            })
            .collect();
        rig.commit(entries);
        let crashed = crash(directory.path());
        let rig = open(crashed.path());
        assert_eq!(rig.damage, None);
        let applied = rig.recovered.applied.0;
        let expected = (1..=applied).chain(500_001..=500_000 + applied);
        assert_eq!(rig.keys(), expected.map(key).collect::<Vec<_>>());
    }
}

#[test]
fn a_load_keeps_to_its_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.commit(puts(1, 1, 20));
    let load = |from: u64, to: u64, pairs_max, bytes_max, reverse| {
        let (pairs, more) = rig.load(Load {
            from: Bytes::from(key(from)),
            to: Bytes::from(key(to)),
            pairs_max,
            bytes_max,
            reverse,
            ..everything()
        });
        let number = |key: &Bytes| String::from_utf8_lossy(&key[4..]).parse::<u64>().unwrap();
        let keys: Vec<_> = pairs.iter().map(|(key, _)| number(key)).collect();
        (keys, more)
    };
    assert_eq!(load(5, 9, 100, 1 << 20, false), (vec![5, 6, 7, 8], false));
    assert_eq!(load(5, 9, 3, 1 << 20, false), (vec![5, 6, 7], true));
    assert_eq!(load(5, 9, 4, 1 << 20, false), (vec![5, 6, 7, 8], false));
    assert_eq!(load(5, 9, 3, 1 << 20, true), (vec![8, 7, 6], true));
    assert_eq!(load(5, 9, 100, 150, false), (vec![5, 6], true));
    assert_eq!(load(5, 9, 100, 1, false), (vec![5], true));
    assert_eq!(load(9, 5, 100, 1 << 20, false), (vec![], false));
    assert_eq!(load(30, 40, 100, 1 << 20, true), (vec![], false));
}

#[test]
fn a_load_sees_what_was_handed_over_before() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.store.apply(puts(1, 1, 300));
    rig.store.apply(puts(1, 301, 600));
    assert_eq!(rig.keys().len(), 600);
}

#[test]
fn a_promise_survives_and_outranks_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.store.append(puts(1, 1, 3));
    rig.store.store_promise(Epoch(9));
    loop {
        match rig.event() {
            StoreEvent::PromiseStored { epoch } => break assert_eq!(epoch, Epoch(9)),
            StoreEvent::Logged { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let rig = open(crash(directory.path()).path());
    assert_eq!(rig.recovered.promised, Epoch(9));
    assert_eq!(rig.recovered.last, Position::new(1, 3));
}

#[test]
fn a_lost_promise_is_damage_and_stays_until_the_store_is_filled() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.commit(puts(4, 1, 3));
    rig.store.close();
    fs::write(directory.path().join("PROMISE"), "nonsense").unwrap();
    let rig = open(directory.path());
    assert!(
        matches!(rig.damage, Some(Damage::File { .. })),
        "{:?}",
        rig.damage
    );
    assert!(rig.recovered.unfilled);
    assert_eq!(rig.recovered.promised, Epoch(4));
    rig.store.close();
    let rig = open(directory.path());
    assert_eq!(rig.damage, None);
    assert!(rig.recovered.unfilled);
    rig.store.mark_filled().unwrap();
    rig.store.close();
    assert!(!open(directory.path()).recovered.unfilled);
}

#[test]
fn a_log_that_is_damaged_makes_the_node_unfilled() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.commit(puts(1, 1, 3));
    rig.store.append(puts(1, 4, 9));
    rig.wait_logged(9);
    let log = rig
        .store
        .directory
        .log_options(&rig.store.options)
        .directory;
    rig.store.close();
    let segment = log.join("0000000000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    // In the entries after those that the store holds.
    bytes[4096 + 5 * 160] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let rig = open(directory.path());
    assert!(rig.damage.is_some());
    assert!(rig.recovered.unfilled);
    assert_eq!(rig.recovered.applied, Sequence(3));
    assert_eq!(rig.keys().len(), 3);
}

#[test]
fn a_damaged_store_is_put_aside_and_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.commit(puts(3, 1, 100));
    let table = rig.store.directory.table_path();
    rig.store.close();
    let is_table = |path: &Path| path.extension().is_some_and(|extension| extension == "sst");
    for entry in fs::read_dir(&table).unwrap() {
        let path = entry.unwrap().path();
        if is_table(&path) {
            fs::remove_file(path).unwrap();
        }
    }
    let rig = open(directory.path());
    assert!(
        matches!(rig.damage, Some(Damage::Store { .. })),
        "{:?}",
        rig.damage
    );
    assert!(rig.recovered.unfilled);
    assert_eq!(rig.recovered.last, Position::default());
    assert!(directory.path().join("damaged").exists());
    rig.commit(puts(1, 1, 3));
    rig.store.close();
    let rig = open(directory.path());
    assert_eq!(rig.damage, None);
    assert!(rig.recovered.unfilled);
    assert_eq!(rig.keys().len(), 3);
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    let error = try_open(options(directory.path())).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    rig.store.close();
    open(directory.path());
}

#[test]
fn a_directory_of_another_node_or_of_no_known_kind_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).store.close();
    let other = Options {
        node: "broker-2".to_owned(),
        ..options(directory.path())
    };
    let error = try_open(other).err().unwrap();
    assert!(matches!(error, OpenError::OtherNode { .. }), "{error}");
    for name in ["IDENTITY", "CURRENT"] {
        let broken = crash(directory.path());
        fs::remove_file(broken.path().join(name)).unwrap();
        let error = try_open(options(broken.path())).err().unwrap();
        assert!(
            matches!(error, OpenError::Unreadable { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn an_unwritable_directory_is_refused_with_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.join("data"), Path::new("/proc/replicamq").to_owned()] {
        let error = try_open(options(&path)).err().unwrap();
        assert!(matches!(error, OpenError::Disk(_)), "{error}");
        assert!(
            error.to_string().contains(&*path.to_string_lossy()),
            "{error}"
        );
    }
}

#[test]
fn making_a_directory_that_a_crash_interrupts_begins_again() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).store.close();
    for gone in ["CURRENT", "IDENTITY", "PROMISE", "generation-1"] {
        let crashed = crash(directory.path());
        fs::write(crashed.path().join("CREATING"), "").unwrap();
        let path = crashed.path().join(gone);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        let rig = open(crashed.path());
        assert_eq!(rig.damage, None, "{gone}");
        rig.commit(puts(1, 1, 3));
        assert!(!crashed.path().join("CREATING").exists());
    }
}

#[test]
fn a_cluster_is_adopted_once() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    assert_eq!(rig.store.identity().cluster, None);
    rig.store.set_cluster("blue").unwrap();
    rig.store.set_cluster("blue").unwrap();
    let error = rig.store.set_cluster("green").unwrap_err();
    assert!(
        matches!(error, ClusterError::OtherCluster { .. }),
        "{error}"
    );
    assert!(rig.store.set_cluster("two\nlines").is_err());
    let before = rig.store.identity();
    rig.store.close();
    assert_eq!(open(directory.path()).store.identity(), before);
    assert_eq!(before.cluster.as_deref(), Some("blue"));
}

#[test]
fn the_log_is_trimmed_once_the_store_is_flushed_and_read_for_replicas() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        retention_bytes: 128 << 10,
        replay_bytes_max: 256 << 10,
        ..options(directory.path())
    };
    let rig = try_open(small).unwrap();
    let mut first = Sequence(1);
    let mut sequence = 0;
    while first.0 < 100 && sequence < 100_000 {
        let entries: Vec<_> = (1..=50)
            .map(|n| batch(1, sequence + n, vec![put(sequence + n, 2000)]))
            .collect();
        sequence += 50;
        rig.store.append(entries.clone());
        rig.store.apply(entries);
        while let Ok(event) = rig.events.try_recv() {
            match event {
                StoreEvent::LogTrimmed { first: now } => first = now,
                StoreEvent::Fatal(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    assert!(first.0 >= 100, "nothing was trimmed in {sequence} entries");
    rig.wait_logged(sequence);
    let read = |after: u64| {
        rig.store.read_log(ReadLog {
            to: NodeId::new("broker-2"),
            after: Sequence(after),
            bytes_max: 10_000,
        });
        loop {
            if let StoreEvent::LogRead {
                after: asked,
                entries,
                ..
            } = rig.event()
            {
                assert_eq!(asked.0, after);
                return entries;
            }
        }
    };
    assert!(read(1).is_empty());
    let entries = read(sequence - 20);
    assert_eq!(entries[0].position.sequence.0, sequence - 19);
    let next = read(entries.last().unwrap().position.sequence.0);
    assert_eq!(
        next[0].position.sequence.0,
        sequence - 20 + entries.len() as u64 + 1
    );
    assert!(rig.store.sizes().log_bytes < 1 << 20);
    assert!(rig.store.sizes().store_bytes > 0);
}

#[test]
fn a_cut_is_reported_and_never_reaches_the_applied() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.commit(puts(1, 1, 5));
    rig.store.append(puts(1, 6, 9));
    rig.wait_logged(9);
    rig.store.truncate(Position::new(1, 7));
    assert!(matches!(rig.event(), StoreEvent::Truncated { keep } if keep == Position::new(1, 7)));
    let StoreEvent::Logged { appended, durable } = rig.event() else {
        panic!("the new end is reported");
    };
    assert_eq!(
        (appended, durable),
        (Position::new(1, 7), Position::new(1, 7))
    );
    rig.commit(puts(2, 8, 9));
    rig.store.truncate(Position::new(1, 4));
    let StoreEvent::Fatal(error) = rig.event() else {
        panic!("what is applied is never cut");
    };
    assert!(matches!(error, FatalError::CutRefused { .. }), "{error}");
}

#[test]
fn a_batch_that_does_not_decode_stops_the_node() {
    let directory = tempfile::tempdir().unwrap();
    for wrong in [
        Bytes::from_static(b"\xff\xff"),
        Bytes::from(
            Batch {
                ops: vec![Op { kind: None }],
            }
            .encode_to_vec(),
        ),
    ] {
        let rig = open(directory.path());
        rig.store.apply(vec![Entry {
            position: Position::new(1, 1),
            batch: wrong,
        }]);
        let StoreEvent::Fatal(error) = rig.event() else {
            panic!("it was taken");
        };
        assert!(matches!(error, FatalError::BatchInvalid { .. }), "{error}");
    }
}

/// A filled store, and a checkpoint of it in the staging directory of another.
fn staged(target: &Path) -> CheckpointInfo {
    let source = tempfile::tempdir().unwrap();
    let rig = open(source.path());
    rig.commit(puts(2, 1, 30));
    rig.commit(puts(5, 31, 50));
    let checkpoint = source.path().join("outgoing");
    let info = rig.store.checkpoint(&checkpoint).unwrap();
    assert_eq!(info.applied, Position::new(5, 50));
    assert_eq!(info.history.starts().len(), 2);
    // A checkpoint stays as it is while the store goes on.
    rig.commit(puts(5, 51, 60));
    let staging = staging_directory(target);
    fs::create_dir_all(&staging).unwrap();
    for (name, size) in &info.files {
        let copied = fs::copy(checkpoint.join(name), staging.join(name)).unwrap();
        assert_eq!(copied, *size);
    }
    info
}

fn old_store(directory: &Path) {
    let rig = open(directory);
    rig.commit(puts(1, 1, 7));
    rig.store.store_promise(Epoch(6));
    rig.store.close();
}

fn assert_installed(rig: &Rig) {
    assert_eq!(rig.damage, None);
    assert_eq!(rig.recovered.applied, Sequence(50));
    assert_eq!(rig.recovered.last, Position::new(5, 50));
    assert_eq!(rig.recovered.log_first, Sequence(51));
    assert_eq!(
        rig.recovered.promised,
        Epoch(6),
        "a promise outlives the store"
    );
    assert_eq!(rig.recovered.history.starts().len(), 2);
    assert!(rig.recovered.filling && !rig.recovered.unfilled);
    assert_eq!(rig.keys(), (1..=50).map(key).collect::<Vec<_>>());
}

#[test]
fn a_checkpoint_takes_the_place_of_log_and_store() {
    let directory = tempfile::tempdir().unwrap();
    old_store(directory.path());
    let info = staged(directory.path());
    install(
        directory.path(),
        &staging_directory(directory.path()),
        &info,
    )
    .unwrap();
    let rig = open(directory.path());
    assert_installed(&rig);
    rig.commit(puts(5, 51, 80));
    rig.store.mark_filled().unwrap();
    rig.store.close();
    let rig = open(directory.path());
    assert_eq!(rig.recovered.last, Position::new(5, 80));
    assert!(!rig.recovered.filling && !rig.recovered.unfilled);
    assert_eq!(rig.keys().len(), 80);
}

#[test]
fn a_crash_while_a_checkpoint_is_installed_leaves_the_old_store_or_the_new() {
    let directory = tempfile::tempdir().unwrap();
    old_store(directory.path());
    let old = crash(directory.path());
    let info = staged(directory.path());
    let staging = staging_directory(directory.path());
    let before = crash(directory.path());
    install(directory.path(), &staging, &info).unwrap();

    // The new generation is begun, or complete, but does not count yet.
    for complete in [false, true] {
        let crashed = crash(before.path());
        let made = crashed.path().join("generation-2");
        fs::create_dir_all(made.join("log")).unwrap();
        if complete {
            fs::remove_dir_all(&made).unwrap();
            let whole = crash(&directory.path().join("generation-2"));
            fs::rename(whole.path(), &made).unwrap();
            fs::remove_dir_all(staging_directory(crashed.path())).unwrap();
        }
        let rig = open(crashed.path());
        assert_eq!(rig.recovered.last, Position::new(1, 7));
        assert_eq!(rig.keys().len(), 7);
        assert!(!made.exists(), "what does not count is removed");
    }

    // It counts, but the old one is still there.
    let crashed = crash(directory.path());
    let left = crashed.path().join("generation-1");
    fs::rename(old.path().join("generation-1"), &left).unwrap();
    assert_installed(&open(crashed.path()));
    assert!(!left.exists(), "what does not count is removed");
}

#[test]
fn a_checkpoint_that_is_not_what_was_announced_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    old_store(directory.path());
    let info = staged(directory.path());
    let staging = staging_directory(directory.path());
    let wrong = CheckpointInfo {
        applied: Position::new(5, 49),
        ..info.clone()
    };
    let error = install(directory.path(), &staging, &wrong).unwrap_err();
    assert!(
        matches!(error, InstallError::NotAsAnnounced { .. }),
        "{error}"
    );
    let table = info.files.iter().find(|(name, _)| name.ends_with(".sst"));
    fs::remove_file(staging.join(&table.unwrap().0)).unwrap();
    let error = install(directory.path(), &staging, &info).unwrap_err();
    assert!(
        matches!(error, InstallError::NotAsAnnounced { .. }),
        "{error}"
    );
    assert_eq!(open(directory.path()).recovered.last, Position::new(1, 7));
    let rig = open(directory.path());
    let error = install(directory.path(), &staging, &info).unwrap_err();
    assert!(
        matches!(error, InstallError::Open(OpenError::Locked { .. })),
        "{error}"
    );
    drop(rig);
}

#[test]
fn entries_in_memory_only_are_damage_after_a_crash_of_the_machine() {
    let directory = tempfile::tempdir().unwrap();
    let memory = || Options {
        sync: SyncMode::Memory,
        ..options(directory.path())
    };
    let rig = try_open(memory()).unwrap();
    rig.store.append(puts(1, 1, 3));
    rig.wait_logged(3);
    let process = crash(directory.path());
    let machine = crash(directory.path());
    rig.store.close();
    // A process that dies leaves the page cache to the kernel.
    let rig = open(process.path());
    assert_eq!(
        (rig.damage.clone(), rig.recovered.last),
        (None, Position::new(1, 3))
    );
    // Another boot, as after a crash of the machine.
    let path = machine.path().join("CURRENT");
    let Loaded::Fields(fields) = sealed::load(&path, "current").unwrap() else {
        panic!("it was just written");
    };
    sealed::store(&path, "current", &fields.with("memory-boot", &"another")).unwrap();
    let rig = open(machine.path());
    assert_eq!(rig.damage, Some(Damage::UnsyncedLost));
    assert!(rig.recovered.unfilled);
    // A store that was closed has synced.
    assert_eq!(open(directory.path()).damage, None);
    let text = fs::read_to_string(directory.path().join("CURRENT")).unwrap();
    assert!(!text.contains("memory-boot"));
}

/// Set for the child process of the test below: where it works.
const FULL: &str = "REPLICAMQ_TEST_FULL";

#[test]
fn a_full_disk_stops_the_node_with_the_reason() {
    let name = "store::tests::a_full_disk_stops_the_node_with_the_reason";
    if let Ok(directory) = std::env::var(FULL) {
        return fill_the_disk(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    // A limit on the size of files fails as a full disk does, without being root.
    let output = Command::new("sh")
        .arg("-c")
        .arg("trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture")
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(FULL, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // With space again, everything that was acknowledged is there.
    let acknowledged = fs::read_to_string(directory.path().join("acknowledged")).unwrap();
    let rig = open(&directory.path().join("data"));
    assert_eq!(rig.damage, None);
    assert!(rig.recovered.last.sequence.0 >= acknowledged.parse().unwrap());
}

fn fill_the_disk(directory: &Path) {
    let data = directory.join("data");
    let rig = open(&data);
    let limit = rustix::process::Rlimit {
        current: Some(32 << 10),
        maximum: None,
    };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        rig.store
            .append(vec![batch(1, acknowledged + 1, vec![put(1, 1000)])]);
        match rig.event() {
            StoreEvent::Logged { durable, .. } => acknowledged = durable.sequence.0,
            StoreEvent::Fatal(error) => break error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(acknowledged > 3, "the limit came too early");
    assert!(error.contains(&*data.to_string_lossy()), "{error}");
    assert!(
        error.contains("File too large") && error.contains("ulimit"),
        "{error}"
    );
    // Nothing more is taken in, and nobody hangs.
    rig.store
        .append(vec![batch(1, acknowledged + 1, Vec::new())]);
    fs::write(directory.join("acknowledged"), acknowledged.to_string()).unwrap();
    rig.store.close();
}
