//! One conversation, the broker's end, without a socket.
//!
//! Bytes and time go in; commands for the core and bytes for the client come
//! out. The owner of the socket does this:
//!
//! 1. When bytes were read, and again after effects while input is left:
//!    [`Session::receive`]. It takes the commands, then does what [`Flow`] says. It
//!    reads on only once it has set aside what [`Session::room`] asks for.
//! 2. For each effect of this connection: [`Session::effect`].
//! 3. When [`Session::deadline`] has come: [`Session::tick`].
//! 4. When everything written has gone to the socket: [`Session::written`].
//! 5. Once [`Session::is_closing`]: it hands over the commands that are left,
//!    flushes, calls [`Session::written`], closes the socket, and tells the core
//!    `Command::Disconnect`. That last command is never the session's, because a
//!    connection can end without a word.
//!
//! A loss of mastership is no reason for an ERROR: drop the connection, so that
//! the client's failover tries the next address.

mod acknowledge;
mod config;
mod connect;
mod fault;
mod outstanding;
mod owed;
mod send;
mod subscribe;
mod subscriptions;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use replicamq_core::{Command, Effect, Receipt, TransactionId};

use self::owed::{Answer, Owed};
use self::subscriptions::Subscriptions;
use super::heartbeat::{HeartBeat, Pulse};
use super::write::Writer;
use super::{Decoder, Frame, Verb, Version};

pub use self::config::SessionConfig;
pub use self::fault::Fault;

/// What a session wants done.
#[derive(Debug, Default)]
pub struct Outputs {
    /// For the core, in this order.
    pub commands: Vec<Command>,
    /// For the client.
    pub write: BytesMut,
}

/// What the owner of the socket should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Read more.
    Read,
    /// Take the commands and call [`Session::receive`] again.
    Full,
    /// The core owes an answer: call [`Session::receive`] again after the next
    /// effect, and until then leave the bytes in the socket.
    Wait,
    /// Write what there is and close.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing but CONNECT may come.
    Opening,
    /// The core has not accepted the connection yet.
    Connecting,
    Connected,
    /// The client has said DISCONNECT and is owed a receipt.
    Leaving,
    Closing,
}

/// One conversation.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    /// The `session` header of CONNECTED.
    id: String,
    phase: Phase,
    version: Version,
    decoder: Decoder,
    /// Memory for the frame at hand.
    frame: Frame,
    /// The first bytes have been seen to be STOMP.
    detected: bool,
    client_beats: HeartBeat,
    pulse: Pulse,
    opened_ms: u64,
    /// The reader was told to leave bytes in the socket, so that silence means nothing.
    held: bool,
    /// How much input was left behind by the last call.
    left_bytes: usize,
    /// Since when the frame at hand has been large.
    large_since_ms: Option<u64>,
    /// The reader waits for room and leaves bytes in the socket meanwhile.
    roomless: bool,
    owed: Owed,
    subscriptions: Subscriptions,
    transactions: BTreeMap<String, TransactionId>,
    last_transaction: u64,
    fault: Option<Fault>,
}

impl Session {
    /// A session on a connection that has just been accepted; `id` is told to
    /// the client.
    pub fn new(config: Arc<SessionConfig>, id: String, now_ms: u64) -> Self {
        Self {
            decoder: Decoder::new(config.limits),
            config,
            id,
            phase: Phase::Opening,
            version: Version::V1_0,
            frame: Frame::new(Verb::Send),
            detected: false,
            client_beats: HeartBeat::default(),
            pulse: Pulse::new(HeartBeat::default(), now_ms),
            opened_ms: now_ms,
            held: false,
            left_bytes: 0,
            large_since_ms: None,
            roomless: false,
            owed: Owed::default(),
            subscriptions: Subscriptions::default(),
            transactions: BTreeMap::new(),
            last_transaction: 0,
            fault: None,
        }
    }

