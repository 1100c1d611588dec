//! Who may join, as whom, and what lies in ZooKeeper then.

use std::time::Duration;

use replicamq_cluster::{KeeperAccess, MembershipEvent, Operator, RefusedMembership, Standing};
use replicamq_harness::zookeeper::ZooKeeper;
use replicamq_quorum::{Epoch, NodeId, Position};
use serde_json::json;

use crate::node::{Node, client, config, json, names, rank};

#[tokio::test]
async fn what_a_newer_build_laid_out_is_not_touched() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut node = Node::start(config(&zookeeper.address, "a"));
    node.joined().await;
    drop(node);
    let client = client(&zookeeper.address).await;
    let path = "/replicamq/test/cluster";
    let mut cluster = json(&client, path).await;
    assert_eq!(cluster["format"], 1);
    cluster["format"] = json!(2);
    let data = cluster.to_string();
    client.set_data(path, data.as_bytes(), None).await.unwrap();
    let mut late = Node::start(config(&zookeeper.address, "b"));
    let refused = late.refused().await;
    assert!(
        matches!(&refused, RefusedMembership::NewerFormat { found: 2, .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn three_join_a_fourth_is_refused_and_all_can_be_read() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let mut node = Node::start(config(&zookeeper.address, name));
        assert_eq!(node.joined().await.1, Standing::New);
        nodes.push(node);
    }
    let keeper = nodes[0].keeper(|keeper| keeper.members.len() == 3).await;
    assert_eq!(names(&keeper), ["a", "b", "c"]);
    assert!(rank(&keeper, "a") < rank(&keeper, "b") && rank(&keeper, "b") < rank(&keeper, "c"));
    assert_eq!((keeper.epoch.epoch, keeper.epoch.master), (Epoch(0), None));

    let mut stranger = Node::start(config(&zookeeper.address, "d"));
    let refused = stranger.refused().await;
    assert!(
        matches!(&refused, RefusedMembership::Stranger { replicas: 3, voters, .. } if voters == "a, b, c")
    );
    assert!(
        refused.to_string().contains("replicamq cluster replace"),
        "{refused}"
    );

    let client = client(&zookeeper.address).await;
    let root = "/replicamq/test";
    assert!(json(&client, &format!("{root}/cluster")).await["cluster"].is_string());
    assert_eq!(
        json(&client, &format!("{root}/nodes")).await,
        json!({"replicas": 3, "registered": 3})
    );
    assert_eq!(
        json(&client, &format!("{root}/nodes/b")).await,
        json!({"store": "store-of-b", "replication": "b:61619"})
    );
    assert_eq!(
        json(&client, &format!("{root}/epoch")).await,
        json!({"epoch": 0, "master": null})
    );
    let members = client
        .list_children(&format!("{root}/members"))
        .await
        .unwrap();
    assert_eq!(members.len(), 3);
    let member = members.iter().min().unwrap();
    let member = json(&client, &format!("{root}/members/{member}")).await;
    assert_eq!(member["node"], "a");
    assert_eq!(member["role"], "electing");
    assert_eq!(member["durable"], json!({"epoch": 0, "sequence": 0}));

    // Who leaves is gone at once, but stays a voter.
    nodes.pop().unwrap().membership.stop().await;
    let left = nodes[0].until(|event| match event {
        MembershipEvent::Keeper {
            keeper,
            members,
            voters,
            ..
        } if keeper.members.len() == 2 => Some((members.clone(), voters.clone())),
        _ => None,
    });
    let (members, voters) = left.await;
    assert!(!members.contains_key(&NodeId::new("c")));
    assert_eq!(voters[&NodeId::new("c")], "c:61619");
}

#[tokio::test]
async fn six_that_come_at_once_do_not_exceed_three() {
    let zookeeper = ZooKeeper::start().unwrap();
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut nodes: Vec<_> = names
        .iter()
        .map(|name| Node::start(config(&zookeeper.address, name)))
        .collect();
    let (mut joined, mut clusters) = (0, std::collections::BTreeSet::new());
    for node in &mut nodes {
        let outcome = node.until(|event| match event {
            MembershipEvent::Joined { cluster, .. } => Some(Ok(cluster.clone())),
            MembershipEvent::Refused(refused) => Some(Err(refused.clone())),
            _ => None,
        });
        match outcome.await {
            Ok(cluster) => {
                joined += 1;
                clusters.insert(cluster);
            }
            Err(refused) => assert!(matches!(refused, RefusedMembership::Stranger { .. })),
        }
    }
    assert_eq!((joined, clusters.len()), (3, 1));
}

#[tokio::test]
async fn a_claim_has_one_winner_and_everybody_learns_who() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut nodes: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| Node::start(config(&zookeeper.address, name)))
        .collect();
    let mut version = 0;
    for node in &mut nodes {
        version = node
            .keeper(|keeper| keeper.members.len() == 3)
            .await
            .epoch
            .version;
    }
    for node in &nodes {
        node.membership.claim(Epoch(1), version);
    }
    let mut winners = Vec::new();
    for (node, name) in nodes.iter_mut().zip(["a", "b", "c"]) {
        let (epoch, won) = node.claimed().await;
        assert_eq!(epoch, 1);
        winners.extend(won.then_some(name));
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    for node in &mut nodes {
        let keeper = node.keeper(|keeper| keeper.epoch.epoch == Epoch(1)).await;
        assert_eq!(keeper.epoch.master, Some(NodeId::new(winners[0])));
        assert_eq!(keeper.epoch.version, version + 1);
    }
    // And again: watches fire once and are set anew.
    for epoch in 2..5 {
        nodes[1]
            .membership
            .claim(Epoch(epoch), version + i32::try_from(epoch).unwrap() - 1);
        assert_eq!(nodes[1].claimed().await, (epoch, true));
        for node in &mut nodes {
            let keeper = node
                .keeper(|keeper| keeper.epoch.epoch == Epoch(epoch))
                .await;
            assert_eq!(keeper.epoch.master, Some(NodeId::new("b")));
        }
    }
    // An outdated version wins nothing, even for the same node again.
    nodes[1].membership.claim(Epoch(9), version);
    assert_eq!(nodes[1].claimed().await, (9, false));
}

