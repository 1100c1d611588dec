//! Conversations over real sockets, with the test in the place of the node loop.

use std::io::{Read, Write};
use std::net::TcpStream as BlockingStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use replicamq_core::{Command, Delivery, DeliveryId, Receipt, SubscriptionId};
use replicamq_proto::store::v1::Message;
use replicamq_protocols::stomp::HeartBeat;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::run::inbox::{Input, inbox};

/// A client or a node that waits for ever would hide what is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// Signs of life of the broker, for those who want some.
const BEATS: HeartBeat = HeartBeat {
    send_ms: 100,
    receive_ms: 0,
};

/// The node loop's end of one port, and the connections behind it.
struct Port {
    settings: Arc<Settings>,
    listener: TcpListener,
    sender: InboxSender,
    inputs: mpsc::Receiver<Input>,
    connections: JoinSet<()>,
    opened: u64,
}

/// One connection as the node loop knows it.
struct Known {
    connection: ConnectionId,
    outbox: mpsc::Sender<Vec<Effect>>,
}

impl Port {
    async fn open(session: SessionConfig) -> Self {
        let (sender, inputs) = inbox();
        Self {
            settings: Arc::new(Settings::new(session)),
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            sender,
            inputs,
            connections: JoinSet::new(),
            opened: 0,
        }
    }

    /// A client of this port, on which nothing was said.
    async fn client(&mut self) -> (TcpStream, Known) {
        let address = self.listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), self.listener.accept());
        let (stream, peer) = accepted.unwrap();
        self.opened += 1;
        let connection = ConnectionId(self.opened);
        let (settings, inbox) = (Arc::clone(&self.settings), self.sender.clone());
        self.connections.spawn(async move {
            run(stream, peer, connection, &settings, &inbox).await;
        });
        let Input::Opened { connection, outbox } = self.next().await else {
            panic!("a connection tells first that it is open");
        };
        (client.unwrap(), Known { connection, outbox })
    }

    /// A client that has said CONNECT with these headers and got its CONNECTED.
    async fn connected(&mut self, headers: &str) -> (TcpStream, Known) {
        let (mut client, known) = self.client().await;
        let connect = format!("CONNECT\naccept-version:1.2\n{headers}\n\0");
        client.write_all(connect.as_bytes()).await.unwrap();
        let Command::Connect { receipt, .. } = self.hears().await else {
            panic!("CONNECT is the first command");
        };
        known.receipt(receipt);
        let said = until_nul(&mut client).await;
        assert!(said.starts_with("CONNECTED\n"), "{said}");
        (client, known)
    }

    /// Waits until so many bytes of room are free.
    async fn room_is(&self, bytes: usize) {
        let free = async {
            while self.settings.budget.free.available_permits() != bytes {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, free)
            .await
            .expect("room is given and taken");
    }

    /// Where the next SEND goes.
    async fn sent_to(&mut self) -> String {
        destination(&self.next().await)
    }

    async fn next(&mut self) -> Input {
        let input = timeout(PATIENCE, self.inputs.recv()).await;
        input.expect("something comes").expect("the port is open")
    }

    /// The next command; there is no other with it.
    async fn hears(&mut self) -> Command {
        let Input::Commands { mut commands, .. } = self.next().await else {
            panic!("no command came");
        };
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.remove(0)
    }
}

/// Where a SEND goes.
fn destination(input: &Input) -> String {
    let Input::Commands { commands, .. } = input else {
        panic!("no command came: {input:?}");
    };
    match &commands[..] {
        [Command::Send(send)] => send.message.destination.clone(),
        other => panic!("not a SEND: {other:?}"),
    }
}

impl Known {
    fn tell(&self, effect: Effect) {
        self.outbox.try_send(vec![effect]).unwrap();
    }

    fn receipt(&self, receipt: Receipt) {
        let connection = self.connection;
        self.tell(Effect::Receipt {
            connection,
            receipt,
        });
    }

    fn deliver(&self, number: u64, message: &Arc<Message>) {
        self.tell(Effect::Deliver(Delivery {
            connection: self.connection,
            subscription: SubscriptionId(1),
            delivery: DeliveryId(number),
            message: Arc::clone(message),
            redelivered: false,
            redeliveries: 0,
        }));
    }
}

/// What comes up to the next NUL, without signs of life in front.
async fn until_nul(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while bytes.last() != Some(&0) {
            bytes.push(from.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, read).await.expect("a frame comes");
    let text = String::from_utf8(bytes).unwrap();
    text.trim_start_matches('\n').to_owned()
}

/// What comes until the broker closes; a reset is a failure.
async fn rest(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    let read = timeout(PATIENCE, from.read_to_string(&mut text)).await;
    read.expect("the broker closes").expect("in peace");
    text
}

#[tokio::test]
async fn a_client_that_ends_no_line_is_told_to_connect_in_time() {
    let mut port = Port::open(SessionConfig {
        connect_ms_max: 200,
        ..SessionConfig::default()
    })
    .await;
    let (client, _known) = port.client().await;
    let (mut reader, mut writer) = client.into_split();
    let mut flood = JoinSet::new();
    // Until the broker has had enough.
    let blank = vec![b'\n'; 64 << 10];
    flood.spawn(async move { while writer.write_all(&blank).await.is_ok() {} });
    let said = until_nul(&mut reader).await;
    assert!(said.contains("no CONNECT within 200 ms"), "{said}");
}

#[tokio::test]
async fn what_a_client_says_is_heard_while_deliveries_never_end() {
    const COUNT: u64 = 1_000;
    const BODY_BYTES: usize = 64 << 10;
    let mut port = Port::open(SessionConfig::default()).await;
    let (mut client, known) = port.connected("").await;
    let subscribe = b"SUBSCRIBE\nid:0\ndestination:/topic/t\n\n\0";
    client.write_all(subscribe).await.unwrap();
    assert!(matches!(port.hears().await, Command::Subscribe(_)));
    client.write_all(b"UNSUBSCRIBE\nid:0\n\n\0").await.unwrap();
    let message = Arc::new(Message {
        body: vec![b'x'; BODY_BYTES].into(),
        ..Message::default()
    });
    for number in 1..=COUNT {
        known.deliver(number, &message);
    }
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&taken);
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        let mut bytes = vec![0; 256 << 10];
        while let Ok(count @ 1..) = client.read(&mut bytes).await {
            counted.fetch_add(count as u64, Ordering::Relaxed);
        }
    });
    loop {
        let Input::Commands { commands, .. } = port.next().await else {
            panic!("the client stays");
        };
        let is_heard = |command: &Command| matches!(command, Command::Unsubscribe { .. });
        if commands.iter().any(is_heard) {
            break;
        }
    }
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < COUNT * BODY_BYTES as u64 / 2, "after {taken} bytes");
}

