//! A conversation that outlives its connections.
//!
//! What must arrive is kept until its receipt has come, and is sent again after a
//! failover: in the same order and with the same `message-id`, by which the broker stores
//! it once. Subscriptions are made again. Acknowledgements are not: their deliveries
//! went back with the old connection and come again, marked as redelivered.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::seq::SliceRandom;
use replicamq_protocols::stomp::{Frame, Verb, Version, encode};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connection::{Connection, ConnectionError, Opening};
use super::uri::{BrokerUri, Failover};
use crate::clock;
use crate::config::{Address, Interval};
use crate::terminal;

/// An address that neither answers nor fails for so long does not hold up the next one.
const STAGGER: Duration = Duration::from_millis(50);
/// A broker that refuses CONNECT so often means it.
const REFUSALS_MAX: u32 = 3;
/// After so long without a broker the user is told.
const REMARK_AFTER: Duration = Duration::from_secs(2);
/// How long a farewell may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What happened on a session.
#[derive(Debug)]
pub(crate) enum Event {
    /// The frame that was sent under this number is safe.
    Receipt(u64),
    /// A delivery.
    Message(Frame),
    /// The connection was lost and there is a new one. Deliveries that were not yet
    /// acknowledged come again; what must arrive has been sent again.
    Reconnected,
}

/// Why a session cannot go on.
#[derive(Debug, Error)]
pub(crate) enum SessionError {
    #[error("no broker at {tried}")]
    NoBroker {
        /// Every address, with what it answered, but the last.
        tried: String,
        source: ConnectionError,
    },
    #[error("no broker within {}: {tried}", Interval(*.after))]
    NoBrokerYet {
        after: Duration,
        /// Every address, with what it answered last.
        tried: String,
    },
    #[error("{address}")]
    Lost {
        address: Address,
        source: ConnectionError,
    },
    #[error(
        "{address} speaks STOMP {now}, the broker before it spoke {before}: what was not yet acknowledged cannot be sent again"
    )]
    OtherVersion {
        address: Address,
        before: Version,
        now: Version,
    },
}

/// A subscription, to be made on every connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    pub(crate) destination: String,
    /// `auto`, `client` or `client-individual`.
    pub(crate) ack: &'static str,
    pub(crate) prefetch: u32,
    pub(crate) browse: bool,
    pub(crate) durable: Option<String>,
}

impl Subscription {
    fn frame(&self) -> Frame {
        let mut frame = Frame::new(Verb::Subscribe)
            .with("id", &self.id)
            .with("destination", &self.destination)
            .with("ack", self.ack)
            .with("activemq.prefetchSize", &self.prefetch.to_string());
        if self.browse {
            frame.push("browser", "true");
        }
        if let Some(name) = &self.durable {
            frame.push("activemq.subscriptionName", name);
        }
        frame
    }
}

/// One conversation, over as many connections as it takes.
#[derive(Debug)]
pub(crate) struct Session {
    uri: BrokerUri,
    opening: Opening,
    /// `None` only between a loss and the end of [`Session::next`].
    connection: Option<Connection>,
    /// Of the connection that there is, or was.
    version: Version,
    /// Where in the list of addresses to begin.
    first: usize,
    /// The last number given to a frame that must arrive.
    last: u64,
    /// What must arrive and has no receipt, by number. Invariant: in the order sent.
    unsafe_yet: BTreeMap<u64, Bytes>,
    subscriptions: Vec<Subscription>,
    scratch: BytesMut,
}

impl Session {
    /// Finds a broker and connects, however long it takes.
    pub(crate) async fn open(uri: BrokerUri, opening: Opening) -> Result<Self, SessionError> {
        Self::open_within(uri, opening, None).await
    }

    /// Finds a broker and connects, unless that takes longer than `limit`.
    pub(crate) async fn open_within(
        uri: BrokerUri,
        opening: Opening,
        limit: Option<Duration>,
    ) -> Result<Self, SessionError> {
        let mut session = Self {
            first: 0,
            uri,
            opening,
            connection: None,
            version: Version::V1_2,
            last: 0,
            unsafe_yet: BTreeMap::new(),
            subscriptions: Vec::new(),
            scratch: BytesMut::new(),
        };
        if session
            .uri
            .failover
            .as_ref()
            .is_some_and(|failover| failover.randomize)
        {
            session.uri.addresses.shuffle(&mut rand::rng());
        }
        let attempts_max = session.uri.failover.as_ref().map_or(Some(1), |failover| {
            failover.startup_attempts_max.or(failover.attempts_max)
        });
        session.connect(attempts_max, limit).await?;
        Ok(session)
    }

