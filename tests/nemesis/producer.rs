//! A producer that sends again, with the same message-id, what was not acknowledged.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use replicamq_harness::stomp::Client;
use replicamq_harness::wait;

use crate::load::{Shared, Silence};

/// Sends whose receipts have not come yet.
const IN_FLIGHT_MAX: usize = 16;

/// Sends of one transaction.
const JOINT: usize = 3;

/// Every so many transactions, one is aborted before.
const ABORTED_EVERY: u64 = 5;

/// Between two bunches: the machine has other things to do.
const PACE: Duration = Duration::from_millis(10);

/// How it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Many at a time, each with a receipt.
    Pipelined,
    /// A few in a transaction.
    Joint,
}

/// One lane of the ledger.
#[derive(Debug)]
pub(crate) struct Producer {
    shared: Arc<Shared>,
    lane: usize,
    queue: &'static str,
    size: usize,
    manner: Manner,
    silence: Duration,
    /// Sent and not acknowledged, in their order.
    waiting: VecDeque<u64>,
    transactions: u64,
}

impl Producer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        lane: usize,
        queue: &'static str,
        (size, manner, silence): (usize, Manner, Duration),
    ) -> Self {
        Self {
            shared,
            lane,
            queue,
            size,
            manner,
            silence,
            waiting: VecDeque::new(),
            transactions: 0,
        }
    }

    pub(crate) fn run(mut self) {
        let mut next = self.lane;
        while self.has_work() {
            let Some(mut client) = self.shared.dial(&mut next) else {
                return;
            };
            let done = match self.manner {
                Manner::Pipelined => self.pipeline(&mut client),
                Manner::Joint => self.join(&mut client),
            };
            if done.is_err() {
                // The next connection repeats what waits, perhaps elsewhere.
                next += 1;
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.shared.has_ended() && (self.shared.sends() || !self.waiting.is_empty())
    }

    fn pipeline(&mut self, client: &mut Client) -> io::Result<()> {
        let mut silence = Silence::new(self.silence);
        for number in self.waiting.clone() {
            self.put(client, number, &[("receipt", &number.to_string())]);
        }
        while self.has_work() {
            let sends = self.shared.sends();
            while sends && self.waiting.len() < IN_FLIGHT_MAX {
                let number = self.next();
                self.put(client, number, &[("receipt", &number.to_string())]);
            }
            client.flush()?;
            silence.begin();
            let rest = if sends { IN_FLIGHT_MAX / 2 } else { 0 };
            while self.waiting.len() > rest {
                if let Some(receipt) = self.receipt(client, &mut silence)? {
                    self.confirm(receipt);
                }
            }
            wait::pause(PACE);
        }
        Ok(())
    }

    fn join(&mut self, client: &mut Client) -> io::Result<()> {
        const NAME: (&str, &str) = ("transaction", "t");
        let mut silence = Silence::new(self.silence);
        while self.has_work() {
            if self.waiting.is_empty() {
                self.transactions += 1;
                for _ in 0..JOINT {
                    self.next();
                }
            }
            if self.transactions.is_multiple_of(ABORTED_EVERY) {
                client.write("BEGIN", &[NAME], "");
                let headers = [
                    ("destination", self.queue),
                    ("persistent", "true"),
                    ("transaction", "t"),
                ];
                client.write("SEND", &headers, &format!("aborted {}", self.transactions));
                client.write("ABORT", &[NAME], "");
            }
            client.write("BEGIN", &[NAME], "");
            for number in self.waiting.clone() {
                self.put(client, number, &[NAME]);
            }
            let receipt = self.transactions;
            client.write("COMMIT", &[NAME, ("receipt", &receipt.to_string())], "");
            client.flush()?;
            silence.begin();
            while self.receipt(client, &mut silence)? != Some(receipt) {}
            for number in self.waiting.clone() {
                self.confirm(number);
            }
            wait::pause(PACE);
        }
        Ok(())
    }

    fn next(&mut self) -> u64 {
        let number = self.shared.ledger().send(self.lane);
        self.waiting.push_back(number);
        number
    }

    fn put(&self, client: &mut Client, number: u64, more: &[(&str, &str)]) {
        let lane = self.lane;
        let id = format!("lane-{lane}-{number}");
        let mut headers = vec![
            ("destination", self.queue),
            ("persistent", "true"),
            ("message-id", &id),
        ];
        headers.extend_from_slice(more);
        let words = format!("{lane} {number} ");
        let fill = ".".repeat(self.size.saturating_sub(words.len()));
        client.write("SEND", &headers, &(words + &fill));
    }

    fn receipt(&self, client: &mut Client, silence: &mut Silence) -> io::Result<Option<u64>> {
        let Some(frame) = self.shared.read(client, silence)? else {
            return Ok(None);
        };
        let number = frame.header("receipt-id").parse().ok();
        if frame.command == "RECEIPT" && number.is_some() {
            return Ok(number);
        }
        let text = format!("a producer got {frame:?}");
        self.shared.ledger().tell_error(&text);
        Err(io::Error::other(text))
    }

    fn confirm(&mut self, number: u64) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != number);
        if self.waiting.len() < before {
            self.shared.confirm(self.lane, number);
        }
    }
}
