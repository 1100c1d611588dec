//! Whole processes that are killed, or run into a full disk.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

/// Set for the child process of the test below: where it works.
const KILLED: &str = "REPLICAMQ_TEST_KILLED";

#[test]
fn a_process_that_is_killed_leaves_every_acknowledged_entry_and_one_position() {
    let name = "store::tests::process::a_process_that_is_killed_leaves_every_acknowledged_entry_and_one_position";
    if let Ok(directory) = std::env::var(KILLED) {
        return write_until_killed(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(KILLED, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let numbers = lines
            .map_while(Result::ok)
            .filter_map(|line| line.parse::<u64>().ok());
        for (index, number) in numbers.enumerate() {
            if index == 20 * round {
                child.kill().unwrap();
            }
            acknowledged = number;
        }
        child.wait().unwrap();
        assert!(acknowledged > 0);
        let rig = open(directory.path());
        assert_eq!(rig.damage, None);
        let last = rig.recovered.last.sequence.0;
        assert!(last >= acknowledged, "{last} of {acknowledged}");
        let both = |to| {
            (1..=to)
                .chain(500_001..=500_000 + to)
                .map(key)
                .collect::<Vec<_>>()
        };
        assert_eq!(rig.keys(), both(rig.recovered.applied.0));
        rig.store.replay(Sequence(last));
        rig.wait_applied(last);
        assert_eq!(rig.keys(), both(last));
    }
}

fn write_until_killed(directory: &Path) {
    let rig = try_open(Options {
        write_buffer_bytes: 64 << 10,
        ..options(directory)
    })
    .unwrap();
    let mut last = rig.recovered.last.sequence.0;
    rig.store.replay(Sequence(last));
    loop {
        let entries: Vec<_> = (last + 1..=last + 10)
            .map(|sequence| {
                // A key, and a second one that must go with it.
                let ops = vec![put(sequence, 1000), put(500_000 + sequence, 10)];
                batch(1, sequence, ops)
            })
            .collect();
        last += 10;
        rig.store.append(entries.clone());
        rig.wait_logged(last);
        // To the parent, which kills this process when it has seen enough.
        writeln!(io::stdout(), "{last}").unwrap();
        rig.store.apply(entries);
    }
}

/// Set for the child process of the test below: where it works.
const FULL: &str = "REPLICAMQ_TEST_FULL";

#[test]
fn a_full_disk_stops_the_node_with_the_reason() {
    let name = "store::tests::process::a_full_disk_stops_the_node_with_the_reason";
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

/// A crash in mid-fetch left as much as a whole store on the disk, until the next fetch.
#[test]
fn a_start_removes_what_is_left_of_a_checkpoint_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not").join("there");
    open(&path).store.close();
    let staging = crate::staging_directory(&path);
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("000007.sst"), "half of it").unwrap();
    open(&path).store.close();
    assert!(!staging.exists());
}
