//! Nodes that do not belong where they come, and noise on the replication port.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use replicamq_harness::cluster::Cluster;
use replicamq_harness::load::Load;
use replicamq_harness::process::{self, Node};

#[test]
fn a_node_with_a_wrong_token_stays_outside() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-token");
    load.goes_on(100);
    let [replica, _] = cluster.replicas();
    cluster.nodes[replica].terminate();
    cluster.nodes[replica].start(&["--security-token", "guessed"]);
    let master = &cluster.nodes[cluster.master()];
    master.says("refused a node with a wrong or missing security_token");
    let said = cluster.nodes[replica].says("a node refused us");
    assert!(
        said.contains("set the same security_token on every node"),
        "{said}"
    );
    // It tries again and again, and says so now and then.
    let without = cluster.nodes[replica].says("no master for");
    assert!(without.contains("do not answer this node"), "{without}");
    let log = cluster.nodes[replica].log();
    let tries = log.lines().filter(|line| line.contains("role: "));
    assert!(tries.count() <= 8, "{log}");
    // Who asks with a wrong one is no node, and is not called one.
    let asked = process::command()
        .args(["status", "--node", &master.admin.to_string()])
        .args(["--security-token", "guessed"])
        .output()
        .expect("the binary can be run");
    assert!(!asked.status.success(), "{asked:?}");
    let told = String::from_utf8_lossy(&asked.stderr);
    assert!(
        told.contains("does not accept this security token"),
        "{told}"
    );
    master.says("refused a status request with a wrong or missing security_token");
    load.goes_on(200);
    // With the right one it is let in again.
    cluster.nodes[replica].terminate();
    cluster.start_all();
    load.nothing_is_lost();
}

#[test]
fn a_node_of_another_cluster_is_refused_and_told_why() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-others");
    load.goes_on(100);
    let master = &cluster.nodes[cluster.master()];

    // Another cluster with a mistake: its second node gives an address of ours as its own.
    let mut other = Cluster::prepare(&cluster.zookeeper, "");
    let address = format!("tcp://{}", master.replication);
    other.nodes[1].start(&["--advertise-replication", &address]);
    other.nodes[1].says("open for replication");
    other.nodes[0].start(&["--weight", "9"]);
    master.says("refused a node: node broker-1 belongs to cluster");
    let said = other.nodes[0].says("a node refused us: node broker-1 belongs to cluster");
    assert!(said.contains("check the addresses"), "{said}");

    // Another cluster's data, brought here by a wrong path.
    other.nodes[1].terminate();
    other.nodes[1].start(&["--zk-path", &cluster.zk_path]);
    let ended = other.nodes[1].ended();
    assert_eq!(ended.code(), Some(1), "{ended}");
    let said = other.nodes[1].says("this data directory belongs to cluster");
    assert!(said.contains("check zk_path and directory"), "{said}");

    load.goes_on(100);
    cluster.complete();
    load.nothing_is_lost();
}

#[test]
fn a_fourth_node_and_a_second_of_one_name_end_with_the_cure() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-fourth");
    load.goes_on(100);

    let mut fourth = cluster.node("broker-4", "");
    fourth.start(&[]);
    let ended = fourth.ended();
    assert_eq!(ended.code(), Some(1), "{ended}");
    let said = fourth.says("already has its 3 nodes");
    assert!(
        said.contains("replicamq cluster replace <the dead node>"),
        "{said}"
    );

    let mut double = cluster.node("double", "");
    double.start(&["--node", "broker-1"]);
    let ended = double.ended();
    assert_eq!(ended.code(), Some(1), "{ended}");
    let said = double.says("another live process calls itself broker-1");
    assert!(said.contains("give every node an id of its own"), "{said}");

    load.goes_on(100);
    cluster.complete();
    load.nothing_is_lost();
}

#[test]
fn a_copy_of_a_live_nodes_directory_takes_nothing_from_it() {
    let mut cluster = Cluster::start_with("log_segment_bytes = \"1MiB\"");
    let load = Load::start(&cluster.addresses(), "/queue/beside-copy");
    load.goes_on(100);
    let [copied, _] = cluster.replicas();
    let mut copy = cluster.node("copy", "");
    cluster.nodes[copied].terminate();
    copy_tree(&cluster.nodes[copied].directory, &copy.directory);
    cluster.nodes[copied].start(&[]);
    cluster.nodes[copied].says("joined the cluster at");
    // It carries what would prove that the live process is gone, if it were the original.
    let lock = |node: &Node| node.directory.join("LOCK");
    let original = &cluster.nodes[copied];
    fs::copy(lock(original), lock(&copy)).unwrap();
    let noted = fs::read_to_string(lock(&copy)).unwrap();
    assert!(noted.contains(&format!("{}\n", original.pid())), "{noted}");
    assert_eq!(noted.matches("incarnation ").count(), 2, "{noted}");

    copy.start(&["--node", &original.name]);
    let ended = copy.ended();
    assert_eq!(ended.code(), Some(1), "{ended}");
    let said = copy.says("another live process calls itself");
    assert!(said.contains("never copy a data directory"), "{said}");
    load.goes_on(100);
    cluster.complete();
    let log = cluster.nodes[copied].log();
    assert!(!log.contains("our znode is gone"), "{log}");
    load.nothing_is_lost();
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the copy is new");
    for entry in fs::read_dir(from).expect("it can be read") {
        let entry = entry.expect("it can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else {
            fs::copy(&from, &to).expect("there is room");
        }
    }
}

#[test]
fn connections_that_say_nothing_do_not_keep_a_replica_out() {
    const MORE_THAN_ALLOWED: usize = 300;
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-silence");
    load.goes_on(100);
    let [replica, _] = cluster.replicas();
    cluster.nodes[replica].kill();
    let master = &cluster.nodes[cluster.master()];
    let connect = |_| TcpStream::connect(master.replication).unwrap();
    let held: Vec<TcpStream> = (0..MORE_THAN_ALLOWED).map(connect).collect();
    master.says("too many connections to the replication port");
    cluster.start_all();
    drop(held);
    load.nothing_is_lost();
}

#[test]
fn noise_on_the_replication_port_disturbs_nobody() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-noise");
    load.goes_on(100);
    let master = &cluster.nodes[cluster.master()];
    let epoch = cluster.epoch();
    let say = |address: SocketAddr, bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        // It may hang up before all is written.
        drop(stream.write_all(bytes));
        stream
    };
    let mut held = Vec::new();
    for node in &cluster.nodes {
        held.push(say(node.replication, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        held.push(say(node.replication, &vec![0xff; 64 << 10]));
        held.push(say(
            node.replication,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00",
        ));
        held.extend((0..100).map(|_| say(node.replication, b"")));
    }
    load.goes_on(500);
    assert!(master.resident_mib() < 300, "{} MiB", master.resident_mib());
    drop(held);
    cluster.complete();
    assert_eq!(cluster.epoch(), epoch, "nobody had to be elected");
    load.nothing_is_lost();
}
