//! The client's end of a conversation: frames out, frames in, no socket.
//!
//! It works against any STOMP broker; headers that only some brokers know are
//! ActiveMQ's.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use super::heartbeat::{HeartBeat, Pulse};
use super::write::Writer;
use super::{Decoder, Frame, Limits, Verb, Version, Violation};

/// How to open a session.
#[derive(Debug, Clone, Copy)]
pub struct Connecting<'a> {
    /// The versions offered, e.g. [`Version::ALL`].
    pub accept_version: &'a str,
    /// The virtual host.
    pub host: &'a str,
    /// User name.
    pub login: Option<&'a str>,
    /// Password.
    pub passcode: Option<&'a str>,
    /// Makes durable subscriptions possible.
    pub client_id: Option<&'a str>,
    /// Signs of life.
    pub heart_beat: HeartBeat,
    /// Bounds on the frames of the broker.
    pub limits: Limits,
}

impl Default for Connecting<'_> {
    fn default() -> Self {
        Self {
            accept_version: Version::ALL,
            host: "localhost",
            login: None,
            passcode: None,
            client_id: None,
            heart_beat: HeartBeat::default(),
            limits: Limits::default(),
        }
    }
}

/// One message to send.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sending<'a> {
    /// Where to, e.g. `/queue/a`.
    pub destination: &'a str,
    /// Whether it must survive a crash of the broker.
    pub persistent: bool,
    /// Makes a second send of the same message recognisable.
    pub message_id: Option<&'a str>,
    /// Named again in the RECEIPT.
    pub receipt: Option<&'a str>,
    /// The transaction that it belongs to.
    pub transaction: Option<&'a str>,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent.
    pub body: &'a [u8],
}

/// How deliveries are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckMode {
    /// When the broker has sent them.
    #[default]
    Auto,
    /// One ACK covers all deliveries before it.
    Client,
    /// One by one.
    ClientIndividual,
}

impl AckMode {
    /// As headers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Client => "client",
            Self::ClientIndividual => "client-individual",
        }
    }
}

/// One subscription to open.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subscribing<'a> {
    /// The client's name for it.
    pub id: &'a str,
    /// What to receive from.
    pub destination: &'a str,
    /// How deliveries are acknowledged.
    pub ack: AckMode,
    /// How many deliveries may be outstanding.
    pub prefetch: Option<u32>,
    /// Look at the messages of a queue without taking them.
    pub browse: bool,
    /// Name of a durable subscription.
    pub durable: Option<&'a str>,
    /// Named again in the RECEIPT.
    pub receipt: Option<&'a str>,
}

/// What most frames may carry besides their purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct With<'a> {
    /// The transaction that it belongs to.
    pub transaction: Option<&'a str>,
    /// Named again in the RECEIPT.
    pub receipt: Option<&'a str>,
}

/// Why a conversation cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// The broker's bytes are not STOMP.
    #[error("the broker broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The broker wants to speak a version that was not offered.
    #[error(
        "the broker answered CONNECT with version {version:?}, which this client does not speak"
    )]
    UnknownVersion {
        /// As it came.
        version: String,
    },
    /// No sign of life.
    #[error("the broker has said nothing for {silence_ms} ms, although it promised heart-beats")]
    Silent {
        /// For how long.
        silence_ms: u64,
    },
}

/// One conversation.
#[derive(Debug)]
pub struct Client {
    decoder: Decoder,
    version: Version,
    offer: HeartBeat,
    pulse: Pulse,
}

impl Client {
    /// Begins a conversation. The answer is a CONNECTED or an ERROR frame.
    pub fn connect(connecting: &Connecting<'_>, now_ms: u64, out: &mut BytesMut) -> Self {
        let offer = connecting.heart_beat;
        let beats = format!("{},{}", offer.send_ms, offer.receive_ms);
        Writer::begin(Verb::Connect, Version::V1_0, out)
            .header("accept-version", connecting.accept_version)
            .header("host", connecting.host)
            .optional("login", connecting.login)
            .optional("passcode", connecting.passcode)
            .optional("client-id", connecting.client_id)
            .header("heart-beat", &beats)
            .end();
        Self {
            decoder: Decoder::new(connecting.limits),
            version: Version::V1_0,
            offer,
            pulse: Pulse::new(HeartBeat::default(), now_ms),
        }
    }