    /// The connection alone, for those who want no second one.
    pub(crate) fn into_connection(self) -> Connection {
        self.connection.expect("a session is opened with one")
    }

    /// The broker that the session speaks to, or spoke to last.
    pub(crate) fn address(&self) -> &Address {
        &self.uri.addresses[self.first]
    }

    /// Whether there is a broker at present.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// How many frames wait for their receipts.
    pub(crate) fn unsafe_len(&self) -> usize {
        self.unsafe_yet.len()
    }

    /// Bytes that wait for the socket.
    pub(crate) fn unsent(&self) -> usize {
        self.connection.as_ref().map_or(0, Connection::unsent)
    }

    /// Sends a frame that must arrive. [`Event::Receipt`] with the number returned says that it is safe.
    pub(crate) fn send_safely(&mut self, frame: Frame) -> u64 {
        self.last += 1;
        let number = self.last;
        let frame = frame.with("receipt", &number.to_string());
        self.write_safely(number, &[frame]);
        number
    }

    /// Sends frames as one transaction, which must arrive; one receipt for all.
    pub(crate) fn send_transaction(&mut self, frames: Vec<Frame>) -> u64 {
        self.last += 1;
        let number = self.last;
        let name = format!("tx-{number}");
        let mut all = vec![Frame::new(Verb::Begin).with("transaction", &name)];
        all.extend(
            frames
                .into_iter()
                .map(|frame| frame.with("transaction", &name)),
        );
        let commit = Frame::new(Verb::Commit).with("transaction", &name);
        all.push(commit.with("receipt", &number.to_string()));
        self.write_safely(number, &all);
        number
    }

    fn write_safely(&mut self, number: u64, frames: &[Frame]) {
        for frame in frames {
            encode(frame, self.version, &mut self.scratch);
        }
        let bytes = self.scratch.split().freeze();
        if let Some(connection) = &mut self.connection {
            connection.writer().1.extend_from_slice(&bytes);
        }
        self.unsafe_yet.insert(number, bytes);
    }

    /// Sends a frame once: it is lost with the connection.
    pub(crate) fn send_once(&mut self, frame: &Frame) {
        if let Some(connection) = &mut self.connection {
            let version = connection.version();
            encode(frame, version, connection.writer().1);
        }
    }

    /// Asks for an answer on this connection: [`Event::Receipt`] with the number returned,
    /// unless the connection is lost before.
    pub(crate) fn send_once_with_receipt(&mut self, frame: Frame) -> u64 {
        self.last += 1;
        self.send_once(&frame.with("receipt", &self.last.to_string()));
        self.last
    }

    /// Acknowledges a delivery, in the way of the version.
    pub(crate) fn acknowledge(&mut self, message: &Frame, transaction: Option<&str>) -> u64 {
        let ack = acknowledgement(message, self.version, transaction);
        self.send_once_with_receipt(ack)
    }

    /// Begins to receive, on this connection and on those after it.
    pub(crate) fn subscribe(&mut self, subscription: Subscription) {
        self.send_once(&subscription.frame());
        self.subscriptions.push(subscription);
    }

    /// Waits until everything written so far has left, on whatever connection.
    pub(crate) async fn flush(&mut self) -> Result<(), SessionError> {
        while let Some(connection) = &mut self.connection {
            match connection.flush().await {
                Ok(()) => return Ok(()),
                Err(error) => self.recover(error).await?,
            }
        }
        self.reconnect().await
    }

