//! Whatever a client says and whatever the core answers, in any order: what goes to the client is
//! STOMP and ends with the only ERROR, and nothing that a client can make grow has no limit.

use std::sync::Arc;

use bytes::BytesMut;
use replicamq_core::{
    ConnectionId, Delivery, DeliveryId, Effect, Receipt, Refusal, SubscriptionId,
};
use replicamq_fuzzing::Input;
use replicamq_proto::store::v1::{Header, Message};

use crate::stomp::{Decoder, Flow, Limits, Outputs, Session, SessionConfig, Verb};

const START_MS: u64 = 1_000_000;

/// More than that tells nothing new.
const EVENTS_MAX: usize = 200;

/// Room for what one frame makes of itself: DISCONNECT reports on every subscription first.
const COMMANDS_SLACK: usize = 16;

const VERBS: [&str; 16] = [
    "CONNECT",
    "STOMP",
    "SEND",
    "SEND",
    "SUBSCRIBE",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "ACK",
    "ACK",
    "NACK",
    "BEGIN",
    "COMMIT",
    "ABORT",
    "DISCONNECT",
    "MESSAGE",
    "ERROR",
];

/// Names of headers that mean something, and values that fit some of them.
const NAMES: [&str; 24] = [
    "accept-version",
    "heart-beat",
    "host",
    "login",
    "client-id",
    "destination",
    "id",
    "ack",
    "message-id",
    "subscription",
    "transaction",
    "receipt",
    "browser",
    "durable",
    "durable:true\nactivemq.subscriptionName",
    "activemq.prefetchSize",
    "content-length",
    "content-type",
    "priority",
    "expires",
    "persistent",
    "selector",
    "prefetch-count",
    "timestamp",
];
const VALUES: [&str; 20] = [
    "1.0",
    "1.1",
    "1.2",
    "1.0,1.1,1.2",
    "s",
    "t",
    "1-1",
    "1-2",
    "2-1",
    "true",
    "false",
    "auto",
    "client",
    "client-individual",
    "/queue/a",
    "/topic/b",
    "0",
    "4",
    "100,100",
    "r",
];

/// Small limits, so that a fuzzer reaches them.
fn config() -> SessionConfig {
    SessionConfig {
        subscriptions_max: 3,
        transactions_max: 2,
        receipts_max: 4,
        commands_max: 4,
        prefetch_max: 5,
        large_frame_bytes: 48,
        large_frame_ms_max: 5_000,
        limits: Limits {
            body_bytes_max: 512,
            head_bytes_max: 2_048,
            header_bytes_max: 512,
            ..Limits::default()
        },
        ..SessionConfig::default()
    }
}

/// A session and what it has said.
struct Talk {
    config: Arc<SessionConfig>,
    session: Session,
    bytes: BytesMut,
    out: Outputs,
    now_ms: u64,
}

/// Each event is a byte that chooses it and what it needs.
pub fn stomp_session(data: &[u8]) {
    let config = Arc::new(config());
    let mut talk = Talk {
        session: Session::new(Arc::clone(&config), "session-1".to_owned(), START_MS),
        config,
        bytes: BytesMut::new(),
        out: Outputs::default(),
        now_ms: START_MS,
    };
    let mut input = Input::new(data);
    for _ in 0..EVENTS_MAX {
        if input.is_empty() {
            break;
        }
        let closing = talk.session.is_closing();
        let written = talk.out.write.len();
        talk.happen(&mut input);
        if closing {
            assert!(talk.session.is_closing(), "it went on after its end");
            assert_eq!(talk.out.write.len(), written, "it spoke after its end");
        }
        let faulty = talk.session.fault().is_some();
        assert!(!faulty || talk.session.is_closing(), "a fault closes");
    }
    talk.was_stomp();
}