#[tokio::test]
async fn a_client_that_never_stops_sending_gets_its_heart_beats() {
    let mut port = Port::open(SessionConfig {
        heart_beat: BEATS,
        ..SessionConfig::default()
    })
    .await;
    let (client, _known) = port.connected("heart-beat:0,100\n").await;
    let client = client.into_std().unwrap();
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut listening = client.try_clone().unwrap();
    let flood = thread::spawn(move || flood(&client));
    let beat = tokio::task::spawn_blocking(move || {
        let mut byte = [0];
        let read = listening.read(&mut byte);
        listening.shutdown(std::net::Shutdown::Both).unwrap();
        read.map(|_| byte[0])
    });
    let taking = async { while let Input::Commands { .. } = port.next().await {} };
    let (beat, ()) = tokio::join!(beat, taking);
    assert_eq!(beat.unwrap().unwrap(), b'\n');
    assert!(flood.join().unwrap() > 1_000_000, "nobody was flooded");
}

/// Sends without receipts until the connection ends; how many bytes.
fn flood(mut client: &BlockingStream) -> u64 {
    let sends = "SEND\ndestination:/queue/a\n\nx\0".repeat(10_000);
    let mut sent = 0;
    while let Ok(count @ 1..) = client.write(sends.as_bytes()) {
        sent += count as u64;
    }
    sent
}

#[tokio::test]
async fn a_client_that_writes_before_it_reads_still_gets_the_error() {
    let mut port = Port::open(SessionConfig::default()).await;
    let (mut client, _known) = port.connected("").await;
    let body = vec![b'x'; 20 << 20];
    let head = format!(
        "SEND\ndestination:/queue/a\ncontent-length:{}\n\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    client.write_all(b"\0").await.unwrap();
    let said = rest(&mut client).await;
    assert!(said.starts_with("ERROR\nmessage:frame too large"), "{said}");
    // Its deliveries do not wait until the client has heard it.
    assert!(matches!(port.next().await, Input::Closed { .. }));
}

/// Room for one large frame at a time.
fn narrow(large_frame_ms_max: u64) -> SessionConfig {
    SessionConfig {
        large_frame_bytes: 1_000,
        large_frames_bytes_max: 150_000,
        large_frame_ms_max,
        heart_beat: BEATS,
        ..SessionConfig::default()
    }
}

/// A SEND of 100,000 bytes, and its first half.
fn large(name: &str) -> (Vec<u8>, Vec<u8>) {
    let head = format!("SEND\ndestination:/queue/{name}\ncontent-length:100000\n\n");
    let mut first = head.into_bytes();
    first.resize(first.len() + 50_000, b'x');
    let mut second = vec![b'x'; 50_000];
    second.push(0);
    (first, second)
}

#[tokio::test]
async fn large_frames_take_turns_and_small_ones_pass() {
    let mut port = Port::open(narrow(60_000)).await;
    let (mut one, _one_known) = port.connected("").await;
    let (mut two, _two_known) = port.connected("heart-beat:0,100\n").await;
    let (mut three, _three_known) = port.connected("").await;
    let ((one_first, one_second), (two_first, two_second)) = (large("one"), large("two"));
    one.write_all(&one_first).await.unwrap();
    port.room_is(50_000 - 1).await;
    two.write_all(&two_first).await.unwrap();
    two.write_all(&two_second).await.unwrap();
    let small = b"SEND\ndestination:/queue/three\n\nx\0";
    three.write_all(small).await.unwrap();
    assert_eq!(port.sent_to().await, "/queue/three");
    // One that waits for room is served in everything else.
    let beat = timeout(PATIENCE, two.read_u8()).await;
    assert_eq!(beat.expect("it beats").unwrap(), b'\n');
    // One that goes on and on lets others pass between two frames.
    one.write_all(&[one_second.clone(), one_first].concat())
        .await
        .unwrap();
    assert_eq!(port.sent_to().await, "/queue/one");
    assert_eq!(port.sent_to().await, "/queue/two");
    one.write_all(&one_second).await.unwrap();
    assert_eq!(port.sent_to().await, "/queue/one");
    port.room_is(150_000).await;
}

#[tokio::test]
async fn a_large_frame_without_room_is_refused_in_time_and_in_words() {
    let mut port = Port::open(narrow(300)).await;
    let (mut client, _known) = port.connected("").await;
    let free = Arc::clone(&port.settings.budget.free);
    let taken = free.acquire_many_owned(150_000).await.unwrap();
    client.write_all(&large("late").0).await.unwrap();
    let said = rest(&mut client).await;
    let why = "found no room within 300 ms: such frames of all connections may take 150000 bytes";
    assert!(said.contains(why), "{said}");
    drop(taken);
    port.room_is(150_000).await;
}
