//! Disks that do not hold any more what was written to them.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use replicamq_harness::cluster::Cluster;
use replicamq_harness::load::{self, Load};

/// Enough for a few segments and tables.
const BALLAST: usize = 8;
const BALLAST_BYTES: usize = 1 << 20;

const SMALL_FILES: &str = "log_segment_bytes = \"1MiB\"";

/// Reads everything at once after a start.
const FAST_SCRUB: [&str; 2] = ["--scrub-rate", "1GiB"];

fn ballast(cluster: &Cluster) {
    let mut client = load::connect(&cluster.addresses());
    let body = "x".repeat(BALLAST_BYTES);
    for _ in 0..BALLAST {
        client
            .send("/queue/ballast", &body)
            .expect("the cluster serves");
    }
}

/// The files of a node whose name ends so, the oldest first.
fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory is ours to hurt") {
        let path = entry.expect("the directory is ours to hurt").path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_str().is_some_and(|name| name.ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn largest(directory: &Path, end: &str) -> PathBuf {
    let files = files(directory, end);
    let size = |path: &PathBuf| {
        path.metadata()
            .expect("the directory is ours to hurt")
            .len()
    };
    files
        .into_iter()
        .max_by_key(size)
        .expect("the directory is ours to hurt")
}

/// Changes one bit in place, as a disk might.
fn rot(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.expect("the directory is ours to hurt");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)
        .expect("the directory is ours to hurt");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset)
        .expect("the directory is ours to hurt");
}

fn halve(path: &Path) {
    let file = fs::File::options()
        .write(true)
        .open(path)
        .expect("the directory is ours to hurt");
    file.set_len(
        file.metadata()
            .expect("the directory is ours to hurt")
            .len()
            / 2,
    )
    .expect("the directory is ours to hurt");
}

/// Hurts a directory, and tells what its node must name.
type Hurt = fn(&Path) -> PathBuf;

const HURTS: [(&str, Hurt); 8] = [
    ("a flipped bit in the newest log segment", |directory| {
        // Where the first record is: behind the header's page.
        let path = files(directory, ".segment")
            .pop()
            .expect("the directory is ours to hurt");
        rot(&path, 4096 + 20);
        path
    }),
    ("a flipped bit in an old log segment", |directory| {
        let path = files(directory, ".segment").remove(0);
        rot(&path, 4096 + 20);
        path
    }),
    ("a missing log segment", |directory| {
        let path = files(directory, ".segment").remove(1);
        fs::remove_file(&path).expect("the directory is ours to hurt");
        path
    }),
    ("half of a log segment", |directory| {
        let path = largest(directory, ".segment");
        halve(&path);
        path
    }),
    ("a flipped bit in a table", |directory| {
        let path = largest(directory, ".sst");
        rot(&path, 1000);
        path
    }),
    ("half of a table", |directory| {
        let path = largest(directory, ".sst");
        halve(&path);
        path
    }),
    ("a missing table", |directory| {
        let path = largest(directory, ".sst");
        fs::remove_file(&path).expect("the directory is ours to hurt");
        path
    }),
    ("a lost epoch", |directory| {
        for path in files(directory, "") {
            let name = path
                .file_name()
                .expect("the directory is ours to hurt")
                .to_str()
                .expect("the directory is ours to hurt");
            if name.starts_with("PROMISE") {
                fs::remove_file(&path).expect("the directory is ours to hurt");
            }
        }
        directory.join("PROMISE")
    }),
];

#[test]
fn a_replica_finds_its_damage_names_it_and_is_repaired_while_the_cluster_serves() {
    let mut cluster = Cluster::start_with(SMALL_FILES);
    let load = Load::start(&cluster.addresses(), "/queue/beside-damage");
    for (what, hurt) in HURTS {
        ballast(&cluster);
        let [hurts, other] = cluster.replicas();
        cluster.nodes[hurts].terminate();
        let path = hurt(&cluster.nodes[hurts].directory);
        cluster.nodes[hurts].start(&FAST_SCRUB);
        let named = cluster.nodes[hurts].says(path.file_name().unwrap().to_str().unwrap());
        assert!(named.contains("damaged"), "{what}: {named}");
        load.goes_on(50);
        cluster.nodes[hurts].says("a checkpoint replaced the store");
        cluster.nodes[hurts].says("filled");
        cluster.complete();
        assert!(cluster.nodes[hurts].runs(), "{what}");
        // It counts again: without the other one it makes the quorum.
        cluster.nodes[other].kill();
        load.goes_on(50);
        cluster.nodes[other].start(&[]);
        cluster.complete();
    }
    load.nothing_is_lost();
    let kept = load::take_all(&cluster.addresses(), "/queue/ballast");
    assert!(kept.iter().all(|frame| frame.text().len() == BALLAST_BYTES));
    assert_eq!(kept.len(), BALLAST * HURTS.len());
}

#[test]
fn a_master_whose_disk_rots_steps_aside_and_is_repaired_without_a_restart() {
    let mut cluster = Cluster::start_with(SMALL_FILES);
    ballast(&cluster);
    let master = cluster.master();
    // Started again, it has written everything to its tables.
    cluster.nodes[master].terminate();
    cluster.nodes[master].start(&[]);
    cluster.complete();
    let load = Load::start(&cluster.addresses(), "/queue/beside-rot");
    load.goes_on(50);
    let before = cluster.master();
    for node in 0..3 {
        if node != before {
            cluster.nodes[node].terminate();
            cluster.nodes[node].start(&["--scrub-rate", "512KiB", "--weight", "9"]);
            cluster.complete();
        }
    }
    cluster.nodes[before].terminate();
    cluster.nodes[before].start(&[]);
    cluster.complete();
    let rotten = cluster.master();
    assert_ne!(rotten, before);
    let process = cluster.nodes[rotten].pid();
    let path = largest(&cluster.nodes[rotten].directory, ".sst");
    rot(&path, 1000);
    let named = cluster.nodes[rotten].says(path.file_name().unwrap().to_str().unwrap());
    assert!(named.contains("damaged"), "{named}");
    load.goes_on(100);
    cluster.nodes[rotten].says("a checkpoint replaced the store");
    cluster.complete();
    assert_eq!(cluster.nodes[rotten].pid(), process);
    assert!(cluster.nodes[rotten].runs());
    load.nothing_is_lost();
}