#[tokio::test]
async fn a_wiped_or_replaced_directory_is_recognised_until_it_is_filled() {
    let zookeeper = ZooKeeper::start().unwrap();
    let start = |name: &str, store: &str| {
        let mut config = config(&zookeeper.address, name);
        store.clone_into(&mut config.store);
        Node::start(config)
    };
    // Before there was a master nothing was acknowledged, and nothing can be missing.
    for _ in 0..2 {
        let mut node = start("a", "first");
        assert_eq!(node.joined().await.1, Standing::New);
        node.membership.stop().await;
    }
    for (store, fill, standing) in [
        ("wiped", false, Standing::Unfilled),
        ("first", true, Standing::New),
        ("first", false, Standing::Known),
        ("wiped", false, Standing::Unfilled),
        ("wiped", true, Standing::Unfilled),
        ("wiped", false, Standing::Known),
        ("first", false, Standing::Unfilled),
    ] {
        let mut node = start("a", store);
        assert_eq!(node.joined().await.1, standing, "{store}");
        let version = node.keeper(|_| true).await.epoch.version;
        if fill {
            node.membership.confirm_filled();
            let client = client(&zookeeper.address).await;
            let path = "/replicamq/test/nodes/a";
            while json(&client, path).await["store"] != store {
                tokio::task::yield_now().await;
            }
            node.membership.claim(Epoch(1), version);
            node.claimed().await;
        }
        node.membership.stop().await;
    }
    // Who takes the place of another has not what that one acknowledged.
    let others = [start("b", "b"), start("c", "c")];
    for mut other in others {
        assert_eq!(other.joined().await.1, Standing::New);
        other.membership.stop().await;
    }
    client(&zookeeper.address)
        .await
        .delete("/replicamq/test/nodes/c", None)
        .await
        .unwrap();
    for _ in 0..2 {
        let mut node = start("d", "d");
        assert_eq!(node.joined().await.1, Standing::Unfilled);
        node.membership.stop().await;
    }
}