    /// The next thing that happens; sends what waits meanwhile. Dropped while a
    /// new broker is looked for, it begins anew when called again.
    pub(crate) async fn next(&mut self) -> Result<Event, SessionError> {
        let mut frame = Frame::new(Verb::Message);
        loop {
            let Some(connection) = &mut self.connection else {
                self.reconnect().await?;
                return Ok(Event::Reconnected);
            };
            match connection.receive(&mut frame).await {
                Ok(()) => {}
                Err(error) => {
                    self.recover(error).await?;
                    return Ok(Event::Reconnected);
                }
            }
            match frame.verb {
                Verb::Message => return Ok(Event::Message(frame)),
                Verb::Receipt => {
                    let number = frame.header("receipt-id").and_then(|id| id.parse().ok());
                    if let Some(number) = number {
                        self.unsafe_yet.remove(&number);
                        return Ok(Event::Receipt(number));
                    }
                }
                // Nothing else is expected of a broker, and nothing else matters.
                _ => {}
            }
        }
    }

    /// Ends the conversation once the broker has done all that was asked. What it did
    /// not do by then stays in `unsafe_len`.
    pub(crate) async fn close(mut self) -> Result<(), SessionError> {
        if self.connection.is_none() {
            return Ok(());
        }
        let receipt = self.send_once_with_receipt(Frame::new(Verb::Disconnect));
        let farewell = async {
            loop {
                match self.next().await? {
                    // The old connection is gone, and with it the need to end it.
                    Event::Receipt(number) if number == receipt => return Ok(()),
                    Event::Reconnected => return Ok(()),
                    Event::Receipt(_) | Event::Message(_) => {}
                }
            }
        };
        match timeout(CLOSE_TIMEOUT, farewell).await {
            Ok(Err(SessionError::Lost {
                source: ConnectionError::Closed,
                ..
            }))
            | Err(_) => Ok(()),
            Ok(result) => result,
        }
    }

    /// After a loss: another connection, if the URI allows one and the broker did not say no.
    async fn recover(&mut self, error: ConnectionError) -> Result<(), SessionError> {
        let address = self.address().clone();
        self.connection = None;
        let fatal = matches!(error, ConnectionError::Refused { .. });
        if fatal || self.uri.failover.is_none() {
            return Err(SessionError::Lost {
                address,
                source: error,
            });
        }
        self.first = (self.first + 1) % self.uri.addresses.len();
        self.reconnect().await
    }

