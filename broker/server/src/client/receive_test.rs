//! Receiving from a broker that takes its time with receipts.

use clap::Parser;
use replicamq_protocols::stomp::Verb;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::client::Opening;
use crate::client::peer::Peer;

/// A command that waits for ever would hide what is wrong.
const PATIENCE: Duration = Duration::from_mins(1);

const PREFETCH: usize = 100;

#[derive(Debug, Parser)]
struct Receive {
    #[command(flatten)]
    args: ReceiveArgs,
}

#[derive(Debug, Parser)]
struct Browse {
    #[command(flatten)]
    args: BrowseArgs,
}

fn args(flags: &[&str]) -> ReceiveArgs {
    let program = ["receive", "/queue/q"];
    let flags = program.iter().chain(flags);
    Receive::try_parse_from(flags).unwrap().args
}

/// Receives `count` messages from a broker; their bodies, and how many acknowledgements are
/// unknown in the end.
async fn receive_from(uri: &str, flags: &[&str], count: usize) -> (Vec<String>, usize) {
    let args = args(flags);
    let session = Session::open(uri.parse().unwrap(), Opening::default());
    let mut bodies = Vec::new();
    let print = |message: &Frame| {
        bodies.push(String::from_utf8(message.body.to_vec())?);
        Ok(())
    };
    let mut receiver = Receiver::new(&args, session.await.unwrap(), print);
    receiver.session.send_once(&Frame::new(Verb::Subscribe));
    let received = async {
        receiver.run(count as u64).await.unwrap();
        receiver.settle().await.unwrap();
    };
    timeout(PATIENCE, received).await.expect("it ends");
    let unknown = receiver.unconfirmed.len();
    (bodies, unknown)
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, uri)
}

async fn subscribed(listener: TcpListener) -> Peer {
    let mut peer = Peer::accept(&listener).await;
    assert_eq!(peer.read().await.verb, Verb::Subscribe);
    peer
}

async fn deliver(peer: &mut Peer, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let number = number.to_string();
        let message = Frame::new(Verb::Message)
            .with("message-id", &number)
            .with("ack", &number);
        peer.write(&message.with_body(number)).await;
    }
}

/// The acknowledgements of so many deliveries.
async fn acknowledgements(peer: &mut Peer, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let frame = peer.read().await;
        if frame.verb == Verb::Ack {
            frames.push(frame);
        }
    }
    frames
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn what_comes_while_receipts_are_late_is_taken_later() {
    let (listener, uri) = listener().await;
    let mut broker = JoinSet::new();
    broker.spawn(async move {
        let mut peer = subscribed(listener).await;
        let mut unanswered = Vec::new();
        for first in (0..UNCONFIRMED_MAX).step_by(PREFETCH) {
            deliver(&mut peer, first..first + PREFETCH).await;
            unanswered.extend(acknowledgements(&mut peer, PREFETCH).await);
        }
        deliver(&mut peer, UNCONFIRMED_MAX..UNCONFIRMED_MAX + PREFETCH).await;
        for acknowledgement in &unanswered {
            peer.receipt(acknowledgement).await;
        }
        for acknowledgement in acknowledgements(&mut peer, PREFETCH).await {
            peer.receipt(&acknowledgement).await;
        }
        peer
    });
    let count = UNCONFIRMED_MAX + PREFETCH;
    let (bodies, unknown) = receive_from(&uri, &[], count).await;
    assert!(bodies == numbers(count), "{} of {count}", bodies.len());
    assert_eq!(unknown, 0);
}

#[tokio::test]
async fn a_transaction_is_committed_before_it_holds_up_its_own_receipts() {
    let (listener, uri) = listener().await;
    let mut broker = JoinSet::new();
    let count = UNCONFIRMED_MAX + 1;
    broker.spawn(async move {
        let mut peer = subscribed(listener).await;
        for first in (0..UNCONFIRMED_MAX).step_by(PREFETCH) {
            deliver(&mut peer, first..first + PREFETCH).await;
            acknowledgements(&mut peer, PREFETCH).await;
        }
        deliver(&mut peer, UNCONFIRMED_MAX..count).await;
        loop {
            let frame = peer.read().await;
            if frame.verb == Verb::Commit {
                peer.receipt(&frame).await;
            }
        }
    });
    let flags = ["--transaction", "20000"];
    let (bodies, unknown) = receive_from(&uri, &flags, count).await;
    assert!(bodies == numbers(count), "{} of {count}", bodies.len());
    assert_eq!(unknown, 0);
}

#[tokio::test]
async fn an_acknowledgement_without_a_receipt_is_an_error() {
    let (listener, uri) = listener().await;
    let mut broker = JoinSet::new();
    broker.spawn(async move {
        let mut peer = subscribed(listener).await;
        deliver(&mut peer, 7..8).await;
        let acknowledgement = peer.read().await;
        assert_eq!(acknowledgement.verb, Verb::Ack);
        loop {
            let frame = peer.read().await;
            if frame.verb == Verb::Disconnect {
                peer.receipt(&frame).await;
                break;
            }
        }
    });
    let args = args(&["--broker", &uri, "--count", "1"]);
    let received = timeout(PATIENCE, receive(args)).await.expect("it ends");
    let error = received.unwrap_err().to_string();
    assert!(error.contains("of 1 it is not known"), "{error}");
}

#[tokio::test]
async fn the_timeout_covers_the_search_for_a_broker() {
    let (closed, uri) = listener().await;
    drop(closed);
    let uri = format!("failover:({uri})");
    let receiving = receive(args(&["--broker", &uri, "--timeout", "200ms"]));
    let browsing = browse(
        Browse::try_parse_from(["browse", "/queue/q", "--broker", &uri, "--timeout", "200ms"])
            .unwrap()
            .args,
    );
    for done in [
        timeout(PATIENCE, receiving).await,
        timeout(PATIENCE, browsing).await,
    ] {
        let error = format!("{:#}", done.expect("it ends").unwrap_err());
        assert!(error.starts_with("no broker within 200ms"), "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_was_lost_for_good_is_an_error() {
    let (listener, uri) = listener().await;
    let mut broker = JoinSet::new();
    broker.spawn(async move { drop(subscribed(listener).await) });
    let uri = format!("failover:({uri})");
    let receiving = receive(args(&["--broker", &uri, "--timeout", "200ms"]));
    let error = timeout(PATIENCE, receiving).await.expect("it ends");
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("no broker was found at"), "{error}");
}