    /// Takes the frames at the front of the input, as many as may be taken now.
    pub fn receive(&mut self, input: &mut BytesMut, now_ms: u64, out: &mut Outputs) -> Flow {
        if self.held || self.roomless || input.len() > self.left_bytes {
            self.pulse.received(now_ms);
        }
        self.roomless = false;
        let written = out.write.len();
        let mut frame = std::mem::replace(&mut self.frame, Frame::new(Verb::Send));
        let flow = loop {
            if let Some(flow) = self.stop(out) {
                break flow;
            }
            match self.next_frame(input, &mut frame) {
                Ok(true) => self.large_since_ms = None,
                Ok(false) => break Flow::Read,
                Err(fault) => {
                    let receipt = self.decoder.partial_header("receipt").map(str::to_owned);
                    self.fail(fault, receipt.as_deref(), &mut out.write);
                    continue;
                }
            }
            if let Err(fault) = self.handle(&mut frame, now_ms, out) {
                self.fail(fault, frame.header("receipt"), &mut out.write);
            }
        };
        self.frame = frame;
        if matches!(self.phase, Phase::Leaving | Phase::Closing) {
            // Nothing that comes now is of interest.
            input.clear();
        }
        self.held = matches!(flow, Flow::Full | Flow::Wait);
        self.left_bytes = input.len();
        if flow == Flow::Read && self.left_bytes >= self.config.large_frame_bytes {
            self.large_since_ms.get_or_insert(now_ms);
        } else {
            self.large_since_ms = None;
        }
        self.note_written(written, now_ms, &out.write);
        flow
    }

    /// Why no further frame may be taken now.
    fn stop(&self, out: &Outputs) -> Option<Flow> {
        match self.phase {
            Phase::Closing => Some(Flow::Close),
            Phase::Connecting | Phase::Leaving => Some(Flow::Wait),
            Phase::Opening | Phase::Connected => {
                if out.commands.len() >= self.config.commands_max {
                    Some(Flow::Full)
                } else if self.owed.len() >= self.config.receipts_max {
                    Some(Flow::Wait)
                } else {
                    None
                }
            }
        }
    }

    fn next_frame(&mut self, input: &mut BytesMut, frame: &mut Frame) -> Result<bool, Fault> {
        if !self.detected {
            if !connect::is_stomp(input)? {
                return Ok(false);
            }
            self.detected = true;
        }
        Ok(self.decoder.decode_into(input, frame)?)
    }

    fn handle(&mut self, frame: &mut Frame, now_ms: u64, out: &mut Outputs) -> Result<(), Fault> {
        let verb = frame.verb;
        match (verb, self.phase) {
            (Verb::Connected | Verb::Message | Verb::Receipt | Verb::Error, _) => {
                return Err(Fault::NotForBrokers { verb });
            }
            (Verb::Connect | Verb::Stomp, Phase::Opening) => {}
            (Verb::Connect | Verb::Stomp, _) => return Err(Fault::AlreadyConnected { verb }),
            (_, Phase::Opening) => return Err(Fault::NotConnected { verb }),
            _ => {}
        }
        let commands = &mut out.commands;
        match verb {
            Verb::Connect | Verb::Stomp => self.connect(frame, now_ms, commands),
            Verb::Send => self.send(frame, commands),
            Verb::Subscribe => self.subscribe(frame, commands),
            Verb::Unsubscribe => self.unsubscribe(frame, commands),
            Verb::Ack | Verb::Nack => self.acknowledge(frame, commands),
            Verb::Begin | Verb::Commit | Verb::Abort => self.transaction(frame, commands),
            Verb::Disconnect => {
                self.disconnect(frame, commands);
                Ok(())
            }
            Verb::Connected | Verb::Message | Verb::Receipt | Verb::Error => {
                Err(Fault::NotForBrokers { verb })
            }
        }
    }

    /// BEGIN, COMMIT and ABORT.
    fn transaction(&mut self, frame: &Frame, commands: &mut Vec<Command>) -> Result<(), Fault> {
        let verb = frame.verb;
        let name = required(frame, "transaction", "name the transaction")?;
        let receipt = frame.header("receipt");
        if verb == Verb::Begin {
            let limit = self.config.transactions_max;
            if self.transactions.contains_key(name) {
                let name = name.to_owned();
                return Err(Fault::TransactionExists { name });
            }
            if self.transactions.len() >= limit {
                return Err(Fault::LimitReached {
                    what: "open transactions",
                    limit,
                    cure: "COMMIT or ABORT some first",
                });
            }
            self.last_transaction += 1;
            let transaction = TransactionId(self.last_transaction);
            self.transactions.insert(name.to_owned(), transaction);
            let receipt = self.owed.receipt(receipt);
            commands.push(Command::Begin {
                transaction,
                receipt,
            });
            return Ok(());
        }
        let Some(transaction) = self.transactions.remove(name) else {
            let name = name.to_owned();
            return Err(Fault::TransactionUnknown { name });
        };
        let receipt = self.owed.receipt(receipt);
        commands.push(if verb == Verb::Commit {
            Command::Commit {
                transaction,
                receipt,
            }
        } else {
            Command::Abort {
                transaction,
                receipt,
            }
        });
        Ok(())
    }

