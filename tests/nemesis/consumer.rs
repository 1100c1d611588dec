//! A consumer that acknowledges one by one or a few together, and asks whether that is safe.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use replicamq_harness::stomp::{Client, Frame};

use crate::ledger::{Holder, Ledger};
use crate::load::{Shared, Silence};

/// Deliveries that are acknowledged together, at most.
const TOGETHER_MAX: u64 = 4;

/// One message: its lane and its number.
type Message = (usize, u64);

/// A subscriber to one queue.
#[derive(Debug)]
pub(crate) struct Consumer {
    shared: Arc<Shared>,
    queue: &'static str,
    in_transactions: bool,
    silence: Duration,
    connection: Holder,
    /// Deliveries of which nothing was said yet.
    held: Vec<(Frame, Message)>,
    /// What was acknowledged under which receipt, and is not known to be safe.
    pending: VecDeque<(u64, Vec<Message>)>,
    receipts: u64,
}

/// Tells the ledger of a delivery; `None` for a message of somebody else.
pub(crate) fn note(ledger: &mut Ledger, frame: &Frame, by: Holder) -> Option<Message> {
    let body = frame.text();
    let mut words = body.split(' ');
    let mut next = || words.next()?.parse::<u64>().ok();
    let (Some(lane), Some(number)) = (next(), next()) else {
        ledger.deliver_unknown(&body);
        return None;
    };
    let lane = usize::try_from(lane).unwrap_or(usize::MAX);
    ledger.deliver(lane, number, frame.header("redelivered") == "true", by);
    Some((lane, number))
}

impl Consumer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        queue: &'static str,
        in_transactions: bool,
        silence: Duration,
    ) -> Self {
        Self {
            shared,
            queue,
            in_transactions,
            silence,
            connection: 0,
            held: Vec::new(),
            pending: VecDeque::new(),
            receipts: 0,
        }
    }

    pub(crate) fn run(mut self) {
        let mut next = 0;
        while let Some(mut client) = self.shared.dial(&mut next) {
            self.connection = self.shared.number_connection();
            // Whatever happens to this connection: what it held comes again on another one.
            drop(self.converse(&mut client));
            next += 1;
            drop(client);
            self.give_back();
        }
    }

    fn converse(&mut self, client: &mut Client) -> io::Result<()> {
        client.subscribe(self.queue)?;
        let mut silence = Silence::new(self.silence);
        for turn in 0_u64.. {
            match self.shared.read(client, &mut silence)? {
                Some(frame) if frame.command == "RECEIPT" => self.take_receipt(&frame),
                Some(frame) => self.take(frame)?,
                None => {
                    self.acknowledge(client);
                    client.flush()?;
                }
            }
            if self.held.len() as u64 > turn % TOGETHER_MAX {
                self.acknowledge(client);
                client.flush()?;
            }
        }
        unreachable!("a range without an end has none")
    }

    fn take(&mut self, frame: Frame) -> io::Result<()> {
        if frame.command != "MESSAGE" {
            let text = format!("a consumer got {frame:?}");
            self.shared.ledger().tell_error(&text);
            return Err(io::Error::other(text));
        }
        if let Some(message) = note(&mut self.shared.ledger(), &frame, self.connection) {
            self.held.push((frame, message));
        }
        Ok(())
    }

    fn take_receipt(&mut self, frame: &Frame) {
        let receipt = frame.header("receipt-id").parse::<u64>().ok();
        let mut ledger = self.shared.ledger();
        self.pending.retain(|(number, messages)| {
            let confirmed = Some(*number) == receipt;
            for (lane, number) in messages.iter().filter(|_| confirmed) {
                ledger.consume(*lane, *number);
            }
            !confirmed
        });
    }

    fn acknowledge(&mut self, client: &mut Client) {
        const NAME: (&str, &str) = ("transaction", "c");
        let held = std::mem::take(&mut self.held);
        let together = self.in_transactions && held.len() > 1;
        if together {
            client.write("BEGIN", &[NAME], "");
        }
        let mut done = Vec::new();
        for (frame, message) in held {
            let id = ("id", frame.header("ack"));
            if together {
                client.write("ACK", &[id, NAME], "");
                done.push(message);
            } else {
                let receipt = self.expect_receipt(vec![message]);
                client.write("ACK", &[id, ("receipt", &receipt)], "");
            }
        }
        if together {
            let receipt = self.expect_receipt(done);
            client.write("COMMIT", &[NAME, ("receipt", &receipt)], "");
        }
    }

    fn expect_receipt(&mut self, messages: Vec<Message>) -> String {
        self.receipts += 1;
        self.pending.push_back((self.receipts, messages));
        self.receipts.to_string()
    }

    fn give_back(&mut self) {
        let mut ledger = self.shared.ledger();
        for (lane, number) in self.pending.drain(..).flat_map(|(_, messages)| messages) {
            ledger.give_back(lane, number, true, self.connection);
        }
        for (_, (lane, number)) in self.held.drain(..) {
            ledger.give_back(lane, number, false, self.connection);
        }
    }
}
