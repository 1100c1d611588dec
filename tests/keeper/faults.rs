//! ZooKeeper goes and comes back, and processes die without a word.

use std::collections::BTreeSet;
use std::time::Duration;

use replicamq_cluster::{MembershipConfig, MembershipEvent, RefusedMembership, Standing};
use replicamq_harness::zookeeper::ZooKeeper;
use replicamq_quorum::Epoch;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use zookeeper_client as zk;

use crate::node::{Node, PATIENCE, client, config, json, names, rank};

#[tokio::test]
async fn a_node_waits_for_a_zookeeper_that_is_not_there_yet() {
    let mut zookeeper = ZooKeeper::start().unwrap();
    zookeeper.stop();
    let mut node = Node::start(config(&zookeeper.address, "a"));
    let early = tokio::time::timeout(Duration::from_secs(1), node.events.recv()).await;
    assert!(early.is_err(), "{early:?}");
    zookeeper.start_again().unwrap();
    assert_eq!(node.joined().await.1, Standing::New);
}

#[tokio::test]
async fn a_short_absence_of_zookeeper_keeps_the_session() {
    let mut zookeeper = ZooKeeper::start().unwrap();
    let mut config = config(&zookeeper.address, "a");
    config.session_timeout = Duration::from_secs(20);
    let mut node = Node::start(config);
    let before = node.keeper(|_| true).await;
    zookeeper.stop();
    node.lost().await;
    zookeeper.start_again().unwrap();
    assert_eq!(node.keeper(|_| true).await, before);
}

/// Stands in for a ZooKeeper that is away, until clients with each of these session
/// timeouts have asked for a new session.
async fn sessions_are_given_up(address: &str, timeouts_ms: &[u64]) {
    let stand_in = TcpListener::bind(address).await;
    let stand_in = stand_in.expect("a killed ZooKeeper leaves its port");
    let mut kept: BTreeSet<u64> = timeouts_ms.iter().copied().collect();
    let given_up = async {
        while !kept.is_empty() {
            let (mut stream, _) = stand_in.accept().await.expect("the nodes try on");
            // Length, protocol and last transaction; then the timeout and the session.
            let mut request = [0; 28];
            if stream.read_exact(&mut request).await.is_err() {
                // Its session ended before it had said anything.
                continue;
            }
            let timeout_ms = u32::from_be_bytes(request[16..20].try_into().expect("four bytes"));
            if request[20..] == [0; 8] {
                kept.remove(&u64::from(timeout_ms));
            }
        }
    };
    let given_up = tokio::time::timeout(PATIENCE, given_up);
    given_up.await.expect("sessions end without ZooKeeper");
}

#[tokio::test]
async fn after_its_session_a_node_registers_anew_and_watches_again() {
    let mut zookeeper = ZooKeeper::start().unwrap();
    let timeouts_ms = [2_000, 2_001];
    let node = |name, timeout_ms| {
        Node::start(MembershipConfig {
            session_timeout: Duration::from_millis(timeout_ms),
            ..config(&zookeeper.address, name)
        })
    };
    let mut a = node("a", timeouts_ms[0]);
    let mut b = node("b", timeouts_ms[1]);
    let before = a.keeper(|keeper| keeper.members.len() == 2).await;
    zookeeper.stop();
    sessions_are_given_up(&zookeeper.address, &timeouts_ms).await;
    zookeeper.start_again().unwrap();
    let newer = |keeper: &replicamq_quorum::Keeper| {
        names(keeper) == ["a", "b"]
            && ["a", "b"]
                .iter()
                .all(|node| rank(keeper, node) > rank(&before, "b"))
    };
    let keeper = a.keeper(newer).await;
    b.keeper(newer).await;
    // The watches of the new sessions live.
    b.membership.claim(Epoch(1), keeper.epoch.version);
    assert_eq!(b.claimed().await, (1, true));
    a.keeper(|keeper| keeper.epoch.epoch == Epoch(1)).await;
    b.membership.stop().await;
    a.keeper(|keeper| names(keeper) == ["a"]).await;
}

#[tokio::test]
async fn a_claim_is_answered_truly_when_zookeeper_froze_over_it() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut config = config(&zookeeper.address, "a");
    config.session_timeout = Duration::from_secs(4);
    let mut node = Node::start(config);
    let version = node.keeper(|_| true).await.epoch.version;
    zookeeper.pause().unwrap();
    node.membership.claim(Epoch(1), version);
    let early = node.until(|event| match event {
        MembershipEvent::Lost => Some(None),
        MembershipEvent::Claimed { epoch, won } => Some(Some((epoch.0, *won))),
        _ => None,
    });
    let early = early.await;
    zookeeper.resume().unwrap();
    let (epoch, won) = match early {
        Some(answer) => answer,
        None => node.claimed().await,
    };
    assert_eq!(epoch, 1);
    let client = client(&zookeeper.address).await;
    let found = json(&client, "/replicamq/test/epoch").await;
    assert!(
        !won || (found["epoch"] == 1 && found["master"] == "a"),
        "{found}"
    );
    // It goes on from whatever is true, which it may have told before that answer.
    let (_, stat) = client.get_data("/replicamq/test/epoch").await.unwrap();
    node.membership.claim(Epoch(2), stat.version);
    let second = node.until(|event| match event {
        MembershipEvent::Claimed {
            epoch: Epoch(2),
            won,
        } => Some(Ok(*won)),
        MembershipEvent::Keeper { keeper, .. } => Some(Err(keeper.epoch.version)),
        _ => None,
    });
    if let Err(version) = second.await {
        node.membership.claim(Epoch(3), version);
        assert!(node.claimed().await.0 >= 2);
    }
}

