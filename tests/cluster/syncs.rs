//! Syncs that fail or hang, and what a loss of power leaves of what was not synced: every
//! file of the nodes lies on file systems of ours.

use replicamq_harness::cluster::{Cluster, not_tested, shared_zookeeper};
use replicamq_harness::failing_disk::FailingDisk;
use replicamq_harness::load::Load;
use replicamq_harness::wait;

/// A cluster that does not run yet, and the disk of each node.
fn prepare() -> Option<(Cluster, Vec<FailingDisk>)> {
    let lines = "log_segment_bytes = \"1MiB\"\nlog_retention_bytes = \"4MiB\"";
    let cluster = Cluster::prepare(&shared_zookeeper(), lines);
    let disks = cluster
        .nodes
        .iter()
        .map(|node| FailingDisk::mount(&node.directory))
        .collect::<Option<Vec<_>>>();
    if disks.is_none() {
        not_tested("a disk whose syncs fail needs FUSE, which may not be mounted here");
    }
    Some((cluster, disks?))
}

#[test]
fn a_master_whose_sync_fails_stops_and_nothing_is_lost() {
    fails(true);
}

#[test]
fn a_replica_whose_sync_fails_stops_and_nothing_is_lost() {
    fails(false);
}

fn fails(leads: bool) {
    let Some((mut cluster, disks)) = prepare() else {
        return;
    };
    cluster.start_all();
    let load = Load::start(&cluster.addresses(), "/queue/beside-failing");
    load.goes_on(200);
    let hurt = if leads {
        cluster.master()
    } else {
        cluster.replicas()[0]
    };
    disks[hurt].fail_syncs();
    let ended = cluster.nodes[hurt].ended();
    assert_eq!(ended.code(), Some(1), "{ended}");
    let said = cluster.nodes[hurt].says("the disk cannot be trusted any more");
    assert!(said.contains("cannot sync"), "{said}");
    load.goes_on(200);
    // What it wrote and could not sync is gone, though it was read as if it were there.
    disks[hurt].lose_power();
    cluster.start_all();
    let master = cluster.master();
    cluster.nodes[master].kill();
    load.goes_on(200);
    cluster.start_all();
    load.nothing_is_lost();
}

#[test]
fn a_master_whose_syncs_hang_steps_aside_and_comes_back() {
    let Some((mut cluster, disks)) = prepare() else {
        return;
    };
    cluster.start_all();
    let load = Load::start(&cluster.addresses(), "/queue/beside-hanging");
    load.goes_on(200);
    let (hurt, epoch) = (cluster.master(), cluster.epoch());
    disks[hurt].hang_syncs();
    wait::until("a sync hangs", || {
        (disks[hurt].troubled_syncs() > 0).then_some(())
    });
    load.goes_on(500);
    assert_ne!(cluster.master_but(Some(hurt)), hurt);
    assert!(cluster.epoch() > epoch);
    disks[hurt].heal();
    cluster.complete();
    load.nothing_is_lost();
}

#[test]
fn what_no_platter_had_was_not_acknowledged() {
    let Some((mut cluster, disks)) = prepare() else {
        return;
    };
    cluster.start_all();
    let load = Load::start(&cluster.addresses(), "/queue/unsynced-pages");
    let mut lost = 0;
    for _ in 0..5 {
        load.goes_on(300);
        for node in &mut cluster.nodes {
            node.kill();
        }
        lost += disks.iter().map(FailingDisk::lose_power).sum::<usize>();
        cluster.start_all();
    }
    assert!(lost > 0, "everything was synced: nothing was tested");
    load.goes_on(100);
    load.nothing_is_lost();
}
