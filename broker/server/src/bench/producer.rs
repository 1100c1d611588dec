//! One connection that sends as fast as its receipts come back.

use std::collections::VecDeque;
use std::io::Write;
use std::rc::Rc;

use anyhow::{Context, bail};
use bytes::{BufMut, BytesMut};
use replicamq_protocols::stomp::{Frame, Verb};

use super::stamp::{STAMP_BYTES, Stamp};
use super::tally::Tally;
use crate::client::Connection;
use crate::clock;

/// A SEND frame, but for the number of its receipt and the stamp in its body.
#[derive(Debug)]
pub(super) struct Template {
    /// Up to the receipt's number.
    head: Vec<u8>,
    /// From there to the stamp.
    middle: Vec<u8>,
    /// The body after the stamp, and the NUL.
    tail: Vec<u8>,
}

/// Headers that any STOMP broker knows, ActiveMQ among them.
pub(super) fn template(queue: &str, persistent: bool, size: u32) -> Template {
    let rest = (size as usize).saturating_sub(STAMP_BYTES);
    let mut tail: Vec<u8> = (b'a'..=b'z').cycle().take(rest).collect();
    tail.push(0);
    Template {
        head: format!("SEND\ndestination:{queue}\npersistent:{persistent}\nreceipt:").into_bytes(),
        middle: format!("\ncontent-length:{size}\n\n").into_bytes(),
        tail,
    }
}

impl Template {
    fn write(&self, number: u64, stamp: Stamp, out: &mut BytesMut) {
        let mut digits = [0; 20];
        let mut unused = &mut digits[..];
        write!(unused, "{number}").expect("a number has at most 20 digits");
        let length = 20 - unused.len();
        let bytes = self.head.len() + length + self.middle.len() + STAMP_BYTES + self.tail.len();
        out.reserve(bytes);
        out.put_slice(&self.head);
        out.put_slice(&digits[..length]);
        out.put_slice(&self.middle);
        out.put_slice(&stamp.to_bytes());
        out.put_slice(&self.tail);
    }
}

/// When each message that waits for its receipt was sent.
#[derive(Debug, Default)]
struct Waiting {
    /// The number of the first in `sent_ns`.
    first: u64,
    /// `None`: its receipt came before that of an earlier one.
    sent_ns: VecDeque<Option<u64>>,
    count: usize,
}

impl Waiting {
    /// Answers with its number.
    fn push(&mut self, sent_ns: u64) -> u64 {
        self.sent_ns.push_back(Some(sent_ns));
        self.count += 1;
        self.first + self.sent_ns.len() as u64 - 1
    }

    /// When it was sent; `None`: it does not wait.
    fn remove(&mut self, number: u64) -> Option<u64> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let sent_ns = self.sent_ns.get_mut(at)?.take()?;
        self.count -= 1;
        while self.sent_ns.front() == Some(&None) {
            self.sent_ns.pop_front();
            self.first += 1;
        }
        Some(sent_ns)
    }
}

#[derive(Debug)]
pub(super) struct Producer {
    connection: Connection,
    template: Template,
    stamp: Stamp,
    in_flight: usize,
    waiting: Waiting,
    tally: Rc<Tally>,
}

impl Producer {
    pub(super) fn new(
        connection: Connection,
        template: Template,
        stamp: Stamp,
        in_flight: u32,
        tally: Rc<Tally>,
    ) -> Self {
        Self {
            connection,
            template,
            stamp,
            in_flight: in_flight as usize,
            waiting: Waiting::default(),
            tally,
        }
    }

    /// Sends until the tally says stop and every receipt has come.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let mut frame = Frame::new(Verb::Receipt);
        let mut more = true;
        while more || self.waiting.count > 0 {
            while more && self.waiting.count < self.in_flight {
                more = self.send_one();
            }
            if self.waiting.count > 0 {
                self.connection.exchange().await?;
            }
            while self.connection.received(&mut frame)? {
                self.note(&frame)?;
            }
        }
        self.connection.end().await?;
        Ok(())
    }

    fn send_one(&mut self) -> bool {
        let now_ns = clock::monotonic_ns();
        if !self.tally.begin(now_ns) {
            return false;
        }
        self.stamp.sent_ns = now_ns;
        let number = self.waiting.push(now_ns);
        let (_, out) = self.connection.writer();
        self.template.write(number, self.stamp, out);
        self.stamp.sequence += 1;
        true
    }

    fn note(&mut self, frame: &Frame) -> anyhow::Result<()> {
        if frame.verb != Verb::Receipt {
            bail!(
                "the broker sent {} to a connection that only sends",
                frame.verb
            );
        }
        let number = frame.header("receipt-id").and_then(|id| id.parse().ok());
        let number = number.context("the broker sent a receipt without a number")?;
        let sent_ns = self.waiting.remove(number);
        let sent_ns =
            sent_ns.with_context(|| format!("the broker sent a second receipt for {number}"))?;
        self.tally.confirm(sent_ns, clock::monotonic_ns());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_may_come_in_any_order_but_once() {
        let mut waiting = Waiting::default();
        let numbers: Vec<u64> = [10, 20, 30].map(|sent| waiting.push(sent)).to_vec();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(waiting.remove(1), Some(20));
        assert_eq!(waiting.remove(1), None);
        assert_eq!(waiting.remove(0), Some(10));
        assert_eq!((waiting.first, waiting.count), (2, 1));
        assert_eq!(waiting.push(40), 3);
        assert_eq!(waiting.remove(7), None);
        assert_eq!(waiting.remove(3), Some(40));
        assert_eq!(waiting.remove(2), Some(30));
        assert_eq!((waiting.first, waiting.count), (4, 0));
    }

    #[test]
    fn a_template_makes_frames_of_the_right_size() {
        let stamp = Stamp {
            run: 1,
            producer: 2,
            sequence: 3,
            sent_ns: 4,
        };
        let mut out = BytesMut::new();
        template("/queue/q", true, 40).write(17, stamp, &mut out);
        let mut decoder =
            replicamq_protocols::stomp::Decoder::new(replicamq_protocols::stomp::Limits::default());
        let frame = decoder.decode(&mut out).unwrap().unwrap();
        assert_eq!(
            (frame.header("receipt"), frame.header("persistent")),
            (Some("17"), Some("true"))
        );
        assert_eq!(frame.body.len(), 40);
        assert_eq!(Stamp::from_body(&frame.body), Some(stamp));
        assert!(out.is_empty());
    }
}
