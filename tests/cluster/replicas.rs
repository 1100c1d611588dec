//! Replicas that were away, lost their disk, or have what nobody else has.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use replicamq_harness::cluster::{Cluster, accepts, local_status, member, shared_zookeeper};
use replicamq_harness::load::{self, Load};
use replicamq_harness::stomp::{Client, Frame};
use replicamq_harness::wait::{self, Since};
use serde_json::Value;

#[test]
fn no_node_keeps_more_log_than_it_was_told_to() {
    const MIB: u64 = 1 << 20;
    // The store is flushed after so much log, and then the log may go.
    const REPLAY: u64 = 64 * MIB;
    const RETENTION: u64 = 8 * MIB;
    let lines = "log_segment_bytes = \"1MiB\"\nlog_retention_bytes = \"8MiB\"";
    let cluster = Cluster::start_with(lines);
    let mut client = load::connect(&cluster.addresses());
    let body = "x".repeat(1 << 20);
    for _ in 0..200 {
        client.send("/queue/bulk", &body).unwrap();
    }
    for node in &cluster.nodes {
        wait::until("its log is as small as it may be", || {
            let status = local_status(node.admin)?;
            let bytes = member(&status, &node.name)?["log_bytes"].as_u64()?;
            (bytes > 0 && bytes < REPLAY + 2 * RETENTION).then_some(())
        });
    }
}

#[test]
fn a_replica_that_was_away_catches_up_from_the_log() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/away");
    let [away, other] = cluster.replicas();
    cluster.nodes[away].kill();
    load.goes_on(1_000);
    cluster.start_all();
    assert!(
        !cluster.nodes[away].log().contains("checkpoint"),
        "the log reached back"
    );
    // It counts: without the other one it makes the quorum, and it has everything.
    cluster.nodes[other].kill();
    load.goes_on(200);
    let master = cluster.master();
    cluster.nodes[master].kill();
    cluster.nodes[other].start(&[]);
    load.goes_on(200);
    cluster.start_all();
    load.nothing_is_lost();
}

#[test]
fn a_killed_replica_is_back_long_before_its_session_ends() {
    const SESSION: Duration = Duration::from_secs(30);
    const LONG: [&str; 2] = ["--zk-session-timeout", "30s"];
    let mut cluster = Cluster::prepare(&shared_zookeeper(), "");
    for node in &mut cluster.nodes {
        node.start(&LONG);
    }
    cluster.complete();
    let load = Load::start(&cluster.addresses(), "/queue/back-soon");
    load.goes_on(100);
    let [killed, other] = cluster.replicas();
    let since = Since::now();
    cluster.nodes[killed].kill();
    cluster.nodes[killed].start(&LONG);
    // Once more, on its way back: the third one knows both that were before it.
    cluster.nodes[killed].says("the store is open");
    cluster.nodes[killed].kill();
    cluster.nodes[killed].start(&LONG);
    cluster.nodes[killed].says("joined the cluster at");
    cluster.complete();
    // It counts: without the other one it makes the quorum.
    cluster.nodes[other].kill();
    load.goes_on(200);
    let log = cluster.nodes[killed].log();
    assert!(since.elapsed() < SESSION / 2, "{log}");
    assert!(!log.contains("another process is registered"), "{log}");
    cluster.nodes[other].start(&LONG);
    cluster.complete();
    load.nothing_is_lost();
}

#[test]
fn a_replica_that_stands_still_holds_nobody_up() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/still-replica");
    load.goes_on(100);
    let epoch = cluster.epoch();
    let [still, other] = cluster.replicas();
    cluster.nodes[still].signal("STOP");
    load.goes_on(1_000);
    cluster.nodes[still].signal("CONT");
    cluster.complete();
    cluster.nodes[other].signal("STOP");
    load.goes_on(200);
    cluster.nodes[other].signal("CONT");
    cluster.complete();
    assert_eq!(cluster.epoch(), epoch, "a healthy master stays");
    load.nothing_is_lost();
}

#[test]
fn a_wiped_replica_is_refilled_and_only_then_counts() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/wiped");
    load.goes_on(500);
    let [wiped, other] = cluster.replicas();
    let master = cluster.master();

    // Two nodes hold the newest messages, and one of them loses its disk.
    cluster.nodes[other].kill();
    load.goes_on(300);
    cluster.nodes[wiped].kill();
    cluster.nodes[master].kill();
    fs::remove_dir_all(&cluster.nodes[wiped].directory).unwrap();
    cluster.nodes[wiped].start(&[]);
    cluster.nodes[other].start(&[]);
    cluster.nodes[wiped].says("it will be filled by the master before it votes");
    // A connection that does not close must not keep the store from being replaced.
    let replication = cluster.nodes[wiped].replication;
    let held = wait::until("it is open for replication", || {
        TcpStream::connect(replication).ok()
    });
    // An election among these two would lose what the third one has.
    let led = wait::within(Duration::from_secs(4), || {
        cluster.addresses().into_iter().find(|one| accepts(*one))
    });
    assert_eq!(led, None, "a wiped node voted");
    cluster.nodes[master].start(&[]);
    load.goes_on(100);
    cluster.complete();

    let log = cluster.nodes[wiped].log();
    let replaced = log.find("a checkpoint replaced the store");
    let counts = log.find("this store is filled and known to the cluster");
    assert!(replaced.is_some() && replaced < counts, "{log}");
    drop(held);
    // Now it does count: with the one that was behind it goes on without the third.
    let master = cluster.master();
    cluster.nodes[master].kill();
    load.goes_on(200);
    cluster.start_all();
    load.nothing_is_lost();
}