impl Talk {
    fn happen(&mut self, input: &mut Input<'_>) {
        match input.below(12) {
            0..=3 => self.frame(input),
            4 => {
                self.bytes.extend_from_slice(input.many_bytes());
                self.receive();
            }
            5 => self.effect(&Effect::Receipt {
                connection: ConnectionId(1),
                receipt: Receipt(input.number()),
            }),
            6 => {
                let receipt = input.bool().then(|| Receipt(input.number()));
                self.effect(&Effect::Refused {
                    connection: ConnectionId(1),
                    receipt,
                    refusal: Refusal::SubscriptionUnknown,
                });
            }
            7 => self.deliver(input),
            8 => self.effect(&Effect::BrowseEnd {
                connection: ConnectionId(1),
                subscription: SubscriptionId(input.number()),
            }),
            9 => self.session.written(&mut self.out.commands),
            10 => {
                self.session.wait_for_room();
                self.receive();
            }
            _ => {
                self.now_ms = self.now_ms.saturating_add(input.number());
                self.session.tick(self.now_ms, &mut self.out.write);
                if let Some(deadline_ms) = self.session.deadline() {
                    self.now_ms = self.now_ms.max(deadline_ms);
                    self.session.tick(self.now_ms, &mut self.out.write);
                }
            }
        }
    }

    /// A frame whose parts mostly mean something.
    fn frame(&mut self, input: &mut Input<'_>) {
        let mut text = format!("{}\n", input.pick(&VERBS));
        for _ in 0..input.below(6) {
            let (name, value) = (input.byte(), input.byte());
            match NAMES.get(usize::from(name)) {
                Some(known) => text.push_str(known),
                None => text.push_str(&input.text()),
            }
            text.push(':');
            match VALUES.get(usize::from(value)) {
                Some(known) => text.push_str(known),
                None => text.push_str(&input.text()),
            }
            text.push('\n');
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(match input.below(4) {
            0 | 1 => b"\n\0",
            2 => b"\nbody\0",
            _ => b"\n",
        });
        self.receive();
    }

    /// As the owner of the socket does: the commands are taken, then it goes on.
    fn receive(&mut self) {
        loop {
            self.out.commands.clear();
            let flow = self
                .session
                .receive(&mut self.bytes, self.now_ms, &mut self.out);
            let commands_max = self.config.commands_max + COMMANDS_SLACK;
            assert!(self.out.commands.len() <= commands_max);
            assert_eq!(flow == Flow::Close, self.session.is_closing());
            let body_bytes_max = self.config.limits.body_bytes_max;
            assert!(self.session.room() <= body_bytes_max + 1);
            assert!(self.session.wanted() <= body_bytes_max + 1);
            if flow != Flow::Full {
                return;
            }
        }
    }

    fn effect(&mut self, effect: &Effect) {
        self.session
            .effect(effect, self.now_ms, &mut self.out.write);
        self.receive();
    }

    fn deliver(&mut self, input: &mut Input<'_>) {
        let mut message = Message {
            id: input.text(),
            destination: input.text(),
            timestamp_ms: input.number(),
            expires_ms: input.number(),
            priority: input.number_u32(),
            persistent: input.bool(),
            ..Message::default()
        };
        for _ in 0..input.below(3) {
            message.headers.push(Header {
                // No frame with a header that has no name was ever taken.
                name: format!("n{}", input.text()),
                value: input.text(),
            });
        }
        message.body = input.bytes().to_vec().into();
        self.effect(&Effect::Deliver(Delivery {
            connection: ConnectionId(1),
            subscription: SubscriptionId(input.number()),
            delivery: DeliveryId(input.number()),
            message: Arc::new(message),
            redelivered: input.bool(),
            redeliveries: input.number_u32(),
        }));
    }

    /// Reads all that the client was sent.
    fn was_stomp(&mut self) {
        let mut decoder = Decoder::new(Limits::default());
        decoder.set_version(self.session.version());
        let mut verbs = Vec::new();
        while let Some(frame) = decoder
            .decode(&mut self.out.write)
            .expect("what is written is STOMP")
        {
            verbs.push(frame.verb);
        }
        assert!(self.out.write.is_empty(), "half a frame was written");
        let errors = verbs.iter().filter(|verb| **verb == Verb::Error).count();
        assert_eq!(errors, usize::from(self.session.fault().is_some()));
        assert!(errors == 0 || verbs.last() == Some(&Verb::Error));
    }
}
