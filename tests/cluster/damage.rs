//! Disks that do not hold any more what was written to them.

use std::fs;
use std::time::Duration;

use replicamq_harness::cluster::{Cluster, accepts};
use replicamq_harness::damage::{HURTS, Hurt, largest, rot, rot_middle};
use replicamq_harness::load::{self, Load};
use replicamq_harness::stomp::Frame;
use replicamq_harness::wait;

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
        let hurt = hurt(&cluster.nodes[hurts].directory);
        cluster.nodes[hurts].start(&FAST_SCRUB);
        let named = cluster.nodes[hurts].says(hurt.path.to_str().unwrap());
        assert!(hurt.is_told_by(&named), "{what}: {hurt:?}: {named}");
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

#[test]
fn when_every_log_is_damaged_each_node_says_where_and_the_accepted_rest_is_served() {
    let mut cluster = Cluster::start();
    let queue = "/queue/all-rotten";
    let mut client = load::connect(&cluster.addresses());
    for number in 0..100 {
        client.send(queue, &number.to_string()).unwrap();
    }
    // Killed, so that it is the log that holds them.
    for node in &mut cluster.nodes {
        node.kill();
    }
    let hurts: Vec<Hurt> = (1..=3)
        .zip(&cluster.nodes)
        .map(|(part, node)| rot_middle(&node.directory, part, 4))
        .collect();
    for (node, hurt) in cluster.nodes.iter_mut().zip(&hurts) {
        let (done, said) = node.operate(&["accept-loss", "--dry-run"]);
        assert!(done && said.contains("Nothing was accepted"), "{said}");
        assert!(said.lines().any(|line| hurt.is_told_by(line)), "{said}");
        node.start(&[]);
        let named = node.says(hurt.path.to_str().unwrap());
        assert!(hurt.is_told_by(&named), "{hurt:?}: {named}");
    }
    let led = wait::within(Duration::from_secs(4), || {
        cluster.addresses().into_iter().find(|one| accepts(*one))
    });
    assert_eq!(led, None, "a node leads with less than it had acknowledged");

    for node in &mut cluster.nodes {
        node.terminate();
    }
    // Those that hold most.
    for node in &cluster.nodes[1..] {
        let (done, said) = node.operate(&["accept-loss"]);
        assert!(
            done && said.contains("counts from its next start"),
            "{said}"
        );
    }
    cluster.start_all();
    let found = load::take_all(&cluster.addresses(), queue);
    let found: Vec<String> = found.iter().map(Frame::text).collect();
    let sent: Vec<String> = (0..100).map(|number: u32| number.to_string()).collect();
    assert_eq!(found, sent[..found.len()], "all before the first bad entry");
    let least = 60..95;
    assert!(least.contains(&found.len()), "{}", found.len());
    let load = Load::start(&cluster.addresses(), "/queue/afterwards");
    let [one, _] = cluster.replicas();
    cluster.nodes[one].kill();
    load.goes_on(50);
    cluster.start_all();
    load.nothing_is_lost();
}

/// Tells when it has read everything once.
const TOLD_SCRUB: [&str; 4] = [
    "--scrub-rate",
    "1GiB",
    "--log",
    "info,replicamq::run::engine=debug",
];

#[test]
fn a_checkpoint_of_a_rotten_master_is_refused_and_its_cause_is_found() {
    let mut cluster = Cluster::start_with(SMALL_FILES);
    ballast(&cluster);
    for node in 0..3 {
        // Started again, it has written everything to its tables.
        cluster.nodes[node].terminate();
        cluster.nodes[node].start(&TOLD_SCRUB);
        cluster.complete();
        cluster.nodes[node].says("everything on the disk was read and is whole");
    }
    let master = cluster.master();
    let [emptied, _] = cluster.replicas();
    cluster.nodes[emptied].kill();
    fs::remove_dir_all(&cluster.nodes[emptied].directory).unwrap();
    let path = largest(&cluster.nodes[master].directory, ".sst");
    rot(&path, 1000);
    cluster.nodes[emptied].start(&[]);
    let refused = cluster.nodes[emptied].says("are damaged, as they are on the master's disk");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        refused.contains(name) && refused.contains("offset"),
        "{refused}"
    );
    assert!(cluster.nodes[emptied].runs());
    // It asked again: the master looks, long before its hourly scrub.
    let found = cluster.nodes[master].says(path.to_str().unwrap());
    assert!(found.contains("is damaged"), "{found}");
    assert!(
        !cluster.nodes[emptied]
            .log()
            .contains("a checkpoint replaced the store"),
        "it was put in place all the same"
    );
}