#[tokio::test]
async fn an_older_copy_of_a_directory_is_recognised_until_it_is_filled() {
    let zookeeper = ZooKeeper::start().unwrap();
    let client = client(&zookeeper.address).await;
    let start = |sequence: u64| {
        let mut config = config(&zookeeper.address, "a");
        config.log_end = Position::new(1, sequence);
        Node::start(config)
    };
    let held = async |sequence: u64| {
        let path = "/replicamq/test/nodes/a";
        while json(&client, path).await["held"]["sequence"] != sequence {
            tokio::task::yield_now().await;
        }
    };
    let mut node = start(0);
    node.joined().await;
    let version = node.keeper(|_| true).await.epoch.version;
    node.membership.claim(Epoch(1), version);
    node.claimed().await;
    let at = |sequence| Position::new(1, sequence);
    node.membership.advertise("replica", at(20), at(10));
    held(10).await;
    // Just started again, a node does not know yet how much of its log is committed.
    node.membership.advertise("electing", at(20), at(3));
    node.membership.advertise("replica", at(20), at(3));
    node.membership.stop().await;

    let older = Standing::Outdated { held: at(10) };
    for (end, standing) in [(20, Standing::Known), (10, Standing::Known), (9, older)] {
        let mut node = start(end);
        assert_eq!(node.joined().await.1, standing, "log ends at {end}");
        node.keeper(|_| true).await;
        node.membership.advertise("replica", at(end), at(5));
        node.membership.stop().await;
    }
    // Filled, it counts, with what it has then.
    let mut node = start(9);
    assert_eq!(node.joined().await.1, older);
    node.membership.advertise("replica", at(30), at(30));
    node.membership.confirm_filled();
    held(30).await;
    node.membership.stop().await;
    assert_eq!(start(30).joined().await.1, Standing::Known);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_cure() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut first = Node::start(config(&zookeeper.address, "a"));
    let (cluster, _) = first.joined().await;

    let mut other = config(&zookeeper.address, "b");
    other.cluster = Some("elsewhere".to_owned());
    let refused = Node::start(other).refused().await;
    assert!(
        matches!(&refused, RefusedMembership::OtherCluster { keeper, .. } if *keeper == cluster)
    );

    let mut five = config(&zookeeper.address, "b");
    five.replicas = 5;
    let refused = Node::start(five).refused().await;
    assert!(matches!(
        refused,
        RefusedMembership::Replicas {
            keeper: 3,
            node: 5,
            ..
        }
    ));

    let mut ours = config(&zookeeper.address, "b");
    ours.cluster = Some(cluster.clone());
    assert_eq!(Node::start(ours).joined().await, (cluster, Standing::New));
}

#[tokio::test]
async fn a_password_keeps_others_out() {
    let zookeeper = ZooKeeper::start().unwrap();
    let start = |name: &str, password: Option<&str>| {
        let mut config = config(&zookeeper.address, name);
        config.password = password.map(str::to_owned);
        Node::start(config)
    };
    let (mut first, mut second) = (start("a", Some("secret")), start("b", Some("secret")));
    first.joined().await;
    second.joined().await;
    for wrong in [None, Some("guess")] {
        let refused = start("c", wrong).refused().await;
        assert!(
            matches!(refused, RefusedMembership::Denied { .. }),
            "{refused}"
        );
    }
    let client = client(&zookeeper.address).await;
    let denied = client.get_data("/replicamq/test/epoch").await;
    assert_eq!(denied.unwrap_err(), zookeeper_client::Error::NoAuth);
}

#[tokio::test]
async fn the_cluster_may_live_below_a_chroot() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut node = Node::start(config(&format!("{}/common", zookeeper.address), "a"));
    node.joined().await;
    let client = client(&zookeeper.address).await;
    assert_eq!(
        json(&client, "/common/replicamq/test/epoch").await["epoch"],
        0
    );
}

#[tokio::test]
async fn what_a_node_advertises_reaches_the_others() {
    let zookeeper = ZooKeeper::start().unwrap();
    let (mut a, mut b) = (
        Node::start(config(&zookeeper.address, "a")),
        Node::start(config(&zookeeper.address, "b")),
    );
    a.joined().await;
    b.keeper(|keeper| keeper.members.len() == 2).await;
    a.membership
        .advertise("replica", Position::new(1, 10), Position::new(1, 10));
    let position = |keeper: &replicamq_quorum::Keeper| {
        keeper
            .members
            .iter()
            .find(|m| m.node.as_str() == "a")
            .map(|m| m.durable)
    };
    b.keeper(|keeper| position(keeper) == Some(Position::new(1, 10)))
        .await;
    // The newest of many is what is told, and the last is never lost.
    for sequence in 11..=500 {
        a.membership
            .advertise("replica", Position::new(1, sequence), Position::default());
        tokio::task::yield_now().await;
    }
    b.keeper(|keeper| position(keeper) == Some(Position::new(1, 500)))
        .await;
    let client = client(&zookeeper.address).await;
    let members = client
        .list_children("/replicamq/test/members")
        .await
        .unwrap();
    let mut writes = 0;
    for member in members {
        let (_, stat) = client
            .get_data(&format!("/replicamq/test/members/{member}"))
            .await
            .unwrap();
        writes = writes.max(stat.version);
    }
    assert!((2..=4).contains(&writes), "{writes} writes");
}

