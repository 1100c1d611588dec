//! Sessions against a broker of a few lines, on real sockets.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::client::peer::Peer;

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A client that waits for ever would hide what is wrong.
async fn next(session: &mut Session) -> Event {
    let event = timeout(Duration::from_secs(10), session.next()).await;
    event.expect("something happens").unwrap()
}

fn uri(listeners: &[&TcpListener], options: &str) -> BrokerUri {
    let list: Vec<String> = listeners
        .iter()
        .map(|listener| format!("tcp://{}", listener.local_addr().unwrap()))
        .collect();
    format!("failover:({})?randomize=false{options}", list.join(","))
        .parse()
        .unwrap()
}

fn message(id: &str) -> Frame {
    Frame::new(Verb::Send)
        .with("destination", "/queue/q")
        .with("message-id", id)
}

#[tokio::test]
async fn what_has_no_receipt_is_sent_again_in_order_and_nothing_else_is() {
    let (one, two) = (listener().await, listener().await);
    let uri = uri(&[&one, &two], "");
    let mut broker = JoinSet::new();
    broker.spawn(async move {
        let mut peer = Peer::accept(&one).await;
        let first = peer.read().await;
        peer.receipt(&first).await;
        assert_eq!(peer.read().await.header("message-id"), Some("b"));
        assert_eq!(peer.read().await.header("message-id"), Some("c"));
        drop((peer, one));
        let mut peer = Peer::accept(&two).await;
        assert_eq!(peer.read().await.verb, Verb::Subscribe);
        for id in ["b", "c"] {
            let again = peer.read().await;
            assert_eq!(again.header("message-id"), Some(id));
            peer.receipt(&again).await;
        }
        let end = peer.read().await;
        assert_eq!(end.verb, Verb::Disconnect);
        peer.receipt(&end).await;
    });
    let mut session = Session::open(uri, Opening::default()).await.unwrap();
    let a = session.send_safely(message("a"));
    assert!(matches!(next(&mut session).await, Event::Receipt(n) if n == a));
    session.subscriptions.push(Subscription::default());
    let (b, c) = (
        session.send_safely(message("b")),
        session.send_safely(message("c")),
    );
    assert!(matches!(next(&mut session).await, Event::Reconnected));
    assert_eq!(session.unsafe_len(), 2);
    assert!(matches!(next(&mut session).await, Event::Receipt(n) if n == b));
    assert!(matches!(next(&mut session).await, Event::Receipt(n) if n == c));
    assert_eq!(session.unsafe_len(), 0);
    session.close().await.unwrap();
    broker.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_transaction_is_sent_again_as_a_whole() {
    let (one, two) = (listener().await, listener().await);
    let uri = uri(&[&one, &two], "");
    let mut broker = JoinSet::new();
    broker.spawn(async move {
        let mut peer = Peer::accept(&one).await;
        let verbs = [Verb::Begin, Verb::Send, Verb::Send, Verb::Commit];
        for verb in verbs {
            assert_eq!(peer.read().await.verb, verb);
        }
        drop((peer, one));
        let mut peer = Peer::accept(&two).await;
        for verb in verbs {
            let frame = peer.read().await;
            assert_eq!(frame.verb, verb);
            assert_eq!(frame.header("transaction"), Some("tx-1"));
            if verb == Verb::Commit {
                peer.receipt(&frame).await;
            }
        }
    });
    let mut session = Session::open(uri, Opening::default()).await.unwrap();
    let number = session.send_transaction(vec![message("a"), message("b")]);
    assert!(matches!(next(&mut session).await, Event::Reconnected));
    assert!(matches!(next(&mut session).await, Event::Receipt(n) if n == number));
    broker.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_broker_that_hesitates_does_not_hold_up_the_others() {
    let (mute, closed, good) = (listener().await, listener().await, listener().await);
    let uri = uri(&[&mute, &closed, &good], "");
    drop(closed);
    let mut broker = JoinSet::new();
    broker.spawn(async move { Peer::accept_one(&good).await });
    let opened = timeout(
        Duration::from_secs(1),
        Session::open(uri.clone(), Opening::default()),
    );
    let session = opened.await.unwrap().unwrap();
    assert_eq!(session.address(), &uri.addresses[2]);
}

#[tokio::test]
async fn without_failover_a_closed_port_is_the_end() {
    let closed = listener().await;
    let address = closed.local_addr().unwrap();
    drop(closed);
    let uri: BrokerUri = format!("tcp://{address}").parse().unwrap();
    let error = Session::open(uri, Opening::default()).await.unwrap_err();
    let text = format!("{:#}", anyhow::Error::new(error));
    assert!(
        text.starts_with(&format!(
            "no broker at tcp://{address}: connect: Connection refused"
        )),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_that_is_not_stomps_is_told_apart() {
    let settings: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    let old: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    for (answer, told) in [
        (settings, "it speaks HTTP, not STOMP"),
        (old, "it speaks HTTP, not STOMP"),
        (b"", "closed without an answer to CONNECT"),
    ] {
        let other = listener().await;
        let uri: BrokerUri = format!("tcp://{}", other.local_addr().unwrap())
            .parse()
            .unwrap();
        let server = async {
            let (mut stream, _) = other.accept().await.unwrap();
            stream.readable().await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        let opened = Session::open(uri, Opening::default());
        let (opened, ()) = tokio::join!(timeout(Duration::from_secs(10), opened), server);
        let text = format!("{:#}", anyhow::Error::new(opened.unwrap().unwrap_err()));
        assert!(
            text.contains(told) && text.contains("`stomp` address"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn attempts_end_where_the_uri_says_so() {
    let (one, two) = (listener().await, listener().await);
    let uri = uri(&[&one, &two], "&startupMaxReconnectAttempts=3");
    drop((one, two));
    let error = Session::open(uri, Opening::default()).await.unwrap_err();
    assert!(matches!(error, SessionError::NoBroker { .. }));
}

#[tokio::test]
async fn the_search_for_a_broker_ends_in_time_and_tells_what_each_answered() {
    let (mute, closed) = (listener().await, listener().await);
    let uri = uri(&[&mute, &closed], "");
    let (mute_at, closed_at) = (&uri.addresses[0].clone(), &uri.addresses[1].clone());
    drop(closed);
    let limit = Some(Duration::from_millis(300));
    let opened = Session::open_within(uri, Opening::default(), limit);
    let error = timeout(Duration::from_secs(10), opened).await;
    let error = error.expect("it ends").unwrap_err();
    let text = format!("{:#}", anyhow::Error::new(error));
    let expected = format!(
        "no broker within 300ms: {mute_at} (no answer), {closed_at} (connect: Connection refused"
    );
    assert!(text.starts_with(&expected), "{text}");
}

#[tokio::test]
async fn a_conversation_without_a_connection_has_nothing_to_end() {
    let one = listener().await;
    let uri = uri(&[&one], "");
    let mut broker = JoinSet::new();
    broker.spawn(async move { drop(Peer::accept(&one).await) });
    let mut session = Session::open(uri, Opening::default()).await.unwrap();
    session.send_safely(message("a"));
    let lost = timeout(Duration::from_millis(300), session.next()).await;
    assert!(lost.is_err() && !session.is_connected());
    let ended = timeout(Duration::from_millis(100), session.close()).await;
    ended.expect("it ends at once").unwrap();
}

#[tokio::test]
async fn an_error_frame_is_the_brokers_last_word() {
    let one = listener().await;
    let uri = uri(&[&one], "");
    let mut broker = JoinSet::new();
    broker.spawn(async move {
        let mut peer = Peer::accept(&one).await;
        peer.read().await;
        peer.write(&Frame::new(Verb::Error).with("message", "invalid destination"))
            .await;
        drop(peer);
    });
    let mut session = Session::open(uri, Opening::default()).await.unwrap();
    session.send_safely(message("a"));
    let error = session.next().await.unwrap_err();
    let text = format!("{:#}", anyhow::Error::new(error));
    assert!(
        text.ends_with("the broker refused: invalid destination"),
        "{text}"
    );
}

/// A broker that refuses the first bytes of a large frame and resets the connection while
/// the rest is on its way.
async fn refuse_unread(one: TcpListener) {
    let mut peer = Peer::accept(&one).await;
    peer.write(&Frame::new(Verb::Error).with("message", "frame too large"))
        .await;
    drop(peer);
    panic!("it came back: {:?}", one.accept().await);
}

#[tokio::test]
async fn an_error_frame_is_heard_in_the_middle_of_a_write() {
    let one = listener().await;
    let uri = uri(&[&one], "");
    let mut broker = JoinSet::new();
    broker.spawn(refuse_unread(one));
    let mut session = Session::open(uri, Opening::default()).await.unwrap();
    session.send_safely(message("a").with_body(vec![b'x'; 20 << 20]));
    let error = timeout(Duration::from_secs(10), session.next()).await;
    let error = error.expect("it ends").unwrap_err();
    let text = format!("{:#}", anyhow::Error::new(error));
    assert!(
        text.ends_with("the broker refused: frame too large"),
        "{text}"
    );
    assert!(broker.try_join_next().is_none(), "it did not come back");
}

#[tokio::test]
async fn an_error_frame_is_heard_by_one_who_only_sends() {
    let one = listener().await;
    let uri = uri(&[&one], "");
    let mut broker = JoinSet::new();
    broker.spawn(refuse_unread(one));
    let mut session = Session::open(uri, Opening::default()).await.unwrap();
    session.send_once(&message("a").with_body(vec![b'x'; 20 << 20]));
    let error = timeout(Duration::from_secs(10), session.flush()).await;
    let text = format!(
        "{:#}",
        anyhow::Error::new(error.expect("it ends").unwrap_err())
    );
    assert!(
        text.ends_with("the broker refused: frame too large"),
        "{text}"
    );
}

#[test]
fn an_acknowledgement_speaks_the_version() {
    let message = Frame::new(Verb::Message)
        .with("message-id", "m")
        .with("subscription", "s")
        .with("ack", "k");
    let new = acknowledgement(&message, Version::V1_2, Some("t"));
    assert_eq!(
        (new.header("id"), new.header("transaction")),
        (Some("k"), Some("t"))
    );
    let old = acknowledgement(&message, Version::V1_1, None);
    assert_eq!(
        (old.header("message-id"), old.header("subscription")),
        (Some("m"), Some("s"))
    );
}
