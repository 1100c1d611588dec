//! What the documents promise by name: each with its own conditions.

use std::time::Duration;

use replicamq_harness::cluster::accepts;
use replicamq_harness::wait;

use crate::kinds::Kind;
use crate::rounds::{Outcome, Round};
use crate::world::World;

/// Longer than a ZooKeeper session of these tests, and than every time limit of a node.
const LONG: Duration = Duration::from_secs(8);

/// Long enough for many elections, if there were any.
const LONGEST: Duration = Duration::from_secs(20);

fn play(world: &mut World, round: Round) -> Outcome {
    let name = round.kind.name();
    world
        .play(round)
        .unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn finish(world: World) {
    let counts = world.finish().unwrap_or_else(|why| panic!("{why}"));
    assert!(counts.consumed > 0, "{counts:?}");
}

#[test]
fn a_master_cut_off_from_zookeeper_but_not_from_its_replicas_goes_on() {
    let Some(mut world) = World::start() else {
        return;
    };
    let round = Round::of(Kind::CutMasterFromZooKeeper, LONG);
    let outcome = play(&mut world, round);
    assert_eq!(outcome.elections, 0, "the master stayed");
    let longest = Duration::from_secs(2);
    assert!(outcome.interruption < Some(longest), "{outcome:?}");
    finish(world);
}

#[test]
fn a_master_cut_off_from_its_replicas_but_not_from_zookeeper_steps_aside() {
    let Some(mut world) = World::start() else {
        return;
    };
    let round = Round::of(Kind::CutMasterFromReplicas, LONG);
    let played = world.play_and_look(round, |world, roles| {
        let new = world.cluster.master_but(Some(roles.master));
        let old = world.cluster.nodes[roles.master].stomp;
        let closed = wait::within(Duration::from_secs(1), || (!accepts(old)).then_some(()));
        match closed {
            Some(()) if new != roles.master => Ok(()),
            _ => Err("the old master still lets clients in".to_owned()),
        }
    });
    let outcome = played.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(outcome.elections, 1, "one is enough");
    finish(world);
}

#[test]
fn a_one_way_partition_of_the_master_does_not_flap() {
    let Some(mut world) = World::start() else {
        return;
    };
    for kind in [Kind::DeafMaster, Kind::MuteMaster] {
        let outcome = play(&mut world, Round::of(kind, LONGEST));
        assert!((1..=2).contains(&outcome.elections), "{outcome:?}");
    }
    finish(world);
}

#[test]
fn a_one_way_partition_of_a_replica_disturbs_nobody() {
    let Some(mut world) = World::start() else {
        return;
    };
    for kind in [Kind::DeafReplica, Kind::MuteReplica] {
        let outcome = play(&mut world, Round::of(kind, LONG));
        assert_eq!(outcome.elections, 0, "{outcome:?}");
    }
    finish(world);
}

#[test]
fn a_zookeeper_that_is_killed_and_restored_costs_nothing_but_time() {
    let Some(mut world) = World::start() else {
        return;
    };
    let outcome = play(&mut world, Round::of(Kind::KillZooKeeper, LONG));
    assert_eq!(outcome.elections, 0, "the master stayed");
    let round = Round::of(Kind::KillZooKeeperAndMaster, Duration::from_secs(3));
    let outcome = play(&mut world, round);
    assert!((1..=2).contains(&outcome.elections), "{outcome:?}");
    finish(world);
}

#[test]
fn all_nodes_killed_at_once_lose_nothing() {
    let Some(mut world) = World::start() else {
        return;
    };
    for _ in 0..3 {
        let round = Round::of(Kind::KillAll, Duration::from_secs(1));
        let outcome = play(&mut world, round);
        assert!(outcome.elections >= 1, "{outcome:?}");
    }
    finish(world);
}

#[test]
fn a_rolling_restart_is_hardly_noticed() {
    let Some(mut world) = World::start() else {
        return;
    };
    for _ in 0..2 {
        let round = Round::of(Kind::RollingRestart, Duration::from_secs(1));
        let outcome = play(&mut world, round);
        assert_eq!(outcome.elections, 1, "the mastership moves once");
        let longest = Duration::from_secs(2);
        assert!(outcome.interruption < Some(longest), "{outcome:?}");
    }
    finish(world);
}
