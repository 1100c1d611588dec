//! The master goes away, stands still, or is asked to leave.

use replicamq_harness::cluster::{
    Cluster, accepts, local_status, member, shared_zookeeper, status,
};
use replicamq_harness::load::{self, Load};
use replicamq_harness::stomp::Client;
use replicamq_harness::wait::{self, Since};
use std::io::ErrorKind;
use std::time::Duration;

#[test]
fn replicas_refuse_clients() {
    let cluster = Cluster::start();
    for replica in cluster.replicas() {
        let refused = Client::open(cluster.nodes[replica].stomp).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_killed_master_costs_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/killed");
    for _ in 0..2 {
        load.goes_on(200);
        let master = cluster.master();
        cluster.nodes[master].kill();
        load.goes_on(200);
        cluster.start_all();
    }
    load.nothing_is_lost();
}

#[test]
fn nodes_that_are_all_killed_lose_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/power");
    load.goes_on(300);
    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.start_all();
    load.goes_on(100);
    load.nothing_is_lost();
}

#[test]
fn a_node_that_is_left_alone_says_what_is_missing() {
    let mut cluster = Cluster::start();
    let (master, [dead, alone]) = (cluster.master(), cluster.replicas());
    cluster.nodes[dead].kill();
    cluster.nodes[master].kill();
    let survivor = &cluster.nodes[alone];
    let said = survivor.says("are not there: start them");
    assert!(
        said.contains("WARN") && said.contains("no master for"),
        "{said}"
    );
    assert!(
        said.contains("1 of 3 nodes would vote for one, 2 are needed"),
        "{said}"
    );
    let told = status(survivor.admin).expect("it answers operators");
    assert_eq!(told["master"], "", "{told}");
    assert_eq!(
        told["claimed_by"],
        cluster.nodes[master].name.as_str(),
        "{told}"
    );
    let reason = told["no_master"].as_str().unwrap_or_default();
    assert!(reason.contains("are not there: start them"), "{told}");
    for gone in [dead, master] {
        let gone = member(&told, &cluster.nodes[gone].name).expect("it has a place");
        assert_eq!(
            (&gone["role"], &gone["connected"]),
            (&"absent".into(), &false.into())
        );
    }
    cluster.start_all();
    let told = status(cluster.nodes[alone].admin).expect("it answers operators");
    assert_eq!(told["no_master"], "", "{told}");
    assert_ne!(told["master"], "", "{told}");
}

/// ZooKeeper grants what its own bounds allow, whatever was asked for: here a minute at most.
#[test]
fn the_session_timeout_that_zookeeper_granted_is_logged_and_shown() {
    let mut cluster = Cluster::prepare(&shared_zookeeper(), "");
    let asked = ["2s", "9s", "90s"];
    for (node, asked) in cluster.nodes.iter_mut().zip(asked) {
        node.start(&["--zk-session-timeout", asked]);
    }
    cluster.complete();
    let expected = [(2_000, 2_000), (9_000, 9_000), (90_000, 60_000)];
    for (node, (asked, granted)) in cluster.nodes.iter().zip(expected) {
        let line = node.says("connected to ZooKeeper at");
        let logged = format!("timeout_ms={granted} asked_ms={asked}");
        assert!(line.contains(&logged), "{line}");
        let status = local_status(node.admin).expect("it answers operators");
        assert_eq!(status["zk_session_timeout_ms"], granted, "{status}");
    }
}

#[test]
fn without_a_quorum_nothing_is_acknowledged_and_the_heal_needs_no_operator() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/quorum");
    load.goes_on(100);
    let master = cluster.master();

    // They stand still: the master may not know yet, but it may not answer either.
    let mut client = Client::connect(cluster.nodes[master].stomp).unwrap();
    for replica in cluster.replicas() {
        cluster.nodes[replica].signal("STOP");
    }
    let answer = client.send("/queue/alone", "who else has it?");
    let error = answer.expect_err("acknowledged by one of three");
    // Silence, then a broken connection: `failover:` tries the next node. An ERROR frame
    // would reach the application.
    assert_ne!(error.kind(), ErrorKind::Other, "{error}");
    let said = client.rest();
    assert!(
        said.iter().all(|frame| frame.command != "ERROR"),
        "{said:?}"
    );
    for replica in (0..3).filter(|one| *one != master) {
        cluster.nodes[replica].signal("CONT");
    }
    load.goes_on(100);
    cluster.complete();

    // They are gone.
    let master = cluster.master();
    // That nobody hears it for a moment, it may have said just before.
    let text = "ends here";
    let told = |cluster: &Cluster| cluster.nodes[master].log().matches(text).count();
    let before = told(&cluster);
    for replica in cluster.replicas() {
        cluster.nodes[replica].kill();
    }
    wait::until("the master gives up", || {
        (told(&cluster) > before).then_some(())
    });
    let before = load.acknowledged();
    let more = wait::within(Duration::from_secs(3), || {
        (load.acknowledged() > before).then_some(())
    });
    assert_eq!(more, None, "acknowledged by one of three");
    cluster.start_all();
    load.goes_on(100);
    load.nothing_is_lost();
}