#[tokio::test]
async fn a_second_process_under_one_id_is_refused_and_the_first_stays() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut first = Node::start(config(&zookeeper.address, "a"));
    first.keeper(|_| true).await;
    let mut copy = config(&zookeeper.address, "a");
    copy.replication_address = "elsewhere:61619".to_owned();
    copy.predecessors = vec!["somebody-else".to_owned()];
    let refused = Node::start(copy).refused().await;
    assert!(
        matches!(&refused, RefusedMembership::Duplicate { address, .. } if address == "a:61619"),
        "{refused}"
    );
    first.membership.claim(Epoch(1), 0);
    assert_eq!(first.claimed().await, (1, true));
}

/// Joins, leaves, and puts the znode back in a session that nobody keeps alive,
/// as a crash leaves it. Gives the znode's number and the session.
async fn crash(config: MembershipConfig, timeout: Duration) -> (i64, zk::SessionInfo) {
    let address = config.address.clone();
    let mut node = Node::start(config);
    let rank = rank(&node.keeper(|_| true).await, "a") + 1;
    let person = client(&address).await;
    let members = "/replicamq/test/members";
    let names = person.list_children(members).await;
    let name = names.expect("it is there").remove(0);
    let found = person.get_data(&format!("{members}/{name}")).await;
    let (data, _) = found.expect("it is there");
    node.membership.stop().await;
    let crashed = zk::Client::connector()
        .with_session_timeout(timeout)
        .with_detached()
        .connect(&address)
        .await
        .expect("ZooKeeper is there");
    let options = zk::CreateMode::EphemeralSequential.with_acls(zk::Acls::anyone_all());
    crashed
        .create(&format!("{members}/member-"), &data, &options)
        .await
        .expect("anyone may");
    (rank, crashed.into_session())
}

#[tokio::test]
async fn the_znode_of_a_process_that_is_known_to_be_gone_is_not_waited_for() {
    let zookeeper = ZooKeeper::start().unwrap();
    let first = config(&zookeeper.address, "a");
    let mut second = config(&zookeeper.address, "a");
    second.predecessors = vec!["before".to_owned(), first.incarnation.clone()];
    let (old, session) = crash(first, Duration::from_secs(30)).await;
    let mut second = Node::start(second);
    assert_eq!(second.joined().await.1, Standing::New);
    let keeper = second.keeper(|_| true).await;
    assert_eq!(names(&keeper), ["a"]);
    assert!(rank(&keeper, "a") > old);
    // The session of the one that crashed lives on: it can be taken up again.
    let session = zk::Client::connector()
        .with_session(session)
        .with_fail_eagerly()
        .connect(&zookeeper.address);
    session.await.unwrap();
}

#[tokio::test]
async fn the_znode_of_a_process_that_crashed_is_waited_for() {
    let zookeeper = ZooKeeper::start().unwrap();
    let first = config(&zookeeper.address, "a");
    let (old, _) = crash(first, Duration::from_secs(2)).await;
    let mut second = Node::start(config(&zookeeper.address, "a"));
    assert_eq!(second.joined().await.1, Standing::New);
    let keeper = second.keeper(|_| true).await;
    assert_eq!(names(&keeper), ["a"]);
    assert!(rank(&keeper, "a") > old);
}

#[tokio::test]
async fn a_znode_that_somebody_deleted_is_made_again() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut node = Node::start(config(&zookeeper.address, "a"));
    let old = rank(&node.keeper(|_| true).await, "a");
    let person = client(&zookeeper.address).await;
    let members = "/replicamq/test/members";
    let name = person.list_children(members).await.unwrap().remove(0);
    person
        .delete(&format!("{members}/{name}"), None)
        .await
        .unwrap();
    let keeper = node.keeper(|keeper| rank(keeper, "a") > old).await;
    assert_eq!(names(&keeper), ["a"]);
}

#[tokio::test]
async fn what_strangers_leave_among_the_members_harms_nobody() {
    let zookeeper = ZooKeeper::start().unwrap();
    let mut node = Node::start(config(&zookeeper.address, "a"));
    node.keeper(|_| true).await;
    let person = client(&zookeeper.address).await;
    let options = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());
    for (name, data) in [
        ("members/member-x", "{}"),
        ("members/member-0000000099", "no json"),
        ("nodes/z", "?"),
    ] {
        person
            .create(
                &format!("/replicamq/test/{name}"),
                data.as_bytes(),
                &options,
            )
            .await
            .unwrap();
    }
    let mut other = Node::start(config(&zookeeper.address, "b"));
    other.joined().await;
    let keeper = node.keeper(|keeper| keeper.members.len() == 2).await;
    assert_eq!(names(&keeper), ["a", "b"]);
}