#[tokio::test]
async fn a_keeper_that_lost_everything_takes_the_cluster_from_the_stores() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut config = config(&zookeeper.address, "a");
    config.cluster = Some("the-old-one".to_owned());
    let mut node = Node::start(config);
    assert_eq!(node.joined().await.0, "the-old-one");
    // And while the node runs: everything below the path, and the path.
    let keeper = node.keeper(|_| true).await;
    node.membership.claim(Epoch(1), keeper.epoch.version);
    assert_eq!(node.claimed().await, (1, true));
    let person = client(&zookeeper.address).await;
    let root = "/replicamq/test";
    for parent in ["members", "nodes"] {
        for child in person
            .list_children(&format!("{root}/{parent}"))
            .await
            .unwrap()
        {
            // The node may be quicker than we are.
            drop(
                person
                    .delete(&format!("{root}/{parent}/{child}"), None)
                    .await,
            );
        }
    }
    person.delete(&format!("{root}/epoch"), None).await.unwrap();
    let keeper = node.keeper(|keeper| keeper.epoch.epoch == Epoch(0)).await;
    assert_eq!(names(&keeper), ["a"]);
    assert_eq!(
        json(&person, &format!("{root}/cluster")).await["cluster"],
        "the-old-one"
    );
}

/// It was left out until it came, and the replaced one stayed among those who count.
#[tokio::test]
async fn a_place_counts_for_who_has_it_from_the_moment_it_is_given() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut nodes: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| Node::start(config(&zookeeper.address, name)))
        .collect();
    for node in &mut nodes {
        node.joined().await;
    }
    nodes.pop().unwrap().membership.stop().await;
    nodes[0].keeper(|keeper| keeper.members.len() == 2).await;
    let operator = Operator::connect(KeeperAccess {
        address: zookeeper.address.clone(),
        path: "/replicamq/test".to_owned(),
        password: None,
        timeout: Duration::from_secs(30),
    });
    let operator = operator.await.unwrap();
    let (old, new) = (NodeId::new("c"), NodeId::new("d"));
    operator.replace(&old, &new).await.unwrap();
    let read = nodes[0].keeper(|keeper| keeper.voters.contains(&new)).await;
    let voters = ["a", "b", "d"].map(NodeId::new);
    assert_eq!(read.voters, voters.into());
    assert_eq!(names(&read), ["a", "b"]);
}

/// A wiped node took one of the first places of the cluster that was made anew, counted as
/// filled, and could elect together with one that lagged behind.
#[tokio::test]
async fn who_brings_nothing_to_a_cluster_made_anew_must_be_filled() {
    let zookeeper = ZooKeeper::start().unwrap();
    let start = |name: &str, brings: bool| {
        let mut config = config(&zookeeper.address, name);
        config.cluster = brings.then(|| "the-old-one".to_owned());
        Node::start(config)
    };
    // Twice: when they come back before there is a master, they are what they were.
    for _ in 0..2 {
        for (name, brings, standing) in [
            ("a", true, Standing::Known),
            ("wiped", false, Standing::Unfilled),
            ("b", true, Standing::Known),
        ] {
            let mut node = start(name, brings);
            let joined = ("the-old-one".to_owned(), standing);
            assert_eq!(node.joined().await, joined, "{name}");
            node.membership.stop().await;
        }
    }
}

/// As above, when the id alone was left.
#[tokio::test]
async fn who_brings_nothing_to_places_made_anew_must_be_filled() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut node = Node::start(config(&zookeeper.address, "a"));
    let (cluster, standing) = node.joined().await;
    assert_eq!(standing, Standing::New);
    node.membership.stop().await;
    let person = client(&zookeeper.address).await;
    for path in ["nodes/a", "nodes", "epoch"] {
        let path = format!("/replicamq/test/{path}");
        person.delete(&path, None).await.unwrap();
    }
    let mut wiped = Node::start(config(&zookeeper.address, "b"));
    assert_eq!(wiped.joined().await, (cluster.clone(), Standing::Unfilled));
    let mut brings = config(&zookeeper.address, "a");
    brings.cluster = Some(cluster.clone());
    let mut node = Node::start(brings);
    assert_eq!(node.joined().await, (cluster, Standing::Known));
}
