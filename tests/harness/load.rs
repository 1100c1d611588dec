//! A producer that fails over, the consumer that takes stock, and what must match.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::stomp::{Client, Frame};
use crate::wait;

/// Sends whose receipts have not come yet.
const IN_FLIGHT_MAX: usize = 16;

/// Between two bunches: the machine has other things to do.
const PACE: Duration = Duration::from_millis(2);

/// The last message of a stock-taking.
const LAST: &str = "the last one";

/// Numbered persistent messages to a queue, in order, each with a receipt and an id of its
/// own, sent again after a failover until they are acknowledged.
#[derive(Debug)]
pub struct Load {
    queue: String,
    addresses: Vec<SocketAddr>,
    acknowledged: Arc<AtomicU64>,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<u64>,
}

impl Load {
    /// Begins to send.
    pub fn start(addresses: &[SocketAddr], queue: &str) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let producer = Producer {
            addresses: addresses.to_vec(),
            queue: queue.to_owned(),
            acknowledged: Arc::clone(&acknowledged),
            waiting: VecDeque::new(),
            next: 0,
        };
        Self {
            queue: queue.to_owned(),
            addresses: addresses.to_vec(),
            acknowledged,
            stop,
            thread: std::thread::spawn(move || producer.run(&stopped)),
        }
    }

    /// How many sends are safe.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more sends are safe: somebody is being served.
    #[track_caller]
    pub fn goes_on(&self, more: u64) {
        let wanted = self.acknowledged() + more;
        wait::until(
            &format!("{more} more sends to {} are safe", self.queue),
            || (self.acknowledged() >= wanted).then_some(()),
        );
    }

    /// Stops sending, waits for the last receipt, and takes stock: the queue holds every
    /// message once and in order.
    #[track_caller]
    pub fn nothing_is_lost(self) {
        drop(self.stop);
        let sent = self.thread.join().expect("the producer does not fail");
        let received = take_all(&self.addresses, &self.queue);
        let mut expected = 0;
        for (at, frame) in received.iter().enumerate() {
            let body = frame.text();
            assert_eq!(body, format!("message {expected}"), "number {at} of {sent}");
            expected += 1;
        }
        assert_eq!(expected, sent, "received and sent");
    }
}

struct Producer {
    addresses: Vec<SocketAddr>,
    queue: String,
    acknowledged: Arc<AtomicU64>,
    waiting: VecDeque<u64>,
    next: u64,
}

impl Producer {
    fn run(mut self, stopped: &mpsc::Receiver<()>) -> u64 {
        let mut going = true;
        while going || !self.waiting.is_empty() {
            let mut client = connect(&self.addresses);
            // Whatever happens to this connection: the next one repeats what waits.
            drop(self.converse(&mut client, stopped, &mut going));
        }
        self.next
    }

    fn converse(
        &mut self,
        client: &mut Client,
        stopped: &mpsc::Receiver<()>,
        going: &mut bool,
    ) -> io::Result<()> {
        for number in self.waiting.clone() {
            self.put(client, number);
        }
        while *going || !self.waiting.is_empty() {
            while *going && self.waiting.len() < IN_FLIGHT_MAX {
                self.put(client, self.next);
                self.waiting.push_back(self.next);
                self.next += 1;
            }
            client.flush()?;
            let half = if *going { IN_FLIGHT_MAX / 2 } else { 0 };
            while self.waiting.len() > half {
                self.take_receipt(&client.read()?)?;
            }
            *going &= stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout);
        }
        Ok(())
    }

    fn put(&self, client: &mut Client, number: u64) {
        let number = number.to_string();
        let id = format!("{}-{number}", self.queue);
        let headers = [
            ("destination", self.queue.as_str()),
            ("persistent", "true"),
            ("message-id", &id),
            ("receipt", &number),
        ];
        client.write("SEND", &headers, &format!("message {number}"));
    }

    fn take_receipt(&mut self, frame: &Frame) -> io::Result<()> {
        let number = frame.header("receipt-id").parse::<u64>();
        let (true, Ok(number)) = (frame.command == "RECEIPT", number) else {
            return Err(io::Error::other(format!("a producer got {frame:?}")));
        };
        let before = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != number);
        let done = u64::try_from(before - self.waiting.len()).expect("at most one");
        self.acknowledged.fetch_add(done, Ordering::Relaxed);
        Ok(())
    }
}

/// A connection to whichever node is master now.
#[track_caller]
pub fn connect(addresses: &[SocketAddr]) -> Client {
    wait::until("a node takes clients", || {
        let mut all = addresses.iter();
        all.find_map(|address| Client::connect(*address).ok())
    })
}

/// Everything that waits in a queue, in its order, acknowledged.
#[track_caller]
pub fn take_all(addresses: &[SocketAddr], queue: &str) -> Vec<Frame> {
    let mut client = connect(addresses);
    client.send(queue, LAST).expect("the cluster is well");
    client.subscribe(queue).expect("the cluster is well");
    client.wait_at_most(wait::PATIENCE);
    let mut frames = Vec::new();
    loop {
        let frame = client.read().expect("what was sent comes back");
        assert_eq!(frame.command, "MESSAGE", "{frame:?}");
        if frame.text() == LAST {
            client.acknowledge(&frame).expect("the cluster is well");
            return frames;
        }
        client.acknowledge_later(&frame);
        client.flush().expect("the cluster is well");
        frames.push(frame);
    }
}
