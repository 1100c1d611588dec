//! Every sync mode under load: it goes on, it syncs where it says that it does, and it loses
//! nothing to what its row in the documents says that it survives.

use std::fs;

use replicamq_harness::cluster::Cluster;
use replicamq_harness::load::Load;

/// Which deaths of processes lose nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survives {
    /// That of the master, if it comes back.
    ReturningMaster,
    /// That of the master, if the others stay.
    Master,
    /// That, and those of all nodes at once.
    All,
}

/// The modes, whether their nodes sync what they write, and what loses nothing.
const MODES: [(&str, bool, Survives); 8] = [
    ("quorum_disk", true, Survives::All),
    ("quorum_mem", false, Survives::All),
    ("local_mem,remote_disk", true, Survives::All),
    ("local_disk,remote_mem", true, Survives::All),
    ("remote_disk", true, Survives::Master),
    ("remote_mem", false, Survives::Master),
    ("local_disk", true, Survives::ReturningMaster),
    ("local_mem", false, Survives::ReturningMaster),
];

/// A master whose replicas stand still answers for so long.
const LONG_LEASE: &str = "lease = \"1900ms\"\nsuspicion = \"3s\"";

#[test]
fn every_mode_carries_load_and_loses_only_what_it_says() {
    for (mode, syncs, survives) in MODES {
        let mut cluster = Cluster::start_with(&format!("sync = \"{mode}\"\n{LONG_LEASE}"));
        for node in &cluster.nodes {
            let path = node.directory.join("CURRENT");
            let text = fs::read_to_string(&path).expect("a store says what it is");
            // What a node notes that keeps acknowledged entries in memory only.
            assert_eq!(!text.contains("memory-boot"), syncs, "{mode}: {text}");
        }
        let load = Load::start(&cluster.addresses(), "/queue/modes");
        load.goes_on(200);
        let [replica, _] = cluster.replicas();
        cluster.nodes[replica].kill();
        load.goes_on(100);
        cluster.start_all();
        load.goes_on(100);
        match survives {
            Survives::ReturningMaster => lose_and_return(&mut cluster, &load),
            Survives::Master | Survives::All => {
                let master = cluster.master();
                cluster.nodes[master].kill();
                load.goes_on(100);
                cluster.start_all();
            }
        }
        if survives == Survives::All {
            load.goes_on(100);
            for node in &mut cluster.nodes {
                node.kill();
            }
            cluster.start_all();
            load.goes_on(100);
        }
        load.nothing_is_lost();
    }
}

/// What the master alone has is acknowledged: nobody may lead before it is back.
fn lose_and_return(cluster: &mut Cluster, load: &Load) {
    let (master, [near, far]) = (cluster.master(), cluster.replicas());
    for replica in [near, far] {
        cluster.nodes[replica].signal("STOP");
    }
    load.goes_on(100);
    for node in &mut cluster.nodes {
        node.kill();
    }
    // These two need each other, and only one of them has everything.
    for node in [master, near] {
        cluster.nodes[node].start(&[]);
    }
    assert_eq!(cluster.master(), master, "it has what nobody else has");
    cluster.start_all();
    load.goes_on(100);
}
