//! The two ends of a conversation, joined.

use std::sync::Arc;

use replicamq_core::{
    Command, ConnectionId, Delivery, DeliveryId, Disposition, Effect, Receipt, SubscriptionId,
};
use replicamq_proto::store::v1::Message;

use super::*;
use crate::stomp::{Outputs, Session, SessionConfig};

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

/// A client and a session that reads what it writes.
struct Pair {
    client: Client,
    to_broker: BytesMut,
    session: Session,
    out: Outputs,
}

impl Pair {
    fn connected(version: Version, heart_beat: HeartBeat) -> Self {
        let mut to_broker = BytesMut::new();
        let connecting = Connecting {
            accept_version: version.as_str(),
            heart_beat,
            client_id: Some("me"),
            ..Connecting::default()
        };
        let client = Client::connect(&connecting, 0, &mut to_broker);
        let config = Arc::new(SessionConfig::default());
        let session = Session::new(config, "s".to_owned(), 0);
        let mut pair = Self {
            client,
            to_broker,
            session,
            out: Outputs::default(),
        };
        assert!(matches!(
            pair.commands().as_slice(),
            [Command::Connect { client_id: Some(id), .. }] if id == "me"
        ));
        pair.receipt(0);
        let frames = pair.frames();
        assert_eq!(
            frames.first().map(|frame| frame.verb),
            Some(Verb::Connected)
        );
        assert_eq!(pair.client.version(), version);
        pair
    }

    /// What the core hears of what the client wrote.
    fn commands(&mut self) -> Vec<Command> {
        self.session.receive(&mut self.to_broker, 0, &mut self.out);
        assert_eq!(self.session.fault(), None);
        std::mem::take(&mut self.out.commands)
    }

    fn command(&mut self) -> Command {
        let mut commands = self.commands();
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.pop().unwrap()
    }

    /// What the client gets of what the session wrote.
    fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut frame = Frame::new(Verb::Send);
        let input = &mut self.out.write;
        while self.client.receive(input, 0, &mut frame).unwrap() {
            frames.push(frame.clone());
        }
        frames
    }

    fn receipt(&mut self, receipt: u64) {
        let effect = Effect::Receipt {
            connection: ConnectionId(1),
            receipt: Receipt(receipt),
        };
        self.session.effect(&effect, 0, &mut self.out.write);
    }

    fn deliver(&mut self, delivery: u64) -> Frame {
        let effect = Effect::Deliver(Delivery {
            connection: ConnectionId(1),
            subscription: SubscriptionId(1),
            delivery: DeliveryId(delivery),
            message: Arc::new(Message {
                id: format!("m:{delivery}"),
                destination: "/queue/a".to_owned(),
                body: "x\0y".into(),
                ..Message::default()
            }),
            redelivered: false,
            redeliveries: 0,
        });
        self.session.effect(&effect, 0, &mut self.out.write);
        self.frames().pop().unwrap()
    }
}

#[test]
fn a_broker_understands_every_frame() {
    for version in VERSIONS {
        let mut pair = Pair::connected(version, HeartBeat::default());
        let sending = Sending {
            destination: "/queue/a",
            persistent: true,
            message_id: Some("m"),
            receipt: Some("r"),
            transaction: None,
            headers: &[("k", "v")],
            body: b"a\0b",
        };
        pair.client.send(&sending, &mut pair.to_broker);
        let Command::Send(send) = pair.command() else {
            panic!("not a send");
        };
        assert!(send.message.persistent);
        assert_eq!(send.message.id, "m");
        assert_eq!(send.message.body, b"a\0b".as_slice());
        assert_eq!(send.message.headers.len(), 1);
        pair.receipt(send.receipt.unwrap().0);
        let receipt = Frame::new(Verb::Receipt).with("receipt-id", "r");
        assert_eq!(pair.frames(), [receipt]);

        pair.client.begin("t", None, &mut pair.to_broker);
        pair.client.commit("t", Some("c"), &mut pair.to_broker);
        pair.client.begin("t", None, &mut pair.to_broker);
        pair.client.abort("t", None, &mut pair.to_broker);
        assert_eq!(pair.commands().len(), 4);

        let subscribing = Subscribing {
            id: "s",
            destination: "/topic/a",
            prefetch: Some(7),
            durable: Some("d"),
            ..Subscribing::default()
        };
        pair.client.subscribe(&subscribing, &mut pair.to_broker);
        let Command::Subscribe(subscribe) = pair.command() else {
            panic!("not a subscribe");
        };
        assert_eq!(subscribe.credit, 7);
        assert_eq!(subscribe.durable.as_deref(), Some("d"));
        pair.client
            .unsubscribe("s", With::default(), &mut pair.to_broker);
        assert!(matches!(pair.command(), Command::Unsubscribe { .. }));
        pair.client.disconnect(Some("bye"), &mut pair.to_broker);
        assert!(matches!(pair.command(), Command::Flush { .. }));
    }
}

