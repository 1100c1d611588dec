//! Two nodes on real sockets.

mod snapshots;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use replicamq_proto::replication::v1::replication_client::ReplicationClient;
use replicamq_quorum::{
    Appended, EPOCHS_MAX, Entries, Entry, EpochHistory, EpochStart, Position, Sequence,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What "at once" means on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(400);

struct Node {
    id: NodeId,
    links: Links,
    events: LinkEvents,
}

fn config(node: &str) -> LinkConfig {
    LinkConfig {
        cluster: "cluster".to_owned(),
        node: NodeId::new(node),
        incarnation: format!("{node}-1"),
        token: Some("secret".to_owned()),
        bind: "127.0.0.1:0".parse().unwrap(),
        message_bytes_max: 8 << 20,
        snapshot_rate: None,
    }
}

fn no_checkpoint() -> CheckpointSource {
    Arc::new(|_, epoch| Err(format!("no checkpoint of {epoch}")))
}

impl Node {
    fn start(config: LinkConfig) -> Self {
        Self::with(config, no_checkpoint())
    }

    fn with(config: LinkConfig, checkpoints: CheckpointSource) -> Self {
        let id = config.node.clone();
        let (links, events) = Links::start(config, checkpoints, Routes::default()).unwrap();
        Self { id, links, events }
    }

    fn knows(&self, others: &[(&str, SocketAddr)]) {
        let address =
            |(node, address): &(&str, SocketAddr)| (NodeId::new(node), address.to_string());
        self.links.addresses(&others.iter().map(address).collect());
    }

    async fn next(&mut self) -> LinkEvent {
        let next = tokio::time::timeout(PATIENCE, self.events.recv());
        next.await
            .expect("nothing happened")
            .expect("the links ended")
    }

    async fn silent(&mut self) {
        let next = tokio::time::timeout(Duration::from_millis(200), self.events.recv()).await;
        assert!(next.is_err(), "{next:?}");
    }

    /// Waits until something has come that it was not told yet.
    async fn is_to_be_told(&self) {
        until("something came", || !self.events.items.is_empty()).await;
    }

    async fn message(&mut self, from: &str) -> Message {
        match self.next().await {
            LinkEvent::Received {
                from: node,
                message,
            } if node.as_str() == from => message,
            other => panic!("not a message of {from}: {other:?}"),
        }
    }

    async fn unlinked(&mut self, from: &str) {
        let node = NodeId::new(from);
        assert_eq!(self.next().await, LinkEvent::Unlinked { node });
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waited).await;
    assert!(waited.is_ok(), "never: {what}");
}

/// `a` and `b`, which know each other.
fn pair() -> (Node, Node) {
    let (a, b) = (Node::start(config("a")), Node::start(config("b")));
    a.knows(&[("a", a.links.address()), ("b", b.links.address())]);
    b.knows(&[("a", a.links.address()), ("b", b.links.address())]);
    (a, b)
}

/// `b` follows `a`, and `a` has heard it.
async fn linked() -> (Node, Node) {
    let (mut a, b) = pair();
    b.links.follow(&a.id, &hello());
    assert_eq!(a.message("b").await, Message::Hello(hello()));
    (a, b)
}

fn hello() -> Hello {
    let start = |epoch, first| EpochStart {
        epoch: Epoch(epoch),
        first: Sequence(first),
    };
    Hello {
        epoch: Epoch(3),
        last: Position::new(3, 12),
        history: EpochHistory::new(vec![start(1, 1), start(3, 10)]).unwrap(),
        unfilled: false,
    }
}

fn entries(sequence: u64, bytes: usize) -> Message {
    let batch = Bytes::from(vec![7; bytes]);
    Message::Entries(Entries {
        epoch: Epoch(3),
        previous: Position::new(3, sequence - 1),
        entries: vec![Entry {
            position: Position::new(3, sequence),
            batch,
        }],
        committed: Sequence(sequence - 1),
        stamp_ms: 5,
    })
}

fn appended(sequence: u64) -> Message {
    Message::Appended(Appended {
        epoch: Epoch(3),
        appended: Position::new(3, sequence),
        durable: Position::new(3, sequence),
        applied: Sequence(sequence - 1),
        stamp_ms: 5,
    })
}

fn ask_answer() -> AskAnswer {
    AskAnswer {
        unwilling: None,
        promised: Epoch(3),
        durable: Position::new(3, 11),
        weight: 2,
        rank: 5,
        master: Some((NodeId::new("c"), Epoch(2))),
    }
}

/// A wire between two nodes that can be cut, and that can flip bits.
struct Wire {
    address: SocketAddr,
    /// Bytes that came back.
    passed: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Wire {
    /// `damage` sees everything that comes back from `to`.
    async fn to(to: SocketAddr, damage: fn(&mut [u8])) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&passed);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pumps = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(to).await.unwrap();
                let counter = Arc::clone(&counter);
                pumps.spawn(pump(client, server, move |bytes| {
                    counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    damage(bytes);
                }));
            }
        });
        Self {
            address,
            passed,
            tasks,
        }
    }

    /// As the kernel does for a killed process: a reset.
    async fn cut(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn pump(client: TcpStream, server: TcpStream, sees: impl Fn(&mut [u8])) {
    client.set_zero_linger().unwrap();
    server.set_zero_linger().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = async {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            sees(&mut buffer[..read]);
            if to_client.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        // A test's wire: either end ends both.
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = back => {}
    }
}

#[tokio::test]
async fn entries_go_one_way_and_progress_the_other() {
    let (mut a, mut b) = linked().await;
    for sequence in 13..200 {
        a.links.send(&b.id, entries(sequence, 100));
        assert_eq!(b.message("a").await, entries(sequence, 100));
        b.links.send(&a.id, appended(sequence));
        assert_eq!(a.message("b").await, appended(sequence));
    }
    for message in [
        Message::Truncate {
            epoch: Epoch(3),
            keep: Position::new(1, 4),
        },
        Message::TakeSnapshot { epoch: Epoch(3) },
        Message::Refused {
            epoch: Epoch(9),
            reason: "later".to_owned(),
        },
    ] {
        a.links.send(&b.id, message.clone());
        assert_eq!(b.message("a").await, message);
    }
}

#[tokio::test]
async fn questions_are_answered_without_a_stream() {
    let (mut a, mut b) = pair();
    a.links.send(&b.id, Message::Ask);
    assert_eq!(b.message("a").await, Message::Ask);
    b.links.send(&a.id, Message::AskAnswer(ask_answer()));
    assert_eq!(a.message("b").await, Message::AskAnswer(ask_answer()));

    let promise = Message::Promise { epoch: Epoch(4) };
    a.links.send(&b.id, promise.clone());
    assert_eq!(b.message("a").await, promise);
    let answer = |epoch, refused: Option<&str>| {
        Message::PromiseAnswer(PromiseAnswer {
            refused: refused.map(str::to_owned),
            epoch: Epoch(epoch),
            durable: Position::new(3, 11),
        })
    };
    // A promise of another epoch does not answer this question.
    b.links.send(&a.id, answer(3, None));
    a.silent().await;
    b.links.send(&a.id, answer(4, None));
    assert_eq!(a.message("b").await, answer(4, None));

    a.links.send(&b.id, Message::Promise { epoch: Epoch(5) });
    b.message("a").await;
    b.links.send(&a.id, answer(8, Some("later")));
    assert_eq!(a.message("b").await, answer(8, Some("later")));
}

/// With nine voters, asks to four that are out of reach took all places, and no promise was asked for.
#[tokio::test]
async fn questions_to_a_node_out_of_reach_crowd_out_no_others() {
    // It accepts, and never says a word.
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (a, mut b) = (Node::start(config("a")), Node::start(config("b")));
    let addresses = [
        ("a", a.links.address()),
        ("b", b.links.address()),
        ("hole", hole.local_addr().unwrap()),
    ];
    a.knows(&addresses);
    b.knows(&addresses);
    for _ in 0..200 {
        a.links.send(&NodeId::new("hole"), Message::Ask);
    }
    for _ in 0..200 {
        a.links.send(&b.id, Message::Ask);
    }
    let promise = Message::Promise { epoch: Epoch(4) };
    a.links.send(&b.id, promise.clone());
    let mut heard = Vec::new();
    while !heard.contains(&promise) || !heard.contains(&Message::Ask) {
        heard.push(b.message("a").await);
    }
}

#[tokio::test]
async fn a_reset_is_noticed_at_once_on_both_sides() {
    let (mut a, mut b) = pair();
    let wire = Wire::to(a.links.address(), |_| ()).await;
    b.knows(&[("a", wire.address)]);
    b.links.follow(&a.id, &hello());
    a.message("b").await;
    a.links.send(&b.id, entries(13, 10));
    b.message("a").await;
    let cut = Instant::now();
    wire.cut().await;
    b.unlinked("a").await;
    a.unlinked("b").await;
    assert!(cut.elapsed() < AT_ONCE, "{:?}", cut.elapsed());
    // What is sent to nobody is dropped, and nobody is told twice.
    a.links.send(&b.id, entries(14, 10));
    b.links.send(&a.id, appended(13));
    a.silent().await;
    b.silent().await;
}

#[tokio::test]
async fn a_dead_process_fails_fast() {
    let (mut a, b) = pair();
    b.links.stop().await;
    let start = Instant::now();
    a.links.follow(&b.id, &hello());
    a.unlinked("b").await;
    a.links.follow(&NodeId::new("nobody"), &hello());
    a.unlinked("nobody").await;
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    a.links.send(&b.id, Message::Ask);
    a.silent().await;
}

#[tokio::test]
async fn a_node_that_stops_says_so_to_both_roles() {
    let (mut a, b) = linked().await;
    b.links.stop().await;
    a.unlinked("b").await;
    let (a, mut b) = linked().await;
    a.links.stop().await;
    b.unlinked("a").await;
}

#[tokio::test]
async fn a_new_stream_takes_the_place_of_the_old_one() {
    let (mut a, mut b) = linked().await;
    b.links.send(&a.id, appended(12));
    b.links.follow(
        &a.id,
        &Hello {
            unfilled: true,
            ..hello()
        },
    );
    // What was under way on the old stream may still come, but not after its end.
    while let LinkEvent::Received { message, .. } = a.next().await {
        assert_eq!(message, appended(12));
    }
    assert!(matches!(a.message("b").await, Message::Hello(hello) if hello.unfilled));
    a.links.send(&b.id, entries(13, 10));
    assert_eq!(b.message("a").await, entries(13, 10));
    a.silent().await;
    b.silent().await;
}

#[tokio::test]
async fn who_closes_a_stream_hears_no_more_of_it() {
    let (mut a, mut b) = linked().await;
    b.links.send(&a.id, appended(12));
    a.is_to_be_told().await;
    a.links.unlink(&b.id);
    a.silent().await;
    b.unlinked("a").await;

    let (mut a, mut b) = linked().await;
    a.links.send(&b.id, entries(13, 10));
    b.is_to_be_told().await;
    b.links.unfollow();
    b.silent().await;
    a.unlinked("b").await;
}

#[tokio::test]
async fn a_replica_that_takes_nothing_is_unlinked_and_does_not_block() {
    let (mut a, mut b) = linked().await;
    let start = Instant::now();
    let mut sent = 0_u64;
    loop {
        sent += 1;
        a.links.send(&b.id, entries(12 + sent, 32 << 10));
        tokio::task::yield_now().await;
        match a.events.try_recv() {
            Some(LinkEvent::Unlinked { node }) => break assert_eq!(node, b.id),
            Some(other) => panic!("{other:?}"),
            None => assert!(sent < 100_000),
        }
    }
    assert!(start.elapsed() < PATIENCE);
    // What came before is whole and in order.
    let mut sequence = 12;
    loop {
        match b.next().await {
            LinkEvent::Received {
                message: Message::Entries(entries),
                ..
            } => {
                sequence += 1;
                assert_eq!(entries.entries[0].position, Position::new(3, sequence));
            }
            LinkEvent::Unlinked { .. } => break,
            other @ LinkEvent::Received { .. } => panic!("{other:?}"),
        }
    }
    a.silent().await;
}

/// What `b` hears when it asks and follows `a`, which hears nothing.
async fn is_refused(mut a: Node, mut b: Node) {
    a.knows(&[("b", b.links.address())]);
    b.knows(&[("a", a.links.address())]);
    b.links.follow(&a.id, &hello());
    b.unlinked(a.id.clone().as_str()).await;
    b.links.send(&a.id, Message::Ask);
    b.silent().await;
    a.silent().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    for token in [
        None,
        Some("wrong"),
        Some("secrets"),
        Some("secre"),
        Some(""),
    ] {
        let mut other = config("b");
        other.token = token.map(str::to_owned);
        is_refused(Node::start(config("a")), Node::start(other)).await;
    }
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let mut other = config("b");
    other.cluster = "another".to_owned();
    is_refused(Node::start(config("a")), Node::start(other)).await;
}

/// Asks a node, and is refused.
async fn ask(node: &Node, sender: wire::Sender) -> tonic::Status {
    let address = format!("http://{}", node.links.address());
    let mut client = ReplicationClient::connect(address).await.unwrap();
    let sender = Some(sender);
    let mut request = tonic::Request::new(wire::AskRequest { sender });
    let token = "secret".parse().unwrap();
    request.metadata_mut().insert("replicamq-token", token);
    client.ask(request).await.unwrap_err()
}

#[tokio::test]
async fn a_build_that_is_too_new_is_refused_in_words() {
    let (a, _b) = pair();
    let sender = wire::Sender {
        protocol: PROTOCOL + 1,
        protocol_min: PROTOCOL + 1,
        ..config("b").sender()
    };
    let refused = ask(&a, sender).await;
    assert_eq!(refused.code(), tonic::Code::OutOfRange);
    assert!(refused.message().contains("b is too new"), "{refused}");
}

#[tokio::test]
async fn a_node_that_nobody_knows_is_refused() {
    let (mut a, mut c) = (Node::start(config("a")), Node::start(config("c")));
    a.knows(&[("b", "127.0.0.1:1".parse().unwrap())]);
    c.knows(&[("a", a.links.address())]);
    c.links.follow(&a.id, &hello());
    c.unlinked("a").await;
    a.silent().await;
}

#[tokio::test]
async fn our_own_name_is_refused_to_others() {
    let (mut a, mut copy) = (Node::start(config("a")), Node::start(config("a")));
    // The copy asks itself, and reaches the original.
    let original = a.links.address();
    a.knows(&[("b", "127.0.0.1:1".parse().unwrap())]);
    copy.knows(&[("b", original)]);
    copy.links.follow(&NodeId::new("b"), &hello());
    copy.unlinked("b").await;
    a.silent().await;
}

#[tokio::test]
async fn a_second_process_under_a_linked_name_is_refused() {
    let (mut a, mut b) = linked().await;
    let mut second = config("b");
    second.incarnation = "b-2".to_owned();
    let mut copy = Node::start(second.clone());
    copy.knows(&[("a", a.links.address())]);
    copy.links.follow(&a.id, &hello());
    copy.unlinked("a").await;
    copy.links.send(&a.id, Message::Ask);
    copy.silent().await;
    a.links.send(&b.id, entries(13, 10));
    assert_eq!(b.message("a").await, entries(13, 10));
    // The first process ends, and the second is welcome.
    b.links.stop().await;
    a.unlinked("b").await;
    copy.links.follow(&a.id, &hello());
    assert_eq!(a.message("b").await, Message::Hello(hello()));
}

#[tokio::test]
async fn the_largest_entry_passes_and_a_larger_one_does_not() {
    let (mut a, mut b) = linked().await;
    a.links.send(&b.id, entries(13, 7 << 20));
    assert_eq!(b.message("a").await, entries(13, 7 << 20));
    a.links.send(&b.id, entries(14, 9 << 20));
    b.unlinked("a").await;
    a.unlinked("b").await;
}

#[tokio::test]
async fn the_longest_history_fits_a_greeting() {
    let (mut a, b) = pair();
    let start = |n| EpochStart {
        epoch: Epoch(n),
        first: Sequence(n),
    };
    let largest = u64::MAX - 200_000;
    let history = EpochHistory::new((largest..u64::MAX).map(start).collect()).unwrap();
    assert_eq!(history.starts().len(), EPOCHS_MAX);
    let sent = Hello { history, ..hello() };
    b.links.follow(&a.id, &sent);
    assert_eq!(a.message("b").await, Message::Hello(sent));
}

#[tokio::test]
async fn an_oversized_request_is_refused() {
    let (mut a, _b) = pair();
    let sender = wire::Sender {
        incarnation: "x".repeat(crate::limits::REQUEST_BYTES_MAX),
        ..config("b").sender()
    };
    let refused = ask(&a, sender).await;
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
    assert!(refused.message().contains("too large"), "{refused}");
    a.silent().await;
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_nobody() {
    let (mut a, mut b) = linked().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 4096],
        &vec![0xff; 100_000],
    ] {
        let mut stream = TcpStream::connect(a.links.address()).await.unwrap();
        // The other end may close in the middle of it.
        drop(stream.write_all(garbage).await);
        let mut answer = Vec::new();
        drop(
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
                .await
                .unwrap(),
        );
    }
    a.links.send(&b.id, entries(13, 10));
    assert_eq!(b.message("a").await, entries(13, 10));
    a.silent().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let (a, mut b) = linked().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(a.links.address()).await.unwrap());
    }
    let last = silent.last_mut().unwrap();
    let closed = tokio::time::timeout(PATIENCE, last.read(&mut [0]))
        .await
        .unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    a.links.send(&b.id, entries(13, 10));
    assert_eq!(b.message("a").await, entries(13, 10));
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_refused() {
    let mut bad = config("a");
    bad.token = Some("zwei\nZeilen".to_owned());
    let refused = Links::start(bad, no_checkpoint(), Routes::default());
    assert!(matches!(refused, Err(LinkError::Token)));
}