    /// The transaction that a frame belongs to.
    fn transaction_of(&self, name: Option<&str>) -> Result<Option<TransactionId>, Fault> {
        let Some(name) = name else {
            return Ok(None);
        };
        match self.transactions.get(name) {
            Some(transaction) => Ok(Some(*transaction)),
            None => Err(Fault::TransactionUnknown {
                name: name.to_owned(),
            }),
        }
    }

    /// The receipt of a DISCONNECT promises that all before it is done.
    fn disconnect(&mut self, frame: &Frame, commands: &mut Vec<Command>) {
        self.subscriptions.report(commands);
        match frame.header("receipt") {
            Some(id) => {
                let receipt = self.owed.push(Answer::Disconnected(id.to_owned()));
                commands.push(Command::Flush { receipt });
                self.phase = Phase::Leaving;
            }
            None => self.phase = Phase::Closing,
        }
    }

    /// Writes what an effect of the core means to the client.
    pub fn effect(&mut self, effect: &Effect, now_ms: u64, write: &mut BytesMut) {
        if self.phase == Phase::Closing {
            return;
        }
        let written = write.len();
        match effect {
            Effect::Receipt { receipt, .. } => self.answer(*receipt, now_ms, write),
            Effect::Refused {
                receipt, refusal, ..
            } => {
                let answer = receipt.and_then(|receipt| self.owed.take(receipt));
                let id = match &answer {
                    Some(Answer::Receipt(id) | Answer::Disconnected(id)) => Some(id.as_str()),
                    Some(Answer::Connected) | None => None,
                };
                self.fail(refusal.clone().into(), id, write);
            }
            // After DISCONNECT nobody reads it: it goes to another consumer.
            Effect::Deliver(delivery) if self.phase == Phase::Connected => {
                let escapes = self.version.into();
                self.subscriptions.deliver(delivery, escapes, write);
            }
            Effect::BrowseEnd { subscription, .. } => {
                if let Some(subscription) = self.subscriptions.get(*subscription) {
                    subscription.write_browse_end(self.version.into(), write);
                }
            }
            // A read of the store, say, is not for clients.
            _ => {}
        }
        self.note_written(written, now_ms, write);
    }

    fn answer(&mut self, receipt: Receipt, now_ms: u64, write: &mut BytesMut) {
        match self.owed.take(receipt) {
            Some(Answer::Connected) => self.connected(now_ms, write),
            Some(Answer::Receipt(id)) => {
                self.write_receipt(&id, write);
                self.owed.recycle(id);
            }
            Some(Answer::Disconnected(id)) => {
                self.write_receipt(&id, write);
                self.phase = Phase::Closing;
            }
            None => {}
        }
    }

    fn write_receipt(&self, id: &str, write: &mut BytesMut) {
        Writer::begin(Verb::Receipt, self.version, write)
            .header("receipt-id", id)
            .end();
    }

    /// Says why with an ERROR, after which the connection closes.
    fn fail(&mut self, fault: Fault, receipt: Option<&str>, write: &mut BytesMut) {
        let mut writer = Writer::begin(Verb::Error, self.version, write);
        writer.header("message", fault.title());
        if matches!(fault, Fault::NoCommonVersion { .. }) {
            writer.header("version", Version::ALL);
        }
        writer
            .optional("receipt-id", receipt)
            .header("content-type", "text/plain")
            .end_with_body(fault.to_string().as_bytes());
        self.fault = Some(fault);
        self.phase = Phase::Closing;
        self.large_since_ms = None;
    }

    /// When [`Session::tick`] has something to do. It changes with every other
    /// call, so ask before each wait.
    pub fn deadline(&self) -> Option<u64> {
        let due = match self.phase {
            Phase::Opening => [Some(self.connect_due_ms()), None, self.large_due_ms()],
            Phase::Connected | Phase::Leaving => [
                self.pulse.beat_due_ms(),
                self.silent_at_ms(),
                self.large_due_ms(),
            ],
            Phase::Connecting | Phase::Closing => return None,
        };
        due.into_iter().flatten().min()
    }

