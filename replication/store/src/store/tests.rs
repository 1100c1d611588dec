//! The threads together, on a real directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use replicamq_proto::store::v1::{Batch, DeleteRange, Op, Put, op::Kind};

use super::*;
use crate::SyncMode;
use replicamq_log::LogError;

mod damage;
mod install;
mod look;
mod lost;
mod process;

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

    fn fatal(&self) -> FatalError {
        loop {
            if let StoreEvent::Fatal(error) = self.event() {
                return error;
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

/// All that lies in a directory, by path.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, Vec::new());
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
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
    let (release, released) = sync_channel::<()>(0);
    let released = std::sync::Mutex::new(released);
    // Holds the log's thread after its first group, as a slow disk would.
    let notify = move |event| {
        sender.send(event).unwrap();
        let waits = released.lock().unwrap();
        assert!(waits.recv().is_err(), "nothing is sent");
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
    while first.0 < 100 && sequence < 10_000 {
        let entries: Vec<_> = (1..=50)
            .map(|n| batch(1, sequence + n, vec![put(sequence + n, 2000)]))
            .collect();
        sequence += 50;
        let mut entries = Some(entries);
        rig.store.append(entries.clone().unwrap());
        loop {
            match rig.event() {
                StoreEvent::LogTrimmed { first: now } => first = now,
                StoreEvent::Logged { durable, .. } if durable.sequence.0 == sequence => {
                    rig.store.apply(entries.take().unwrap());
                }
                StoreEvent::Applied { sequence: applied } if applied.0 == sequence => break,
                StoreEvent::Fatal(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    assert!(first.0 >= 100, "nothing was trimmed in {sequence} entries");
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
    assert!(rig.store.sizes().log_bytes < 8 << 20);
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
    rig.store.replay(Sequence(7));
    rig.commit(puts(2, 8, 9));
    rig.store.truncate(Position::new(1, 4));
    let StoreEvent::Fatal(error) = rig.event() else {
        panic!("what is applied is never cut");
    };
    assert!(
        matches!(error, FatalError::Log(LogError::CutRefused { .. })),
        "{error}"
    );
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
