//! What an operator does with `replicamq cluster`.

use std::fs;
use std::time::Duration;

use replicamq_harness::cluster::{Cluster, accepts};
use replicamq_harness::load::{self, Load};
use replicamq_harness::process::Node;
use replicamq_harness::stomp::Frame;
use replicamq_harness::wait;

#[test]
fn a_dead_node_is_replaced_and_its_successor_counts() {
    let mut cluster = Cluster::start();
    let newcomer = cluster.node("broker-4", "");
    let mut addresses = cluster.addresses();
    addresses.push(newcomer.stomp);
    let load = Load::start(&addresses, "/queue/replaced");
    load.goes_on(200);
    let [dead, other] = cluster.replicas();
    let old = cluster.nodes[dead].name.clone();
    let replace = |node: &Node, flags: &[&str]| {
        let mut words = vec!["replace", old.as_str(), "broker-4"];
        words.extend(flags);
        node.operate(&words)
    };
    let (done, said) = replace(&cluster.nodes[other], &[]);
    assert!(!done && said.contains("is alive"), "{said}");
    cluster.nodes[dead].kill();
    wait::until("the dead node is known to be dead", || {
        let (done, said) = cluster.nodes[other].operate(&["nodes"]);
        assert!(done, "{said}");
        let line = said.lines().find(|line| line.starts_with(&old))?;
        line.contains("dead").then_some(())
    });
    let (done, said) = replace(&cluster.nodes[other], &["--dry-run"]);
    assert!(done && said.contains("Nothing was changed"), "{said}");
    let (done, said) = replace(&cluster.nodes[other], &[]);
    assert!(done && said.contains("has the place of"), "{said}");
    let (done, said) = replace(&cluster.nodes[other], &[]);
    assert!(!done && said.contains("has no place"), "{said}");

    let mut replaced = std::mem::replace(&mut cluster.nodes[dead], newcomer);
    cluster.nodes[dead].start(&[]);
    cluster.nodes[dead].says("this store is filled and known to the cluster");
    cluster.complete();
    replaced.start(&[]);
    let ended = replaced.ended();
    assert_eq!(ended.code(), Some(1), "{ended}");
    replaced.says("already has its 3 nodes");

    // It makes the quorum with either of the others.
    cluster.nodes[other].kill();
    load.goes_on(200);
    cluster.start_all();
    let master = cluster.master();
    cluster.nodes[master].kill();
    load.goes_on(200);
    cluster.start_all();
    load.nothing_is_lost();
}

#[test]
fn when_every_copy_is_damaged_nobody_leads_until_the_loss_is_accepted() {
    let mut cluster = Cluster::start();
    let queue = "/queue/all-damaged";
    let mut client = load::connect(&cluster.addresses());
    for number in 0..100 {
        client.send(queue, &number.to_string()).unwrap();
    }
    for node in &mut cluster.nodes {
        node.terminate();
    }
    for node in &mut cluster.nodes {
        for file in fs::read_dir(&node.directory).unwrap() {
            let path = file.unwrap().path();
            if path.to_string_lossy().contains("PROMISE") {
                fs::remove_file(path).unwrap();
            }
        }
        node.start(&[]);
        node.says("the store is damaged");
    }
    let led = wait::within(Duration::from_secs(4), || {
        cluster.addresses().into_iter().find(|one| accepts(*one))
    });
    assert_eq!(led, None, "a node that forgot what it promised leads");

    for node in &mut cluster.nodes {
        node.terminate();
        let (done, said) = node.operate(&["accept-loss", "--dry-run"]);
        assert!(
            done && said.contains("unfilled: it neither votes nor leads"),
            "{said}"
        );
        assert!(said.contains("Nothing was accepted"), "{said}");
    }
    for node in &cluster.nodes[..2] {
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
    assert_eq!(found, sent, "all that was damaged is what they promised");
}