    fn connect_due_ms(&self) -> u64 {
        self.opened_ms.saturating_add(self.config.connect_ms_max)
    }

    fn large_due_ms(&self) -> Option<u64> {
        let limit_ms = self.config.large_frame_ms_max;
        Some(self.large_since_ms?.saturating_add(limit_ms))
    }

    /// Silence means nothing while bytes are left in the socket.
    fn silent_at_ms(&self) -> Option<u64> {
        let is_read = !self.held && !self.roomless;
        self.pulse.silent_at_ms().filter(|_| is_read)
    }

    /// Does what has fallen due: a heart-beat, or the end of a silent connection.
    pub fn tick(&mut self, now_ms: u64, write: &mut BytesMut) {
        let Some(deadline_ms) = self.deadline().filter(|at| *at <= now_ms) else {
            return;
        };
        if self.large_due_ms().is_some_and(|at| at <= now_ms) {
            let receipt = self.decoder.partial_header("receipt").map(str::to_owned);
            self.fail(self.large_fault(), receipt.as_deref(), write);
            return;
        }
        if self.phase == Phase::Opening {
            let limit_ms = self.config.connect_ms_max;
            self.fail(Fault::ConnectTimeout { limit_ms }, None, write);
            return;
        }
        if self.pulse.overslept(deadline_ms, now_ms) {
            self.pulse.received(now_ms);
        }
        if self.silent_at_ms().is_some_and(|at| at <= now_ms) {
            let silence_ms = self.pulse.silence_ms(now_ms);
            self.fail(Fault::Silent { silence_ms }, None, write);
        } else if self.pulse.beat_due_ms().is_some_and(|at| at <= now_ms) {
            if write.is_empty() {
                write.put_u8(b'\n');
            }
            // What waits to be written is as good a sign of life.
            self.pulse.sent(now_ms);
        }
    }

    fn large_fault(&self) -> Fault {
        let verb = self.decoder.partial_verb();
        let bytes = self.config.large_frame_bytes;
        let limit_ms = self.config.large_frame_ms_max;
        if self.roomless {
            Fault::NoRoom {
                verb,
                bytes,
                limit_ms,
                limit: self.config.large_frames_bytes_max,
            }
        } else {
            Fault::FrameTimeout {
                verb,
                bytes,
                limit_ms,
            }
        }
    }

    /// Everything that was written has gone to the socket: the core may forget
    /// what needs no acknowledgement.
    pub fn written(&mut self, commands: &mut Vec<Command>) {
        self.subscriptions.report(commands);
    }

    /// Write what there is, then close.
    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Why the session ended, unless the client wished it.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The version that both ends speak; 1.0 before CONNECT.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many bytes the frame at hand may need, if it is large; else 0. They are set
    /// aside before more is read, and given back when this is 0 again.
    pub fn room(&self) -> usize {
        match (self.large_since_ms, self.decoder.wanted()) {
            (None, _) => 0,
            // It ends where its NUL is.
            (Some(_), 0) => self.config.limits.body_bytes_max.saturating_add(1),
            (Some(_), wanted) => wanted,
        }
    }

    /// There is no such room yet, so that nothing is read before the next
    /// [`Session::receive`].
    pub fn wait_for_room(&mut self) {
        self.roomless = true;
    }

    /// How many bytes the input must hold before the frame at hand can end,
    /// where that is known: make so much room.
    pub fn wanted(&self) -> usize {
        self.decoder.wanted()
    }

    fn note_written(&mut self, before: usize, now_ms: u64, write: &BytesMut) {
        if write.len() > before {
            self.pulse.sent(now_ms);
        }
    }
}

/// A header that a frame must have.
fn required<'a>(
    frame: &'a Frame,
    name: &'static str,
    cure: &'static str,
) -> Result<&'a str, Fault> {
    match frame.header(name) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(Fault::HeaderMissing {
            verb: frame.verb,
            name,
            cure,
        }),
    }
}

/// A header that says yes or no.
fn boolean(verb: Verb, name: &'static str, value: &str) -> Result<bool, Fault> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(invalid(verb, name, value, "true or false"))
    }
}

fn invalid(verb: Verb, name: &'static str, value: &str, expected: &'static str) -> Fault {
    Fault::HeaderInvalid {
        verb,
        name,
        value: value.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests;
