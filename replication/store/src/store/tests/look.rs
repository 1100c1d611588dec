//! A look tells what a start would find, and leaves everything as it is.

use replicamq_log::{RealDisk, sealed};

use super::*;
use crate::{Fill, look};

/// What was done to a directory, and how.
type Case = (&'static str, fn(&Path));

/// Entries 1 to 3 are in the store, the rest in the log alone.
const LOG: &str = "generation-1/log/0000000000000001.segment";

/// Behind the header and as many entries as `puts` makes.
fn change(directory: &Path, entry: usize, change: impl Fn(&mut u8)) {
    let path = directory.join(LOG);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes[4096 + entry * 160]);
    fs::write(path, bytes).unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

const CASES: [Case; 10] = [
    ("nothing", |_| {}),
    ("a torn tail", |directory| {
        change(directory, 12, |byte| *byte = 7);
    }),
    ("a flipped bit in the log", |directory| {
        change(directory, 5, |byte| *byte ^= 1);
    }),
    ("a cut under way", |directory| {
        let fields = sealed::Fields::default()
            .with("epoch", &1)
            .with("sequence", &6);
        let path = directory.join("generation-1/log/CUT");
        sealed::store(&RealDisk, &path, "cut", &fields).unwrap();
    }),
    ("a log that is gone", |directory| {
        fs::remove_dir_all(directory.join("generation-1/log")).unwrap();
    }),
    ("a flipped bit in a note", |directory| {
        let path = directory.join("CURRENT");
        let mut bytes = fs::read(&path).unwrap();
        bytes[12] ^= 1;
        fs::write(path, bytes).unwrap();
    }),
    ("a lost promise", |directory| {
        remove(&directory.join("PROMISE"));
    }),
    ("a lost CURRENT", |directory| {
        remove(&directory.join("CURRENT"));
    }),
    ("a lost IDENTITY", |directory| {
        remove(&directory.join("IDENTITY"));
    }),
    ("a lost table", |directory| {
        for path in tree(directory).into_keys() {
            if path.extension().is_some_and(|name| name == "sst") {
                remove(&path);
            }
        }
    }),
];

#[test]
fn a_look_tells_what_a_start_finds_and_changes_not_a_byte() {
    for (what, hurt) in CASES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let rig = open(path);
        rig.commit(puts(1, 1, 3));
        rig.store.append(puts(1, 4, 9));
        rig.store.store_promise(Epoch(4));
        rig.store.close();
        hurt(path);
        let before = tree(path);
        let seen = look(&options(path)).unwrap().unwrap();
        assert!(before == tree(path), "{what}: the look changed something");
        let rig = open(path);
        let fill = if rig.recovered.unfilled {
            Fill::Unfilled
        } else {
            Fill::Filled
        };
        let found = (
            rig.recovered.last,
            rig.recovered.applied,
            rig.recovered.promised,
            fill,
            rig.damage.clone(),
        );
        let told = (
            seen.last,
            seen.applied,
            seen.promised,
            seen.fill,
            seen.damage,
        );
        assert_eq!(told, found, "{what}");
        assert_eq!(seen.identity.node, "broker-1");
        assert!(before != tree(path), "{what}: the start had nothing to do");
    }
}

#[test]
fn a_look_is_refused_while_a_process_has_the_directory_and_finds_nothing_where_none_had() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(look(&options(directory.path())).unwrap(), None);
    let nowhere = directory.path().join("nowhere");
    assert_eq!(look(&options(&nowhere)).unwrap(), None);
    assert!(!nowhere.exists());
    let rig = open(directory.path());
    let error = look(&options(directory.path())).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    rig.store.close();
    assert!(look(&options(directory.path())).unwrap().is_some());
}
