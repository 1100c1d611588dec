//! A directory that lost one of the files that say what it is.

use super::*;

fn filled(directory: &Path) {
    let rig = open(directory);
    rig.commit(puts(2, 1, 5));
    rig.store.set_cluster("blue").unwrap();
    rig.store.store_promise(Epoch(7));
    rig.store.close();
}

#[test]
fn a_lost_note_is_damage_and_what_lies_there_stays_until_it_is_replaced_or_accepted() {
    for name in ["IDENTITY", "CURRENT"] {
        for left in [None, Some("nonsense")] {
            let directory = tempfile::tempdir().unwrap();
            filled(directory.path());
            let before = open(directory.path()).store.identity();
            let path = directory.path().join(name);
            match left {
                None => fs::remove_file(&path).unwrap(),
                Some(text) => fs::write(&path, text).unwrap(),
            }
            let rig = open(directory.path());
            let told = Damage::Log(replicamq_log::Damage::File { path });
            assert_eq!(rig.damage, Some(told));
            assert!(rig.recovered.unfilled);
            assert_eq!(rig.recovered.promised, Epoch(7), "{name}");
            assert_eq!(rig.recovered.last, Position::new(2, 5));
            assert_eq!(rig.keys().len(), 5);
            let identity = rig.store.identity();
            assert_eq!(identity.node, "broker-1");
            if name == "IDENTITY" {
                // ZooKeeper knows the node with another store: it is filled before it votes.
                assert_ne!(identity.store, before.store);
                assert_eq!(identity.cluster, None);
            } else {
                assert_eq!(identity, before);
            }
            rig.store.close();
            let rig = open(directory.path());
            assert_eq!(rig.damage, None);
            assert!(rig.recovered.unfilled, "until a master or an operator says");
            rig.store.mark_filled().unwrap();
            rig.store.close();
            assert!(!open(directory.path()).recovered.unfilled);
        }
    }
}

#[test]
fn nobody_makes_a_directory_its_own_that_may_be_anothers() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let refused = |path: &Path, adopts| {
        let before = tree(&path.join("generation-1"));
        let asked = Options {
            adopts,
            ..options(path)
        };
        let error = try_open(asked).err().unwrap();
        assert!(before == tree(&path.join("generation-1")), "{error}");
        assert!(!path.join("damaged").exists());
        error
    };
    // A broker that stands alone is not sure that it is in the right place.
    let alone = crash(directory.path());
    fs::remove_file(alone.path().join("IDENTITY")).unwrap();
    let error = refused(alone.path(), false);
    assert!(matches!(error, OpenError::Unidentified { .. }), "{error}");
    assert!(!alone.path().join("IDENTITY").exists());
    let cure = format!("accept-loss --directory {}", alone.path().display());
    assert!(error.to_string().contains(&cure), "{error}");
    // Which of two generations counted cannot be told.
    let two = crash(directory.path());
    fs::create_dir(two.path().join("generation-2")).unwrap();
    fs::remove_file(two.path().join("CURRENT")).unwrap();
    let error = refused(two.path(), true);
    assert!(matches!(error, OpenError::Unreadable { .. }), "{error}");
    // It says that it is another's.
    let other = crash(directory.path());
    fs::remove_file(other.path().join("CURRENT")).unwrap();
    let asked = Options {
        node: "broker-2".to_owned(),
        ..options(other.path())
    };
    let error = try_open(asked).err().unwrap();
    assert!(matches!(error, OpenError::OtherNode { .. }), "{error}");
    let rig = open(other.path());
    assert!(rig.damage.is_some(), "its own node is told");
    assert_eq!(rig.keys().len(), 5);
}
