//! What an operator does with `replicamq cluster`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use replicamq_harness::cluster::{Cluster, accepts, free_address};
use replicamq_harness::load::{self, Load};
use replicamq_harness::process::{self, Node};
use replicamq_harness::stomp::{Client, Frame};
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
fn the_mastership_goes_to_whom_the_operator_names() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/transferred");
    load.goes_on(100);
    let before = cluster.master();
    let epoch = cluster.epoch();
    let [to, other] = cluster.replicas();
    let name = cluster.nodes[to].name.clone();
    let transfer = |node: &Node, words: &[&str]| node.operate(&[&["transfer"], words].concat());

    // Any node may be asked: a replica passes it on.
    let (done, said) = transfer(&cluster.nodes[other], &[&name, "--dry-run"]);
    assert!(
        done && said.contains(&format!("would hand over to {name}")),
        "{said}"
    );
    assert_eq!((cluster.master(), cluster.epoch()), (before, epoch));

    for asked in [other, to] {
        let (to, words): (usize, &[&str]) = match asked {
            asked if asked == other => (to, &[&name]),
            _ => (cluster.replicas()[0], &[]),
        };
        let (done, said) = transfer(&cluster.nodes[asked], words);
        assert!(done && said.contains("is master in epoch"), "{said}");
        if !words.is_empty() {
            assert_eq!(cluster.master(), to, "{said}");
        }
        load.goes_on(100);
        cluster.complete();
    }

    let master = cluster.master();
    let own = cluster.nodes[master].name.clone();
    let (done, said) = transfer(&cluster.nodes[other], &[&own]);
    assert!(!done && said.contains("is master already"), "{said}");
    let [dead, _] = cluster.replicas();
    let gone = cluster.nodes[dead].name.clone();
    cluster.nodes[dead].kill();
    load.goes_on(100);
    let (done, said) = transfer(&cluster.nodes[master], &[&gone]);
    assert!(
        !done && said.contains("does not follow this master"),
        "{said}"
    );
    load.goes_on(100);
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
        forget_the_promise(&node.directory);
        node.start(&[]);
        node.says("the store is damaged");
    }
    let led = wait::within(Duration::from_secs(4), || {
        cluster.addresses().into_iter().find(|one| accepts(*one))
    });
    assert_eq!(led, None, "a node that forgot what it promised leads");
    cluster.nodes[0].says("see `replicamq cluster accept-loss --help`");

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

#[test]
fn a_damaged_broker_that_stands_alone_says_so_and_goes_on_when_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("data");
    let address = free_address();
    let serve = || {
        let mut command = process::command();
        command.args([
            "serve",
            "--admin",
            "none",
            "--stomp",
            &format!("tcp://{address}"),
        ]);
        command.arg("--directory").arg(&directory);
        command
    };
    let client = || wait::until("the broker takes clients", || Client::connect(address).ok());
    let mut broker = serve().spawn().unwrap();
    client().send("/queue/alone", "kept").unwrap();
    broker.kill().unwrap();
    broker.wait().unwrap();

    forget_the_promise(&directory);
    let refused = serve().output().unwrap();
    let said = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("PROMISE is missing or damaged"), "{said}");
    let cure = format!("accept-loss --directory {}", directory.display());
    assert!(said.contains(&cure), "{said}");

    let mut accept = process::command();
    accept.args(["cluster", "accept-loss", "--directory"]);
    let accepted = accept.arg(&directory).output().unwrap();
    assert!(accepted.status.success(), "{accepted:?}");
    let mut broker = serve().spawn().unwrap();
    drop(client());
    let found = load::take_all(&[address], "/queue/alone");
    assert_eq!(found.len(), 1);
    broker.kill().unwrap();
    broker.wait().unwrap();
}

fn forget_the_promise(directory: &Path) {
    for file in fs::read_dir(directory).expect("the node has a directory") {
        let path = file.expect("it can be read").path();
        if path.to_string_lossy().contains("PROMISE") {
            fs::remove_file(path).expect("it is there");
        }
    }
}

#[test]
fn a_directory_goes_neither_from_a_cluster_to_a_lone_broker_nor_back() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/strayed");
    load.goes_on(100);
    let [strayed, _] = cluster.replicas();
    cluster.nodes[strayed].terminate();
    let serve_alone = |directory: &Path| {
        let mut command = process::command();
        command.args(["serve", "--node", &cluster.nodes[strayed].name]);
        command.args([
            "--admin",
            "none",
            "--stomp",
            &format!("tcp://{}", free_address()),
        ]);
        command.arg("--directory").arg(directory);
        command
    };
    let output = serve_alone(&cluster.nodes[strayed].directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("belongs to cluster") && said.contains("zk_address"),
        "{said}"
    );

    let alone = cluster.directory().join("alone");
    let mut broker = serve_alone(&alone).spawn().unwrap();
    wait::until("the lone broker has made its store", || {
        alone.join("IDENTITY").exists().then_some(())
    });
    wait::until("it is its own", || {
        let identity = fs::read_to_string(alone.join("IDENTITY")).unwrap_or_default();
        identity.contains("standalone").then_some(())
    });
    broker.kill().unwrap();
    broker.wait().unwrap();
    let directory = format!("--directory={}", alone.display());
    cluster.nodes[strayed].start(&[&directory]);
    let ended = cluster.nodes[strayed].ended();
    assert_eq!(ended.code(), Some(1), "{ended}");
    cluster.nodes[strayed].says("stood alone");
    cluster.start_all();
    load.nothing_is_lost();
}