#[test]
fn a_master_that_is_asked_to_leave_hands_over() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/asked");
    for _ in 0..3 {
        load.goes_on(200);
        let (master, epoch) = (cluster.master(), cluster.epoch());
        let ended = cluster.nodes[master].terminate();
        assert!(ended.success(), "{ended}");
        cluster.nodes[master].says("stopping: SIGTERM");
        // The next one waits neither for the ZooKeeper session nor for a silence.
        cluster.was_handed_over_by(master);
        assert_eq!(cluster.epoch(), epoch + 1, "one election is enough");
        load.goes_on(50);
        cluster.start_all();
    }
    load.nothing_is_lost();
}

/// A quorum of five is three.
#[test]
fn any_two_of_five_nodes_may_die_at_once_and_no_third() {
    let mut cluster = Cluster::start_of(5);
    let load = Load::start(&cluster.addresses(), "/queue/five");
    for leads in [true, false, true] {
        load.goes_on(200);
        let [one, other] = cluster.replicas();
        let other = if leads { cluster.master() } else { other };
        for node in [one, other] {
            cluster.nodes[node].kill();
        }
        load.goes_on(200);
        cluster.start_all();
    }
    let master = cluster.master();
    let alone = "no quorum hears this node as master";
    let told = |cluster: &Cluster| cluster.nodes[master].log().matches(alone).count();
    let before = told(&cluster);
    let replicas = (0..5).filter(|node| *node != master);
    for node in replicas.take(3) {
        cluster.nodes[node].kill();
    }
    wait::until("the master says that two are no quorum", || {
        (told(&cluster) > before).then_some(())
    });
    let before = load.acknowledged();
    let more = wait::within(Duration::from_secs(3), || {
        (load.acknowledged() > before).then_some(())
    });
    assert_eq!(more, None, "acknowledged by two of five");
    cluster.start_all();
    load.goes_on(100);
    load.nothing_is_lost();
}

#[test]
fn a_master_that_is_asked_to_leave_keeps_what_nobody_waited_for() {
    const COUNT: usize = 20;
    // Little happens on this master, so that little gives it an occasion.
    let slow = "heartbeat = \"300ms\"\nlease = \"1s\"\nsuspicion = \"2s\"";
    let mut cluster = Cluster::start_with(slow);
    let master = cluster.master();
    let mut client = Client::connect(cluster.nodes[master].stomp).unwrap();
    for number in 0..COUNT {
        client
            .send("/queue/last-words", &number.to_string())
            .unwrap();
    }
    let heard = [("id", "1"), ("destination", "/topic/heard")];
    client.write("SUBSCRIBE", &heard, "");
    client.subscribe("/queue/last-words").unwrap();
    let taken: Vec<_> = (0..COUNT).map(|_| client.read().unwrap()).collect();
    for message in &taken {
        client.acknowledge_later(message);
        client.write("SEND", &[("destination", "/topic/heard")], "");
        client.flush().unwrap();
        // What comes back at once has been heard behind the acknowledgement.
        assert_eq!(client.read().unwrap().header("subscription"), "1");
    }
    let ended = cluster.nodes[master].terminate();
    assert!(ended.success(), "{ended}");
    let left = load::take_all(&cluster.addresses(), "/queue/last-words");
    assert!(left.is_empty(), "{} came again", left.len());
}

#[test]
fn a_master_that_stood_still_does_not_answer_as_master_again() {
    let cluster = Cluster::start();
    let addresses = cluster.addresses();
    let load = Load::start(&addresses, "/queue/stopped");
    load.goes_on(200);
    let master = cluster.master();
    let old = &cluster.nodes[master];
    let mut witness = Client::connect(old.stomp).unwrap();
    for number in 0..20 {
        let body = number.to_string();
        witness.send("/queue/stopped-witness", &body).unwrap();
    }
    old.signal("STOP");
    let since = Since::now();
    let new = cluster.master_but(Some(master));
    let took = since.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    load.goes_on(200);
    let taken = load::take_all(&[cluster.nodes[new].stomp], "/queue/stopped-witness");
    assert_eq!(taken.len(), 20);
    // What the old one is asked now, it finds when it goes on; and what the new one has given
    // away and has acknowledged, it still has to give.
    let headers = [
        ("destination", "/queue/stopped-witness"),
        ("id", "1"),
        ("ack", "client-individual"),
    ];
    witness.write("SUBSCRIBE", &headers, "");
    let headers = [
        ("destination", "/queue/elsewhere"),
        ("persistent", "true"),
        ("receipt", "never"),
    ];
    witness.write("SEND", &headers, "to a master of the past");
    witness.flush().unwrap();
    old.signal("CONT");
    witness.wait_at_most(wait::PATIENCE);
    let said = witness.rest();
    assert!(said.is_empty(), "the old master went on as one: {said:?}");
    wait::until("the old master closes its port", || {
        (!accepts(old.stomp)).then_some(())
    });
    cluster.complete();
    let status = status(old.admin).unwrap();
    let itself = member(&status, &old.name).unwrap();
    assert_eq!(itself["role"], "replica", "{status}");
    load.nothing_is_lost();
}