#[test]
fn acknowledgements_find_their_delivery_in_every_version() {
    for version in VERSIONS {
        for ack in [AckMode::Client, AckMode::ClientIndividual] {
            let mut pair = Pair::connected(version, HeartBeat::default());
            let subscribing = Subscribing {
                id: "s",
                destination: "/queue/a",
                ack,
                ..Subscribing::default()
            };
            pair.client.subscribe(&subscribing, &mut pair.to_broker);
            pair.commands();
            for delivery in 1..=3 {
                let message = pair.deliver(delivery);
                assert_eq!(message.body, b"x\0y".as_slice());
                let disposition = if delivery == 2 && version > Version::V1_0 {
                    let with = With::default();
                    pair.client.nack(&message, with, &mut pair.to_broker);
                    Disposition::Rejected
                } else {
                    let with = With::default();
                    pair.client.ack(&message, with, &mut pair.to_broker);
                    Disposition::Accepted
                };
                let Command::Acknowledge(acknowledge) = pair.command() else {
                    panic!("not an acknowledgement");
                };
                assert_eq!(acknowledge.delivery, DeliveryId(delivery));
                assert_eq!(acknowledge.disposition, disposition);
            }
        }
    }
}

#[test]
fn both_ends_agree_on_heart_beats() {
    let offer = HeartBeat {
        send_ms: 8_000,
        receive_ms: 4_000,
    };
    let mut pair = Pair::connected(Version::V1_2, offer);
    // The client beats after three quarters of 8 s and waits for twice 4 s.
    let next = pair.client.tick(5_999, &mut pair.to_broker);
    assert_eq!(next, Ok(Some(6_000)));
    assert_eq!(pair.to_broker, "");
    let next = pair.client.tick(6_000, &mut pair.to_broker);
    assert_eq!((next, pair.to_broker.len()), (Ok(Some(8_000)), 1));
    // The broker beats after three quarters of 4 s.
    assert_eq!(pair.session.deadline(), Some(3_000));
    pair.session.tick(3_000, &mut pair.out.write);
    assert_eq!(pair.out.write, "\n");
    let mut frame = Frame::new(Verb::Send);
    let received = pair.client.receive(&mut pair.out.write, 7_000, &mut frame);
    assert_eq!((received, pair.out.write.len()), (Ok(false), 0));
    let next = pair.client.tick(11_000, &mut pair.to_broker);
    assert_eq!(next, Ok(Some(12_000)));
    let silence_ms = 8_000;
    assert_eq!(
        pair.client.tick(15_000, &mut pair.to_broker),
        Err(ClientError::Silent { silence_ms })
    );
}

#[test]
fn a_broker_with_an_unknown_version_is_refused() {
    let mut out = BytesMut::new();
    let mut client = Client::connect(&Connecting::default(), 0, &mut out);
    assert!(out.starts_with(b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:localhost\n"));
    let mut input = BytesMut::from("CONNECTED\nversion:7\n\n\0");
    let mut frame = Frame::new(Verb::Send);
    let error = client.receive(&mut input, 0, &mut frame);
    let version = "7".to_owned();
    assert_eq!(error, Err(ClientError::UnknownVersion { version }));
}
