//! Transactions, receipts and individual acknowledgements while masters are killed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use replicamq_harness::cluster::Cluster;
use replicamq_harness::load::connect;
use replicamq_harness::stomp::{Client, Frame};
use replicamq_harness::wait;

const QUEUE: &str = "/queue/ledger";
const LAST: &str = "the last one";

/// Sends of one transaction.
const SENDS: u64 = 3;
/// Acknowledgements of one transaction.
const TAKEN: usize = 4;
/// Every so many transactions, one is begun and aborted before.
const ABORTED_EVERY: u64 = 5;

/// What a consumer saw, in its order.
#[derive(Debug)]
enum Seen {
    Delivered {
        body: String,
        redelivered: bool,
    },
    /// The acknowledgement was acknowledged.
    Consumed {
        body: String,
    },
}

/// What all threads know.
#[derive(Clone)]
struct Shared {
    addresses: Vec<SocketAddr>,
    going: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Shared {
    fn goes_on(&self, more: u64) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        wait::until("both producers go on", || {
            (self.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    }

    /// Does it until there is no failure; each failure takes a new connection.
    fn persist(&self, client: &mut Client, mut act: impl FnMut(&mut Client) -> io::Result<()>) {
        while act(client).is_err() {
            *client = connect(&self.addresses);
        }
    }
}

fn send(client: &mut Client, body: &str, more: &[(&str, &str)]) {
    let id = body.replace(' ', "-");
    let mut headers = vec![("destination", QUEUE), ("persistent", "true")];
    headers.push(("message-id", &id));
    headers.extend_from_slice(more);
    client.write("SEND", &headers, body);
}

/// `single 0`, `single 1`, …: each with a receipt. How many were acknowledged.
fn send_singly(shared: &Shared) -> u64 {
    let mut client = connect(&shared.addresses);
    let mut number = 0;
    while shared.going.load(Ordering::Relaxed) {
        let (body, id) = (format!("single {number}"), format!("single-{number}"));
        let headers = [
            ("destination", QUEUE),
            ("persistent", "true"),
            ("message-id", &id),
        ];
        shared.persist(&mut client, |client| client.ask("SEND", &headers, &body));
        shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    number
}

/// `joint 0`, `joint 1`, …: in transactions of three. How many were acknowledged.
fn send_jointly(shared: &Shared) -> u64 {
    let mut client = connect(&shared.addresses);
    let mut number = 0;
    while shared.going.load(Ordering::Relaxed) {
        shared.persist(&mut client, |client| {
            let transaction = [("transaction", "t")];
            if (number / SENDS).is_multiple_of(ABORTED_EVERY) {
                client.write("BEGIN", &transaction, "");
                send(client, &format!("aborted {number}"), &transaction);
                client.ask("ABORT", &transaction, "")?;
            }
            client.write("BEGIN", &transaction, "");
            for number in number..number + SENDS {
                send(client, &format!("joint {number}"), &transaction);
            }
            client.ask("COMMIT", &transaction, "")
        });
        shared.acknowledged.fetch_add(SENDS, Ordering::Relaxed);
        number += SENDS;
    }
    number
}

/// Takes messages singly and in transactions, until the last one is consumed.
fn consume(addresses: &[SocketAddr]) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let mut client = connect(addresses);
        client.wait_at_most(wait::PATIENCE);
        if let Ok(()) = consume_until_it_breaks(&mut client, &mut seen) {
            return seen;
        }
    }
}

fn consume_until_it_breaks(client: &mut Client, seen: &mut Vec<Seen>) -> io::Result<()> {
    client.subscribe(QUEUE)?;
    let mut held: Vec<Frame> = Vec::new();
    let mut early = VecDeque::new();
    for turn in 0_u64.. {
        let frame = match early.pop_front() {
            Some(frame) => frame,
            None => client.read()?,
        };
        if frame.command != "MESSAGE" {
            return Err(io::Error::other(format!("a consumer got {frame:?}")));
        }
        let body = frame.text();
        let redelivered = frame.header("redelivered") == "true";
        seen.push(Seen::Delivered {
            body: body.clone(),
            redelivered,
        });
        held.push(frame);
        let last = body == LAST;
        if last || held.len() == TAKEN || turn % 11 < 3 {
            acknowledge(client, &held);
            client.flush()?;
            until_receipt(client, &mut early)?;
            let done = held
                .drain(..)
                .map(|frame| Seen::Consumed { body: frame.text() });
            seen.extend(done);
        }
        if last {
            return Ok(());
        }
    }
    unreachable!("a range without an end has none")
}

/// One by itself with a receipt, several in one transaction.
fn acknowledge(client: &mut Client, messages: &[Frame]) {
    let receipt = ("receipt", "done");
    let transaction = ("transaction", "c");
    if let [message] = messages {
        client.write("ACK", &[("id", message.header("ack")), receipt], "");
        return;
    }
    client.write("BEGIN", &[transaction], "");
    for message in messages {
        client.write("ACK", &[("id", message.header("ack")), transaction], "");
    }
    client.write("COMMIT", &[transaction, receipt], "");
}

/// Keeps the messages that come before the receipt.
fn until_receipt(client: &mut Client, early: &mut VecDeque<Frame>) -> io::Result<()> {
    loop {
        let frame = client.read()?;
        match frame.command.as_str() {
            "RECEIPT" => return Ok(()),
            "MESSAGE" => early.push_back(frame),
            _ => return Err(io::Error::other(format!("a consumer got {frame:?}"))),
        }
    }
}

#[test]
fn the_ledger_is_even_after_three_masters_were_killed() {
    let mut cluster = Cluster::start();
    let shared = Shared {
        addresses: cluster.addresses(),
        going: Arc::new(AtomicBool::new(true)),
        acknowledged: Arc::default(),
    };
    let begin = |work: fn(&Shared) -> u64| {
        let shared = shared.clone();
        std::thread::spawn(move || work(&shared))
    };
    let (singly, jointly) = (begin(send_singly), begin(send_jointly));
    let addresses = cluster.addresses();
    let consumer = std::thread::spawn(move || consume(&addresses));
    for _ in 0..3 {
        shared.goes_on(400);
        let master = cluster.master();
        cluster.nodes[master].kill();
        shared.goes_on(100);
        cluster.start_all();
    }
    shared.going.store(false, Ordering::Relaxed);
    let sent = BTreeMap::from([
        ("single", singly.join().unwrap()),
        ("joint", jointly.join().unwrap()),
    ]);
    let mut client = connect(&cluster.addresses());
    client.send(QUEUE, LAST).unwrap();
    check(&sent, &consumer.join().unwrap());
    // Nothing is left, and nothing comes back.
    let left = replicamq_harness::load::take_all(&cluster.addresses(), QUEUE);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_was_not_acknowledged_comes_back_in_order_and_marked() {
    let mut cluster = Cluster::start();
    let mut client = connect(&cluster.addresses());
    for number in 0..10 {
        client.send(QUEUE, &number.to_string()).unwrap();
    }
    client.subscribe(QUEUE).unwrap();
    let frames: Vec<Frame> = (0..10).map(|_| client.read().unwrap()).collect();
    let marked = |frame: &Frame| frame.header("redelivered") == "true";
    assert!(!frames.iter().any(marked), "{frames:?}");
    // Three are acknowledged, not in their order; two only in a transaction that stays open.
    for number in [5, 0, 7] {
        client.acknowledge(&frames[number]).unwrap();
    }
    let transaction = ("transaction", "open");
    client.write("BEGIN", &[transaction], "");
    for frame in &frames[1..3] {
        client.write("ACK", &[("id", frame.header("ack")), transaction], "");
    }
    client.flush().unwrap();
    let master = cluster.master();
    cluster.nodes[master].kill();
    let back = replicamq_harness::load::take_all(&cluster.addresses(), QUEUE);
    let bodies: Vec<String> = back.iter().map(Frame::text).collect();
    assert_eq!(bodies, ["1", "2", "3", "4", "6", "8", "9"]);
    assert!(back.iter().all(marked), "{back:?}");
}

fn check(sent: &BTreeMap<&str, u64>, seen: &[Seen]) {
    let mut delivered = BTreeSet::new();
    let mut consumed = BTreeSet::new();
    let mut next: BTreeMap<&str, u64> = sent.keys().map(|producer| (*producer, 0)).collect();
    for event in seen {
        match event {
            Seen::Consumed { body } => assert!(consumed.insert(body), "{body} consumed again"),
            Seen::Delivered { body, redelivered } => {
                assert!(!consumed.contains(body), "{body} came back");
                if !delivered.insert(body) {
                    assert!(*redelivered, "{body} repeated without a mark");
                } else if body != LAST {
                    let (producer, number) = body.split_once(' ').expect("producer and number");
                    let next = next.get_mut(producer).unwrap_or_else(|| panic!("{body}"));
                    assert_eq!(number, next.to_string(), "{producer} out of order");
                    *next += 1;
                }
            }
        }
    }
    assert_eq!(&next, sent, "delivered and sent");
}

fn first(body: &str) -> Seen {
    Seen::Delivered {
        body: body.to_owned(),
        redelivered: false,
    }
}

fn again(body: &str) -> Seen {
    Seen::Delivered {
        body: body.to_owned(),
        redelivered: true,
    }
}

fn consumed(body: &str) -> Seen {
    Seen::Consumed {
        body: body.to_owned(),
    }
}

#[test]
fn an_even_ledger_is_even() {
    let seen = [first("a 0"), again("a 0"), consumed("a 0"), first("a 1")];
    check(&BTreeMap::from([("a", 2)]), &seen);
}

#[test]
#[should_panic(expected = "delivered and sent")]
fn a_ledger_sees_what_is_lost() {
    check(&BTreeMap::from([("a", 2)]), &[first("a 0")]);
}

#[test]
#[should_panic(expected = "a 0 came back")]
fn a_ledger_sees_what_comes_back() {
    let seen = [first("a 0"), consumed("a 0"), again("a 0")];
    check(&BTreeMap::from([("a", 1)]), &seen);
}

#[test]
#[should_panic(expected = "a 0 repeated without a mark")]
fn a_ledger_sees_what_is_repeated_or_stored_twice() {
    check(&BTreeMap::from([("a", 1)]), &[first("a 0"), first("a 0")]);
}

#[test]
#[should_panic(expected = "a out of order")]
fn a_ledger_sees_what_is_out_of_order() {
    check(&BTreeMap::from([("a", 2)]), &[first("a 1"), first("a 0")]);
}

#[test]
#[should_panic(expected = "aborted 3")]
fn a_ledger_sees_what_was_aborted() {
    check(&BTreeMap::from([("a", 1)]), &[first("aborted 3")]);
}
