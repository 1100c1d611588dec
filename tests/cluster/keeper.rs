//! ZooKeeper is not there yet, goes, stands still, and comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use replicamq_harness::cluster::{Cluster, accepts, shared_zookeeper, status};
use replicamq_harness::load::Load;
use replicamq_harness::wait;
use replicamq_harness::zookeeper::ZooKeeper;

#[test]
fn nodes_wait_for_a_zookeeper_that_is_not_there_and_say_so() {
    let mut zookeeper = ZooKeeper::start().unwrap();
    zookeeper.stop();
    let mut cluster = Cluster::prepare(&Arc::new(Mutex::new(zookeeper)), "");
    for node in &mut cluster.nodes {
        node.start(&[]);
    }
    for node in &cluster.nodes {
        let said = node.says("waiting for ZooKeeper at");
        assert!(said.contains("start it, or correct zk_address"), "{said}");
        let status = wait::until("it answers operators", || status(node.admin));
        assert!(
            status.to_string().contains("waiting for ZooKeeper at"),
            "{status}"
        );
        assert!(!accepts(node.stomp), "there can be no master");
    }
    cluster.keeper().start_again().unwrap();
    cluster.complete();
}

#[test]
fn a_zookeeper_whose_name_nobody_knows_is_named_and_waited_for() {
    let mut cluster = Cluster::prepare(&shared_zookeeper(), "");
    let node = &mut cluster.nodes[0];
    node.start(&["--zk-address", "no-such-host.invalid:2181"]);
    let said = node.says("waiting for ZooKeeper at");
    assert!(
        said.contains("the name no-such-host.invalid has no address"),
        "{said}"
    );
    assert!(said.contains("correct zk_address"), "{said}");
    assert!(node.has_ended().is_none(), "it waits");
    node.terminate();
}

#[test]
fn without_zookeeper_the_master_goes_on_and_with_it_elections_do() {
    let mut cluster = Cluster::start_alone();
    let load = Load::start(&cluster.addresses(), "/queue/keeper");
    load.goes_on(100);
    let epoch = cluster.epoch();
    cluster.keeper().stop();
    for node in &cluster.nodes {
        node.says("ZooKeeper is out of reach: a master goes on with its quorum");
    }
    load.goes_on(1_000);
    assert_eq!(cluster.epoch(), epoch, "the master stayed");
    let master = cluster.master();
    let seen = status(cluster.nodes[master].admin).unwrap();
    assert_eq!(seen["zookeeper"], "disconnected");

    cluster.keeper().start_again().unwrap();
    wait_for_connections(&cluster);
    load.goes_on(100);
    assert_eq!(cluster.epoch(), epoch, "the master stayed");
    cluster.nodes[master].kill();
    load.goes_on(100);
    assert!(cluster.epoch() > epoch, "somebody was elected");
    cluster.start_all();

    // The master dies while there is no ZooKeeper: nobody can lead until there is one.
    cluster.keeper().stop();
    let master = cluster.master();
    cluster.nodes[master].kill();
    let led = wait::within(Duration::from_secs(3), || {
        cluster.addresses().into_iter().find(|one| accepts(*one))
    });
    assert_eq!(led, None, "a master without an epoch");
    cluster.keeper().start_again().unwrap();
    load.goes_on(100);
    cluster.start_all();
    load.nothing_is_lost();
}

#[test]
fn a_zookeeper_that_stands_still_costs_the_master_nothing() {
    let cluster = Cluster::start_alone();
    let load = Load::start(&cluster.addresses(), "/queue/still");
    load.goes_on(100);
    let epoch = cluster.epoch();
    cluster.keeper().pause().unwrap();
    for node in &cluster.nodes {
        node.says("ZooKeeper is out of reach");
    }
    load.goes_on(500);
    cluster.keeper().resume().unwrap();
    wait_for_connections(&cluster);
    cluster.complete();
    assert_eq!(cluster.epoch(), epoch, "the master stayed");
    load.nothing_is_lost();
}

fn wait_for_connections(cluster: &Cluster) {
    for node in &cluster.nodes {
        wait::until("ZooKeeper is connected again", || {
            (status(node.admin)?["zookeeper"] == "connected").then_some(())
        });
    }
}
