//! Transcripts: what a client says, what the core hears, what the client gets.

mod acknowledge;
mod connect;
mod flow;
mod large;
mod liveness;
mod random;
mod send;
mod subscribe;

use std::fmt::Write;

use replicamq_core::{
    Acknowledge, ConnectionId, Delivery, DeliveryId, Disposition, Refusal, Subscribe,
    SubscriptionId,
};
use replicamq_proto::store::v1::{Header, Message};

use super::*;

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];

/// When every talk begins.
const START_MS: u64 = 1_000_000;

/// A session with a clock, and with what it said kept for inspection.
struct Talk {
    session: Session,
    input: BytesMut,
    out: Outputs,
    now_ms: u64,
}

impl Talk {
    /// A connection on which nothing was said.
    fn fresh() -> Self {
        Self::configured(SessionConfig::default())
    }

    fn configured(mut config: SessionConfig) -> Self {
        "ReplicaMQ/0".clone_into(&mut config.server);
        Self {
            session: Session::new(Arc::new(config), "session-1".to_owned(), START_MS),
            input: BytesMut::new(),
            out: Outputs::default(),
            now_ms: START_MS,
        }
    }

    /// A session that speaks this version and has forgotten how that came.
    fn connected(version: Version) -> Self {
        Self::connect(Self::fresh(), version)
    }

    fn connect(mut talk: Self, version: Version) -> Self {
        talk.says(&format!("CONNECT\naccept-version:{version}\n\n\0"));
        talk.hears();
        talk.receipt(0);
        talk.gets();
        assert_eq!(talk.session.version(), version);
        talk
    }

    /// The client writes.
    fn says(&mut self, text: &str) -> Flow {
        self.input.extend_from_slice(text.as_bytes());
        self.receive()
    }

    fn receive(&mut self) -> Flow {
        self.session
            .receive(&mut self.input, self.now_ms, &mut self.out)
    }

    /// What the core was asked since the last look.
    fn hears(&mut self) -> Vec<String> {
        self.out
            .commands
            .drain(..)
            .map(|each| show(&each))
            .collect()
    }

    /// What the client was sent since the last look. NUL is shown as `^@`.
    fn gets(&mut self) -> String {
        let bytes = self.out.write.split();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace('\0', "^@")
    }

    fn effect(&mut self, effect: &Effect) {
        self.session
            .effect(effect, self.now_ms, &mut self.out.write);
    }

    fn receipt(&mut self, receipt: u64) {
        self.effect(&Effect::Receipt {
            connection: ConnectionId(1),
            receipt: Receipt(receipt),
        });
    }

    fn refused(&mut self, receipt: Option<u64>, refusal: Refusal) {
        self.effect(&Effect::Refused {
            connection: ConnectionId(1),
            receipt: receipt.map(Receipt),
            refusal,
        });
    }

    fn deliver(&mut self, subscription: u64, delivery: u64, message_id: &str) {
        let message = Message {
            id: message_id.to_owned(),
            destination: "/queue/a".to_owned(),
            timestamp_ms: 5,
            priority: 4,
            body: "hi".into(),
            ..Message::default()
        };
        self.deliver_message(subscription, delivery, message, false);
    }

    fn deliver_message(
        &mut self,
        subscription: u64,
        delivery: u64,
        message: Message,
        redelivered: bool,
    ) {
        self.effect(&Effect::Deliver(Delivery {
            connection: ConnectionId(1),
            subscription: SubscriptionId(subscription),
            delivery: DeliveryId(delivery),
            message: Arc::new(message),
            redelivered,
            redeliveries: u32::from(redelivered),
        }));
    }

    fn flushed(&mut self) -> Vec<String> {
        self.session.written(&mut self.out.commands);
        self.hears()
    }

    fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.session.tick(now_ms, &mut self.out.write);
    }

    /// The text of the ERROR that ended the session.
    #[track_caller]
    fn error(&mut self) -> String {
        let text = self.gets();
        assert!(text.starts_with("ERROR\n"), "{text:?}");
        assert!(self.session.is_closing());
        assert!(self.session.fault().is_some());
        text
    }
}

/// One line for a command.
fn show(command: &Command) -> String {
    match command {
        Command::Connect { client_id, receipt } => {
            format!(
                "connect{}{}",
                field("client", client_id.as_ref()),
                owed(Some(*receipt))
            )
        }
        Command::Disconnect => "disconnect".to_owned(),
        Command::Send(send) => show_send(send),
        Command::Subscribe(subscribe) => show_subscribe(subscribe),
        Command::Unsubscribe {
            subscription,
            receipt,
        } => format!("unsubscribe {}{}", subscription.0, owed(*receipt)),
        Command::DeleteDurable { name, receipt } => {
            format!("delete-durable {name}{}", owed(*receipt))
        }
        Command::Acknowledge(acknowledge) => show_acknowledge(acknowledge),
        Command::Written { subscription, last } => {
            format!("written {}-{}", subscription.0, last.0)
        }
        Command::Begin {
            transaction,
            receipt,
        } => format!("begin {}{}", transaction.0, owed(*receipt)),
        Command::Commit {
            transaction,
            receipt,
        } => format!("commit {}{}", transaction.0, owed(*receipt)),
        Command::Abort {
            transaction,
            receipt,
        } => format!("abort {}{}", transaction.0, owed(*receipt)),
        Command::Flush { receipt } => format!("flush{}", owed(Some(*receipt))),
    }
}

fn show_send(send: &replicamq_core::Send) -> String {
    let message = &send.message;
    let mut text = format!("send {}", message.destination);
    if !message.id.is_empty() {
        write!(text, " id={}", message.id).unwrap();
    }
    if message.persistent {
        text.push_str(" persistent");
    }
    if message.priority != 4 {
        write!(text, " priority={}", message.priority).unwrap();
    }
    if message.expires_ms != 0 {
        write!(text, " expires={}", message.expires_ms).unwrap();
    }
    for Header { name, value } in &message.headers {
        write!(text, " [{name}:{value}]").unwrap();
    }
    text.push_str(&field("key", send.duplicate_key.as_ref()));
    text.push_str(&field("transaction", send.transaction.map(|each| each.0)));
    text.push_str(&owed(send.receipt));
    write!(text, " {:?}", message.body).unwrap();
    text
}

fn show_subscribe(subscribe: &Subscribe) -> String {
    format!(
        "subscribe {} {} {:?} credit={}{}{}{}{}{}{}",
        subscribe.subscription.0,
        subscribe.destination,
        subscribe.mode,
        subscribe.credit,
        if subscribe.browse { " browse" } else { "" },
        field("durable", subscribe.durable.as_ref()),
        if subscribe.exclusive {
            " exclusive"
        } else {
            ""
        },
        field("priority", Some(subscribe.priority).filter(|one| *one != 0)),
        field("selector", subscribe.selector.as_ref()),
        owed(subscribe.receipt),
    )
}

fn show_acknowledge(acknowledge: &Acknowledge) -> String {
    format!(
        "{} {}-{}{}{}",
        match acknowledge.disposition {
            Disposition::Accepted => "accept",
            Disposition::Rejected => "reject",
        },
        acknowledge.subscription.0,
        acknowledge.delivery.0,
        field("transaction", acknowledge.transaction.map(|each| each.0)),
        owed(acknowledge.receipt),
    )
}

fn field(name: &str, value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(String::new, |value| format!(" {name}={value}"))
}

fn owed(receipt: Option<Receipt>) -> String {
    field("owed", receipt.map(|each| each.0))
}
