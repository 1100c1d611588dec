//! Nodes of different builds in one cluster, as during an upgrade and on the way back.
//!
//! `REPLICAMQ_EARLIER` is the earlier build; `tests/earlier` makes it.

use std::fs;
use std::path::{Path, PathBuf};

use replicamq_harness::cluster::{Cluster, not_tested, shared_zookeeper};
use replicamq_harness::load::Load;
use replicamq_harness::process;

/// Until chance has made each build master.
const FAILOVERS_MAX: usize = 12;

fn earlier() -> Option<PathBuf> {
    let path = std::env::var_os("REPLICAMQ_EARLIER").filter(|path| !path.is_empty());
    if path.is_none() {
        not_tested("an upgrade needs REPLICAMQ_EARLIER, as `make test-rust` sets it");
    }
    path.map(PathBuf::from)
}

#[test]
fn a_rolling_upgrade_and_the_way_back_lose_nothing() {
    let Some(earlier) = earlier() else { return };
    let mut cluster = Cluster::prepare(&shared_zookeeper(), "");
    for node in &mut cluster.nodes {
        node.binary.clone_from(&earlier);
    }
    cluster.start_all();
    let load = Load::start(&cluster.addresses(), "/queue/upgraded");
    load.goes_on(200);
    for build in [process::binary(), earlier] {
        let [first, second] = cluster.replicas();
        roll(&mut cluster, &load, first, &build);
        fail_over_between_builds(&mut cluster, &load, &build);
        copy_between_builds(&mut cluster, &load, &build);
        for node in [first, second, 0, 1, 2] {
            if cluster.nodes[node].binary != build {
                roll(&mut cluster, &load, node, &build);
            }
        }
    }
    load.nothing_is_lost();
}

/// As an operator does it: stopped, started with another build, level again.
fn roll(cluster: &mut Cluster, load: &Load, node: usize, build: &Path) {
    let ended = cluster.nodes[node].terminate();
    assert!(ended.success(), "{ended}");
    build.clone_into(&mut cluster.nodes[node].binary);
    cluster.start_all();
    load.goes_on(100);
}

/// Either build leads the other.
fn fail_over_between_builds(cluster: &mut Cluster, load: &Load, build: &Path) {
    let (mut one, mut other) = (false, false);
    for _ in 0..FAILOVERS_MAX {
        let master = cluster.master();
        load.goes_on(100);
        if cluster.nodes[master].binary == build {
            one = true;
        } else {
            other = true;
        }
        if one && other {
            return;
        }
        cluster.nodes[master].kill();
        load.goes_on(100);
        cluster.start_all();
    }
    panic!("{FAILOVERS_MAX} failovers, and only one build was ever master");
}

/// Either build takes a checkpoint from whoever is master.
fn copy_between_builds(cluster: &mut Cluster, load: &Load, build: &Path) {
    for of_build in [true, false] {
        let replicas = cluster.replicas();
        let mut of_build = replicas
            .into_iter()
            .filter(|&node| (cluster.nodes[node].binary == build) == of_build);
        let Some(emptied) = of_build.next() else {
            continue;
        };
        cluster.nodes[emptied].kill();
        fs::remove_dir_all(&cluster.nodes[emptied].directory).expect("it was there");
        cluster.start_all();
        load.goes_on(100);
    }
}
