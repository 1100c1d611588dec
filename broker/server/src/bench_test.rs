//! The command line of a bench, and a run against a broker that is not honest.

use clap::Parser;
use replicamq_protocols::stomp::{Frame, Verb};
use tokio::net::TcpListener;

use crate::client::peer::Peer;

use super::*;

#[derive(Debug, Parser)]
struct Bench {
    #[command(flatten)]
    args: BenchArgs,
}

fn args(flags: &[&str]) -> BenchArgs {
    let program = ["bench"];
    let flags = program.iter().chain(flags);
    Bench::try_parse_from(flags).unwrap().args
}

#[test]
fn each_pair_has_a_queue_unless_told_otherwise() {
    let one = args(&[]);
    assert_eq!((one.queues(), one.queue(0)), (1, "/queue/bench".to_owned()));
    let eight = args(&["--producers", "8", "--consumers", "4"]);
    assert_eq!(
        (eight.queues(), eight.queue(5)),
        (4, "/queue/bench-2".to_owned())
    );
    let shared = args(&["--producers", "8", "--consumers", "8", "--queues", "1"]);
    assert_eq!(shared.queue(7), "/queue/bench");
    let fill = args(&["--consumers", "0"]);
    assert_eq!(fill.queues(), 1);
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused() {
    for (flags, reason) in [
        (&["--size", "31"][..], "is too small"),
        (&["--queues", "2"], "nobody would receive"),
        (&["--producers", "10000"], "more than 10000 connections"),
    ] {
        let error = bench(args(flags)).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(Bench::try_parse_from(["bench", "--destination", "/topic/x"]).is_err());
}

/// Confirms everything, passes on all but the third message, and the fifth twice.
async fn dishonest_broker(listener: TcpListener) {
    let mut producer = Peer::accept_one(&listener).await.unwrap();
    let mut consumer = Peer::accept_one(&listener).await.unwrap();
    let subscribe = consumer.read().await;
    assert_eq!(subscribe.verb, Verb::Subscribe);
    consumer.receipt(&subscribe).await;
    let mut number = 0;
    loop {
        let frame = producer.read().await;
        producer.receipt(&frame).await;
        if frame.verb == Verb::Disconnect {
            break;
        }
        number += 1;
        let times = match number {
            3 => 0,
            5 => 2,
            _ => 1,
        };
        let message = Frame::new(Verb::Message).with("ack", &number.to_string());
        let message = message.with_body(frame.body);
        for _ in 0..times {
            consumer.write(&message).await;
        }
    }
    let mut acknowledged = 0;
    loop {
        let frame = consumer.read().await;
        if frame.verb == Verb::Disconnect {
            consumer.receipt(&frame).await;
            break;
        }
        assert_eq!(frame.verb, Verb::Ack);
        acknowledged += 1;
    }
    assert_eq!(acknowledged, 10);
}

#[tokio::test]
async fn a_run_counts_what_was_lost_and_what_came_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = listener.local_addr().unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(dishonest_broker(listener));
    let args = args(&[
        "--broker",
        &broker,
        "--count",
        "10",
        "--warmup",
        "0",
        "--in-flight",
        "4",
        "--drain-timeout",
        "200ms",
    ]);
    let report = LocalSet::new().run_until(measure(&args)).await.unwrap();
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!((report.sent, report.received), (10, 9));
    assert_eq!((report.lost, report.duplicated), (1, 1));
}

#[tokio::test]
async fn what_comes_together_with_a_receipt_is_acknowledged() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: crate::config::Address =
        listener.local_addr().unwrap().to_string().parse().unwrap();
    let opening = crate::client::Opening::default();
    let (connection, peer) = tokio::join!(
        Connection::open(&address, &opening),
        Peer::accept_one(&listener)
    );
    let mut peer = peer.unwrap();
    let tally = Rc::new(Tally::new(1, 1));
    let mut consumer = Consumer::new(connection.unwrap(), Ack::Client, true, tally);
    let broker = async {
        let subscribe = peer.read().await;
        let message = Frame::new(Verb::Message).with("ack", "7");
        let receipt = subscribe.header("receipt").unwrap();
        let receipt = Frame::new(Verb::Receipt).with("receipt-id", receipt);
        peer.write_all(&[message, receipt]).await;
        peer.read().await
    };
    let subscribed = async {
        consumer.subscribe("/queue/q", 10).await.unwrap();
        consumer.run(CancellationToken::new()).await
    };
    let acknowledged = async {
        tokio::select! {
            frame = broker => frame,
            ended = subscribed => panic!("it ended: {ended:?}"),
        }
    };
    let frame = tokio::time::timeout(Duration::from_secs(10), acknowledged).await;
    let frame = frame.expect("it is acknowledged");
    assert_eq!((frame.verb, frame.header("id")), (Verb::Ack, Some("7")));
}

/// The frames that a client sends to its end.
async fn rest_of(mut peer: Peer) -> Vec<Verb> {
    let mut verbs = Vec::new();
    while let Some(frame) = peer.try_read().await {
        verbs.push(frame.verb);
    }
    verbs
}

#[tokio::test]
async fn a_queue_with_messages_of_others_is_left_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = listener.local_addr().unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut peer = Peer::accept(&listener).await;
        assert_eq!(peer.read().await.header("browser"), Some("true"));
        let message = Frame::new(Verb::Message).with("message-id", "m");
        peer.write(&message.with_body("an order")).await;
        assert_eq!(rest_of(peer).await, [], "it takes nothing");
    });
    let args = args(&["--broker", &broker]);
    let done = tokio::time::timeout(Duration::from_secs(10), bench(args)).await;
    let error = done.expect("it ends").unwrap_err().to_string();
    assert!(
        error.contains("/queue/bench holds messages that are not"),
        "{error}"
    );
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_of_others_behind_the_first_is_left_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: crate::config::Address =
        listener.local_addr().unwrap().to_string().parse().unwrap();
    let opening = crate::client::Opening::default();
    let (connection, peer) = tokio::join!(
        Connection::open(&address, &opening),
        Peer::accept_one(&listener)
    );
    let mut peer = peer.unwrap();
    let tally = Rc::new(Tally::new(1, 1));
    let mut consumer = Consumer::new(connection.unwrap(), Ack::Client, false, tally);
    let broker = async {
        let subscribe = peer.read().await;
        peer.receipt(&subscribe).await;
        let message = Frame::new(Verb::Message).with("ack", "7");
        peer.write(&message.with_body("an order")).await;
        rest_of(peer).await
    };
    let subscribed = async {
        consumer.subscribe("/queue/q", 10).await.unwrap();
        consumer.run(CancellationToken::new()).await
    };
    let both = async { tokio::join!(subscribed, broker) };
    let both = tokio::time::timeout(Duration::from_secs(10), both).await;
    let (error, verbs) = both.expect("it ends");
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("/queue/q holds messages that are not"),
        "{error}"
    );
    assert_eq!(verbs, [], "it is not acknowledged");
}