    /// The version that both ends speak; 1.0 until CONNECTED has come.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Takes the next frame from the front of the input; `false`: read more.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        now_ms: u64,
        frame: &mut Frame,
    ) -> Result<bool, ClientError> {
        if !input.is_empty() {
            self.pulse.received(now_ms);
        }
        if !self.decoder.decode_into(input, frame)? {
            return Ok(false);
        }
        if frame.verb == Verb::Connected {
            self.connected(frame, now_ms)?;
        }
        Ok(true)
    }

    fn connected(&mut self, frame: &Frame, now_ms: u64) -> Result<(), ClientError> {
        let version = frame.header("version").unwrap_or("1.0");
        self.version = Version::parse(version).ok_or_else(|| ClientError::UnknownVersion {
            version: version.to_owned(),
        })?;
        self.decoder.set_version(self.version);
        let other = frame.header("heart-beat").and_then(HeartBeat::parse);
        let agreed = self.offer.agree(other.unwrap_or_default());
        self.pulse = Pulse::new(agreed, now_ms);
        Ok(())
    }

    /// Adds a heart-beat if one is due. Answers when to ask again.
    pub fn tick(&mut self, now_ms: u64, out: &mut BytesMut) -> Result<Option<u64>, ClientError> {
        if self.pulse.silent_at_ms().is_some_and(|at| at <= now_ms) {
            let silence_ms = self.pulse.silence_ms(now_ms);
            return Err(ClientError::Silent { silence_ms });
        }
        if self.pulse.beat_due_ms().is_some_and(|at| at <= now_ms) {
            out.put_u8(b'\n');
            self.pulse.sent(now_ms);
        }
        let due = [self.pulse.beat_due_ms(), self.pulse.silent_at_ms()];
        Ok(due.into_iter().flatten().min())
    }

    /// SEND.
    pub fn send(&self, sending: &Sending<'_>, out: &mut BytesMut) {
        let mut writer = Writer::begin(Verb::Send, self.version, out);
        writer.header("destination", sending.destination);
        if sending.persistent {
            writer.header("persistent", "true");
        }
        writer
            .optional("message-id", sending.message_id)
            .optional("receipt", sending.receipt)
            .optional("transaction", sending.transaction);
        for (name, value) in sending.headers {
            writer.header(name, value);
        }
        writer.end_with_body(sending.body);
    }

    /// SUBSCRIBE.
    pub fn subscribe(&self, subscribing: &Subscribing<'_>, out: &mut BytesMut) {
        let mut writer = Writer::begin(Verb::Subscribe, self.version, out);
        writer
            .header("id", subscribing.id)
            .header("destination", subscribing.destination)
            .header("ack", subscribing.ack.as_str())
            .optional("activemq.subscriptionName", subscribing.durable)
            .optional("receipt", subscribing.receipt);
        if let Some(prefetch) = subscribing.prefetch {
            writer.number(b"activemq.prefetchSize:", prefetch.into());
        }
        if subscribing.browse {
            writer.header("browser", "true");
        }
        writer.end();
    }

    /// UNSUBSCRIBE.
    pub fn unsubscribe(&self, id: &str, with: With<'_>, out: &mut BytesMut) {
        Writer::begin(Verb::Unsubscribe, self.version, out)
            .header("id", id)
            .optional("receipt", with.receipt)
            .end();
    }

    /// ACK of a MESSAGE, in the way of the version.
    pub fn ack(&self, message: &Frame, with: With<'_>, out: &mut BytesMut) {
        self.acknowledge(Verb::Ack, message, with, out);
    }

    /// NACK of a MESSAGE; there is none in 1.0.
    pub fn nack(&self, message: &Frame, with: With<'_>, out: &mut BytesMut) {
        self.acknowledge(Verb::Nack, message, with, out);
    }

    fn acknowledge(&self, verb: Verb, message: &Frame, with: With<'_>, out: &mut BytesMut) {
        let mut writer = Writer::begin(verb, self.version, out);
        match self.version {
            Version::V1_2 => writer.optional("id", message.header("ack")),
            Version::V1_0 | Version::V1_1 => writer
                .optional("message-id", message.header("message-id"))
                .optional("subscription", message.header("subscription")),
        };
        writer
            .optional("transaction", with.transaction)
            .optional("receipt", with.receipt)
            .end();
    }

    /// BEGIN.
    pub fn begin(&self, transaction: &str, receipt: Option<&str>, out: &mut BytesMut) {
        self.transaction(Verb::Begin, transaction, receipt, out);
    }

    /// COMMIT.
    pub fn commit(&self, transaction: &str, receipt: Option<&str>, out: &mut BytesMut) {
        self.transaction(Verb::Commit, transaction, receipt, out);
    }

    /// ABORT.
    pub fn abort(&self, transaction: &str, receipt: Option<&str>, out: &mut BytesMut) {
        self.transaction(Verb::Abort, transaction, receipt, out);
    }

    fn transaction(&self, verb: Verb, name: &str, receipt: Option<&str>, out: &mut BytesMut) {
        Writer::begin(verb, self.version, out)
            .header("transaction", name)
            .optional("receipt", receipt)
            .end();
    }

    /// DISCONNECT. Its RECEIPT comes when all that was asked before is done.
    pub fn disconnect(&self, receipt: Option<&str>, out: &mut BytesMut) {
        Writer::begin(Verb::Disconnect, self.version, out)
            .optional("receipt", receipt)
            .end();
    }
}

#[cfg(test)]
mod tests;