#[test]
fn an_older_copy_of_a_directory_does_not_count_before_it_is_refilled() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/older-copy");
    load.goes_on(100);
    let [restored, other] = cluster.replicas();
    let master = cluster.master();
    cluster.nodes[restored].terminate();
    let directory = cluster.nodes[restored].directory.clone();
    let backup = directory.with_extension("backup");
    copy(&directory, &backup);

    // Two nodes hold the newest messages, and one of them goes back to what it was.
    cluster.nodes[restored].start(&[]);
    cluster.complete();
    cluster.nodes[other].kill();
    load.goes_on(300);
    let committed = local_status(cluster.nodes[restored].admin).unwrap();
    let committed =
        member(&committed, &cluster.nodes[restored].name).unwrap()["committed"].as_u64();
    wait::until("ZooKeeper is told what the node holds", || {
        let (_, said) = cluster.nodes[restored].operate(&["nodes", "--json"]);
        let said: Value = serde_json::from_str(&said).ok()?;
        let mut nodes = said["nodes"].as_array()?.iter();
        let place = nodes.find(|one| one["node"] == *cluster.nodes[restored].name)?;
        (place["held"]["sequence"].as_u64() >= committed).then_some(())
    });
    cluster.nodes[restored].kill();
    cluster.nodes[master].kill();
    fs::remove_dir_all(&directory).unwrap();
    copy(&backup, &directory);
    cluster.nodes[restored].start(&[]);
    cluster.nodes[other].start(&[]);
    cluster.nodes[restored].says("this directory is an older copy of itself");
    // An election among these two would lose what the third one has.
    let led = wait::within(Duration::from_secs(4), || {
        cluster.addresses().into_iter().find(|one| accepts(*one))
    });
    assert_eq!(led, None, "a node that forgot voted");
    cluster.nodes[master].start(&[]);
    load.goes_on(100);
    cluster.complete();
    cluster.nodes[restored].says("this node counts as a voter");
    let master = cluster.master();
    cluster.nodes[master].kill();
    load.goes_on(200);
    cluster.start_all();
    load.nothing_is_lost();
}

#[test]
fn a_replica_whose_master_dies_in_mid_checkpoint_votes_and_takes_another() {
    const BALLAST: usize = 30;
    let short_log = "log_segment_bytes = \"1MiB\"\nlog_retention_bytes = \"1MiB\"";
    let mut cluster = Cluster::start_with(short_log);
    let load = Load::start(&cluster.addresses(), "/queue/mid-checkpoint");
    load.goes_on(100);
    let [away, _] = cluster.replicas();
    cluster.nodes[away].kill();
    let mut client = load::connect(&cluster.addresses());
    let body = "x".repeat(4 << 20);
    for _ in 0..BALLAST {
        client.send("/queue/ballast", &body).unwrap();
    }
    load.goes_on(100);

    let master = cluster.master();
    cluster.nodes[away].start(&[]);
    cluster.nodes[away].says("fetching a checkpoint");
    cluster.nodes[master].signal("STOP");
    // It lags but is whole: without its vote and its disk these two serve nobody.
    load.goes_on(100);
    let log = cluster.nodes[away].log();
    let fetches = log.matches("fetching a checkpoint").count();
    assert!(fetches >= 2, "the second master's log reached back: {log}");
    assert_eq!(
        log.matches("a checkpoint replaced the store").count(),
        1,
        "{log}"
    );

    cluster.nodes[master].kill();
    cluster.start_all();
    load.nothing_is_lost();
    let kept = load::take_all(&cluster.addresses(), "/queue/ballast");
    assert!(kept.iter().all(|frame| frame.text() == body));
    assert_eq!(kept.len(), BALLAST);
}

#[test]
fn what_only_a_dead_master_had_is_cut_when_it_returns() {
    let mut cluster = Cluster::start();
    let queue = "/queue/divergent";
    let master = cluster.master();
    let mut client = Client::connect(cluster.nodes[master].stomp).unwrap();
    client.send(queue, "kept").unwrap();
    for replica in cluster.replicas() {
        cluster.nodes[replica].kill();
    }
    // It may go on for its lease, and acknowledges nothing meanwhile.
    for number in 0..100 {
        let receipt = number.to_string();
        let headers = [
            ("destination", queue),
            ("persistent", "true"),
            ("receipt", &receipt),
        ];
        client.write("SEND", &headers, "nobody else has it");
    }
    client.flush().unwrap();
    wait::until("the master has what nobody else has", || {
        let status = local_status(cluster.nodes[master].admin)?;
        let own = member(&status, &cluster.nodes[master].name)?;
        (own["durable"].as_u64() > own["committed"].as_u64()).then_some(())
    });
    cluster.nodes[master].kill();
    let said = client.rest();
    assert!(said.is_empty(), "acknowledged by one of three: {said:?}");

    for other in (0..3).filter(|one| *one != master) {
        cluster.nodes[other].start(&[]);
    }
    let mut client = load::connect(&cluster.addresses());
    client.send(queue, "of the next epoch").unwrap();
    cluster.nodes[master].start(&[]);
    let said = cluster.nodes[master].says("cutting the log from");
    assert!(said.contains("what follows was never committed"), "{said}");
    cluster.complete();
    // What it lacked it has, and what it alone had it has not.
    let new = cluster.master();
    cluster.nodes[new].kill();
    let found = load::take_all(&cluster.addresses(), queue);
    let found: Vec<String> = found.iter().map(Frame::text).collect();
    assert_eq!(found, ["kept", "of the next epoch"]);
}

/// A directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("there is room for a copy");
    for entry in fs::read_dir(from).expect("there is room for a copy") {
        let (source, target) = {
            let entry = entry.expect("there is room for a copy");
            (entry.path(), to.join(entry.file_name()))
        };
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).expect("there is room for a copy");
        }
    }
}
