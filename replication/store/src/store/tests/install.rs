//! Checkpoints, and putting one in place.

use super::*;
use crate::{CheckpointError, InstallError, install, staging_directory, verify};

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

/// The store goes on under a checkpoint that is being sent: it overwrites, deletes, flushes and
/// compacts what is in it.
#[test]
fn a_checkpoint_outlives_what_its_store_does_afterwards() {
    let source = tempfile::tempdir().unwrap();
    let small = Options {
        replay_bytes_max: 64 << 10,
        retention_bytes: 64 << 10,
        write_buffer_bytes: 64 << 10,
        ..options(source.path())
    };
    let rig = try_open(small).unwrap();
    let bulk = |from: u64, to: u64| (from..=to).map(|n| batch(1, n, vec![put(n % 50, 4000)]));
    rig.commit(bulk(1, 200).collect());
    let before = rig.keys();
    let checkpoint = source.path().join("outgoing");
    let info = rig.store.checkpoint(&checkpoint).unwrap();
    let table = rig.store.directory.table_path();
    let gone = |(name, _): &&(String, u64)| name.contains(".sst") && !table.join(name).exists();
    let mut last = 200;
    while !info.files.iter().any(|file| gone(&file)) {
        assert!(last < 100_000, "the store drops no file of the checkpoint");
        rig.commit(bulk(last + 1, last + 200).collect());
        last += 200;
    }
    rig.store.close();

    let target = tempfile::tempdir().unwrap();
    open(target.path()).store.close();
    let staging = staging_directory(target.path());
    fs::create_dir_all(&staging).unwrap();
    for (name, size) in &info.files {
        let copied = fs::copy(checkpoint.join(name), staging.join(name)).unwrap();
        assert_eq!(copied, *size);
    }
    install(target.path(), &staging, &info, None).unwrap();
    let rig = open(target.path());
    assert_eq!(rig.recovered.applied, Sequence(200));
    assert_eq!(rig.keys(), before);
}

/// The store is whole, and the operator is not sent to look after it.
#[test]
fn a_checkpoint_that_the_system_refuses_is_told_as_what_it_is() {
    let source = tempfile::tempdir().unwrap();
    let rig = open(source.path());
    rig.commit(puts(2, 1, 30));
    let file = source.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let places = [
        (source.path().join("gone/0"), "No such file or directory"),
        (file.join("0"), "Not a directory"),
        // Where nobody may write, whoever runs the test.
        (
            PathBuf::from("/sys/replicamq"),
            "make it readable and writable",
        ),
    ];
    for (place, why) in places {
        let refused = rig.store.checkpoint(&place).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, CheckpointError::Refused { .. }), "{text}");
        assert!(text.contains(why), "{text}");
        assert!(text.contains(place.to_str().unwrap()), "{text}");
        assert!(!text.contains("damaged"), "{text}");
    }
    rig.commit(puts(2, 31, 50));
    let info = rig.store.checkpoint(&source.path().join("outgoing"));
    assert_eq!(info.unwrap().applied, Position::new(2, 50));
}

#[test]
fn a_checkpoint_of_a_store_that_lost_a_file_tells_of_the_damage() {
    let source = tempfile::tempdir().unwrap();
    let rig = open(source.path());
    rig.commit(puts(2, 1, 30));
    rig.store.checkpoint(&source.path().join("0")).unwrap();
    for entry in fs::read_dir(rig.store.directory.table_path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            fs::remove_file(path).unwrap();
        }
    }
    let damaged = rig.store.checkpoint(&source.path().join("1")).unwrap_err();
    assert!(
        matches!(damaged, CheckpointError::Fatal { .. }),
        "{damaged}"
    );
    let error = rig.fatal();
    assert!(matches!(error, FatalError::StoreDamaged { .. }), "{error}");
    let crashed = crash(source.path());
    let rig = open(crashed.path());
    assert!(rig.recovered.unfilled, "a master fills it before it counts");
}

/// The master went on with a store that could no longer be written.
#[test]
fn a_flush_that_fails_for_a_checkpoint_stops_the_node() {
    let source = tempfile::tempdir().unwrap();
    let rig = open(source.path());
    rig.commit(puts(2, 1, 30));
    fs::remove_dir_all(rig.store.directory.table_path()).unwrap();
    let failed = rig.store.checkpoint(&source.path().join("0")).unwrap_err();
    assert!(matches!(failed, CheckpointError::Fatal { .. }), "{failed}");
    rig.fatal();
    assert!(!source.path().join("0").exists());
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
        None,
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
fn a_node_counts_on_if_the_checkpoint_misses_nothing_that_it_held() {
    // What it held, and whether it counted before and after.
    let cases = [
        (Some(Position::new(5, 50)), true, true),
        (Some(Position::new(2, 900)), true, true),
        (Some(Position::new(5, 51)), true, false),
        (None, true, false),
        (Some(Position::new(1, 7)), false, false),
    ];
    for (held, counted, counts) in cases {
        let directory = tempfile::tempdir().unwrap();
        old_store(directory.path());
        let rig = open(directory.path());
        if counted {
            rig.store.mark_filled().unwrap();
        } else {
            rig.store.mark_unfilled().unwrap();
        }
        rig.store.close();
        let info = staged(directory.path());
        let staging = staging_directory(directory.path());
        install(directory.path(), &staging, &info, held).unwrap();
        let rig = open(directory.path());
        assert!(!rig.recovered.unfilled);
        assert_eq!(!rig.recovered.filling, counts, "{held:?}, {counted}");
    }
}

#[test]
fn a_crash_while_a_checkpoint_is_installed_leaves_the_old_store_or_the_new() {
    let directory = tempfile::tempdir().unwrap();
    old_store(directory.path());
    let old = crash(directory.path());
    let info = staged(directory.path());
    let staging = staging_directory(directory.path());
    let before = crash(directory.path());
    install(directory.path(), &staging, &info, None).unwrap();

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
    let error = install(directory.path(), &staging, &wrong, None).unwrap_err();
    assert!(
        matches!(error, InstallError::NotAsAnnounced { .. }),
        "{error}"
    );
    let table = info.files.iter().find(|(name, _)| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "sst")
    });
    fs::remove_file(staging.join(&table.unwrap().0)).unwrap();
    let error = install(directory.path(), &staging, &info, None).unwrap_err();
    assert!(
        matches!(error, InstallError::NotAsAnnounced { .. }),
        "{error}"
    );
    assert_eq!(open(directory.path()).recovered.last, Position::new(1, 7));
    let rig = open(directory.path());
    let error = install(directory.path(), &staging, &info, None).unwrap_err();
    assert!(
        matches!(error, InstallError::Open(OpenError::Locked { .. })),
        "{error}"
    );
    drop(rig);
}

/// The checksums of its files are right, for they are of what the master has.
#[test]
fn a_checkpoint_that_rotted_on_the_masters_disk_is_told_before_it_is_installed() {
    let target = tempfile::tempdir().unwrap();
    let info = staged(target.path());
    let staging = staging_directory(target.path());
    verify(&staging, &info).unwrap();
    let tables = info.files.iter().filter(|(name, _)| name.contains(".sst"));
    let (name, _) = tables.max_by_key(|(_, bytes)| *bytes).unwrap();
    let path = staging.join(name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    // It opens, and says that it holds what was announced.
    let error = verify(&staging, &info).unwrap_err();
    assert!(matches!(error, InstallError::Rotten { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(name) && text.contains("offset 0"), "{text}");
}
