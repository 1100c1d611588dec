//! What a start makes of files that are gone, broken, or not its own.

use std::os::unix::fs::FileExt as _;

use super::*;
use crate::Scrub;
use replicamq_log::RealDisk;
use replicamq_log::sealed::{self, Loaded};

#[test]
fn a_lost_promise_is_damage_and_stays_until_the_store_is_filled() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.commit(puts(4, 1, 3));
    rig.store.close();
    fs::write(directory.path().join("PROMISE"), "nonsense").unwrap();
    let rig = open(directory.path());
    assert!(
        matches!(
            rig.damage,
            Some(Damage::Log(replicamq_log::Damage::File { .. }))
        ),
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
    assert!(directory.path().join("damaged").exists());
    rig.store.mark_filled().unwrap();
    assert_eq!(rig.keys().len(), 3);
    assert!(!directory.path().join("damaged").exists());
}

/// What a later build wrote is neither read nor taken for damage and put aside.
#[test]
fn a_store_of_a_later_format_is_refused_and_stays() {
    for families in [&["default", "meta"][..], &["default", "meta", "later"]] {
        let directory = tempfile::tempdir().unwrap();
        let rig = open(directory.path());
        rig.commit(puts(1, 1, 3));
        let path = rig.store.directory.table_path();
        rig.store.close();
        let mut settings = rocksdb::Options::default();
        settings.create_missing_column_families(true);
        let db = rocksdb::DB::open_cf(&settings, &path, families).unwrap();
        let meta = db.cf_handle("meta").unwrap();
        db.put_cf(meta, b"format", 2_u32.to_le_bytes()).unwrap();
        db.flush_cf(meta).unwrap();
        drop(db);
        let Err(OpenError::NewerFormat { found: 2, .. }) = try_open(options(directory.path()))
        else {
            panic!("it was opened");
        };
        assert!(path.join("CURRENT").exists());
        assert!(!directory.path().join("damaged").exists());
    }
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
    let broken = crash(directory.path());
    for name in ["IDENTITY", "CURRENT"] {
        fs::remove_file(broken.path().join(name)).unwrap();
    }
    let error = try_open(options(broken.path())).err().unwrap();
    assert!(matches!(error, OpenError::Unreadable { .. }), "{error}");
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

/// It called durable what was only written: a master that waits for the disks of
/// its replicas did not.
#[test]
fn in_memory_mode_durable_still_means_synced() {
    let directory = tempfile::tempdir().unwrap();
    let rig = try_open(Options {
        sync: SyncMode::Memory,
        ..options(directory.path())
    })
    .unwrap();
    let logged = |rig: &Rig| loop {
        if let StoreEvent::Logged { appended, durable } = rig.event() {
            return (appended.sequence.0, durable.sequence.0);
        }
    };
    rig.store.append(puts(1, 1, 3));
    assert_eq!(logged(&rig), (3, 0));
    rig.store.store_promise(Epoch(2));
    assert_eq!(logged(&rig), (3, 3), "told before the promise is");
    assert!(matches!(rig.event(), StoreEvent::PromiseStored { .. }));
    rig.store.append(puts(2, 4, 4));
    assert_eq!(logged(&rig), (4, 3));
    assert_eq!(logged(&rig), (4, 4), "without being asked");
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
    let Loaded::Fields(fields) = sealed::load(&RealDisk, &path, "current").unwrap() else {
        panic!("it was just written");
    };
    sealed::store(
        &RealDisk,
        &path,
        "current",
        &fields.with("memory-boot", &"another"),
    )
    .unwrap();
    let rig = open(machine.path());
    assert_eq!(rig.damage, Some(Damage::UnsyncedLost));
    assert!(rig.recovered.unfilled);
    // A store that was closed has synced.
    assert_eq!(open(directory.path()).damage, None);
    let text = fs::read_to_string(directory.path().join("CURRENT")).unwrap();
    assert!(!text.contains("memory-boot"));
}

fn scrubbed(directory: &Path) -> Options {
    let scrub = Scrub {
        bytes_per_second: 1 << 30,
        every: Duration::from_millis(1),
    };
    Options {
        scrub: Some(scrub),
        ..options(directory)
    }
}

/// Changes one bit of a file in place, as a disk might.
fn rot(path: &Path, offset: u64) {
    let mut file = fs::OpenOptions::new();
    let file = file.read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, offset).unwrap();
}

fn rotten(rig: &Rig) -> FatalError {
    loop {
        match rig.event() {
            StoreEvent::Rotten(error) => return error,
            StoreEvent::Fatal(error) => panic!("{error}"),
            _ => {}
        }
    }
}

fn wait_scrubbed(rig: &Rig) {
    loop {
        match rig.event() {
            StoreEvent::Scrubbed => return,
            StoreEvent::Fatal(error) => panic!("{error}"),
            _ => {}
        }
    }
}

#[test]
fn what_rots_in_the_log_is_found_though_nobody_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let rig = try_open(scrubbed(directory.path())).unwrap();
    rig.commit(puts(1, 1, 400));
    wait_scrubbed(&rig);
    let options = rig.store.directory.log_options(&rig.store.options);
    let segment = options.directory.join("0000000000000001.segment");
    rot(&segment, 4096 + 5 * 160);
    let FatalError::Log(LogError::Damaged { path, offset, .. }) = rotten(&rig) else {
        panic!("the log is what rotted");
    };
    assert_eq!(path, segment);
    assert!((4096..4096 + 6 * 160).contains(&offset), "{offset}");
    rig.store.note_damage();
    // A master's word from before says nothing of it.
    rig.store.mark_filled().unwrap();
    rig.store.close();
    assert!(open(directory.path()).recovered.unfilled);
}

#[test]
fn what_rots_in_the_store_is_found_though_nobody_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    rig.commit(puts(1, 1, 2000));
    let table = rig.store.directory.table_path();
    rig.store.close();
    let rig = try_open(scrubbed(directory.path())).unwrap();
    for _ in 0..3 {
        wait_scrubbed(&rig);
    }
    let largest = fs::read_dir(&table)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|name| name == "sst"))
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    rot(&largest, 100);
    let rot = rotten(&rig);
    assert!(matches!(rot, FatalError::StoreDamaged { .. }), "{rot}");
    let name = largest.file_name().unwrap().to_str().unwrap();
    assert!(rot.to_string().contains(name), "{rot}");
    rig.store.close();
    // Whether it can be done without is not for the store to say.
    assert!(!open(directory.path()).recovered.unfilled);
}
