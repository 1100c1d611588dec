//! Every sync mode under load: it goes on, and it syncs where it says that it does.

use std::fs;

use replicamq_harness::cluster::Cluster;
use replicamq_harness::load::Load;

/// The modes, whether their nodes sync what they write, and whether replicas have all
/// that was acknowledged, so that the master may die.
const MODES: [(&str, bool, bool); 7] = [
    ("quorum_mem", false, true),
    ("remote_disk", true, true),
    ("remote_mem", false, true),
    ("local_mem,remote_disk", true, true),
    ("local_disk,remote_mem", true, true),
    ("local_disk", true, false),
    ("local_mem", false, false),
];

#[test]
fn every_mode_carries_load_and_loses_only_what_it_says() {
    for (mode, syncs, survives) in MODES {
        let mut cluster = Cluster::start_with(&format!("sync = \"{mode}\""));
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
        if survives {
            let master = cluster.master();
            cluster.nodes[master].kill();
            load.goes_on(100);
            cluster.start_all();
        }
        load.nothing_is_lost();
    }
}
