//! Disks that do not hold any more what was written to them.

use replicamq_harness::cluster::Cluster;
use replicamq_harness::damage::{HURTS, largest, rot};
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