    async fn reconnect(&mut self) -> Result<(), SessionError> {
        let failover = self.uri.failover.as_ref();
        let attempts_max = failover.map_or(Some(1), |failover| failover.attempts_max);
        let before = self.version;
        self.connect(attempts_max, None).await?;
        let now = self.version;
        if before != now && !self.unsafe_yet.is_empty() {
            let address = self.address().clone();
            return Err(SessionError::OtherVersion {
                address,
                before,
                now,
            });
        }
        let subscriptions = self.subscriptions.clone();
        for subscription in &subscriptions {
            self.send_once(&subscription.frame());
        }
        let connection = self.connection.as_mut().expect("it was just made");
        let (_, output) = connection.writer();
        for bytes in self.unsafe_yet.values() {
            output.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Pursues every address at once, so that a broker which hesitates holds up none of
    /// the others. Replicas refuse at once; only a master answers.
    async fn connect(
        &mut self,
        attempts_max: Option<u32>,
        limit: Option<Duration>,
    ) -> Result<(), SessionError> {
        let addresses = &self.uri.addresses;
        let count = addresses.len();
        let answered: Vec<_> = (0..count).map(|_| Mutex::new(None)).collect();
        let pursuit = Pursuit {
            opening: &self.opening,
            failover: &self.uri.failover.clone().unwrap_or_default(),
            attempts_max,
        };
        let failed = watch::Sender::new(0);
        let mut attempts: FuturesUnordered<_> = (0..count)
            .map(|rank| {
                let index = (self.first + rank) % count;
                let (address, failed) = (&addresses[index], &failed);
                let answered = &answered[index];
                async move {
                    let mut seen = failed.subscribe();
                    let lead = STAGGER * u32::try_from(rank).expect("the list has a limit");
                    // As soon as all before it have failed once, or hesitate.
                    let turn = timeout(lead, seen.wait_for(|count| *count >= rank)).await;
                    drop(turn);
                    (index, pursuit.pursue(address, failed, answered).await)
                }
            })
            .collect();
        let mut failures = Vec::new();
        let mut remark = pin!(sleep(REMARK_AFTER));
        let mut late = pin!(sleep(limit.unwrap_or_default()));
        let mut told = false;
        let found = loop {
            tokio::select! {
                attempt = attempts.next() => match attempt {
                    Some((index, Ok(connection))) => break Some((index, connection)),
                    Some((index, Err(error))) => failures.push((addresses[index].clone(), error)),
                    None => break None,
                },
                () = &mut remark, if !told => {
                    told = true;
                    terminal::remark(&format!("waiting for a broker at {}", self.uri));
                }
                () = &mut late, if limit.is_some() => {
                    drop(attempts);
                    return Err(SessionError::NoBrokerYet {
                        after: limit.unwrap_or_default(),
                        tried: not_yet(addresses, answered, failures),
                    });
                }
            }
        };
        drop(attempts);
        let Some((index, connection)) = found else {
            return Err(no_broker(failures));
        };
        self.first = index;
        self.version = connection.version();
        self.connection = Some(connection);
        Ok(())
    }
}

/// How every address is tried.
#[derive(Clone, Copy)]
struct Pursuit<'p> {
    opening: &'p Opening,
    failover: &'p Failover,
    attempts_max: Option<u32>,
}

impl Pursuit<'_> {
    /// Tries one address until it answers, or the attempts or the time are over. What it
    /// answered last is left for whoever does not wait for the end.
    async fn pursue(
        self,
        address: &Address,
        failed: &watch::Sender<usize>,
        answered: &Mutex<Option<ConnectionError>>,
    ) -> Result<Connection, ConnectionError> {
        let began_ms = clock::monotonic_ms();
        let mut delay = self.failover.delay_initial;
        let mut refusals = 0;
        for attempt in 1_u32.. {
            let error = match Connection::open(address, self.opening).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if attempt == 1 {
                failed.send_modify(|count| *count += 1);
            }
            refusals += u32::from(matches!(error, ConnectionError::Refused { .. }));
            let waited = Duration::from_millis(clock::monotonic_ms() - began_ms);
            let out_of_time = self.failover.timeout.is_some_and(|limit| waited >= limit);
            let out_of_attempts = self.attempts_max.is_some_and(|limit| attempt >= limit);
            if out_of_time || out_of_attempts || refusals >= REFUSALS_MAX {
                return Err(error);
            }
            *answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            sleep(delay).await;
            delay = self.failover.delay_after(delay);
        }
        unreachable!("a range without an end has none")
    }
}

fn acknowledgement(message: &Frame, version: Version, transaction: Option<&str>) -> Frame {
    let header = |name| message.header(name).unwrap_or_default();
    let mut ack = Frame::new(Verb::Ack);
    match version {
        Version::V1_2 => ack.push("id", header("ack")),
        Version::V1_0 | Version::V1_1 => {
            ack.push("message-id", header("message-id"));
            ack.push("subscription", header("subscription"));
        }
    }
    if let Some(transaction) = transaction {
        ack.push("transaction", transaction);
    }
    ack
}

/// Every address with what it answered last, or that it has not yet.
fn not_yet(
    addresses: &[Address],
    answered: Vec<Mutex<Option<ConnectionError>>>,
    failures: Vec<(Address, ConnectionError)>,
) -> String {
    let mut ended: BTreeMap<Address, ConnectionError> = failures.into_iter().collect();
    let words = addresses.iter().zip(answered).map(|(address, answered)| {
        let answered = answered
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match ended.remove(address).or(answered) {
            Some(error) => format!("{address} ({:#})", anyhow::Error::new(error)),
            None => format!("{address} (no answer)"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Every address with what it answered.
fn no_broker(mut failures: Vec<(Address, ConnectionError)>) -> SessionError {
    let (last, source) = failures.pop().expect("a list of addresses is not empty");
    let mut tried = String::new();
    for (address, error) in failures {
        let error = anyhow::Error::new(error);
        write!(tried, "{address} ({error:#}), ").expect("a string grows");
    }
    tried.push_str(&last.to_string());
    SessionError::NoBroker { tried, source }
}

#[cfg(test)]
#[path = "session_test.rs"]
mod tests;
