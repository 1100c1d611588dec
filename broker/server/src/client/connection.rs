//! One socket to one broker: frames out, frames in, signs of life.
//!
//! Nothing is sent or read but inside [`Connection::receive`] and [`Connection::flush`];
//! whatever was written between two of these calls leaves in one piece.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use replicamq_protocols::stomp::client::{Client, ClientError, Connecting};
use replicamq_protocols::stomp::{Frame, HeartBeat, Limits, Verb, Version};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::config::Address;

/// Room to read into; several frames of the usual size.
const READ_BYTES: usize = 64 * 1024;
/// Memory that one large frame took is given back above this.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// This client takes more than this broker holds in one message: others hold larger ones.
const BODY_BYTES_MAX: usize = 256 << 20;

/// A broker that takes nothing any more has said why, or will not: its answer is here already.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a broker may take to answer DISCONNECT.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// How to open a connection.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) login: Option<String>,
    pub(crate) passcode: Option<String>,
    pub(crate) client_id: Option<String>,
    /// Offered in both directions; zero: none.
    pub(crate) heart_beat: Duration,
    /// For the TCP connection and for the answer to CONNECT, together.
    pub(crate) timeout: Duration,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            login: None,
            passcode: None,
            client_id: None,
            heart_beat: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
        }
    }
}

/// Why there is no connection, or none any more.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error("connect")]
    Unreachable(#[source] io::Error),
    #[error("no answer to CONNECT within {} ms", .after.as_millis())]
    Unanswered { after: Duration },
    #[error("the broker closed the connection")]
    Closed,
    /// Whoever listens there waits for something else than CONNECT.
    #[error(
        "closed without an answer to CONNECT: is this the broker's `stomp` address, and not its `bind` or `admin`?"
    )]
    ClosedAtOnce,
    #[error(
        "it speaks HTTP, not STOMP: name the broker's `stomp` address (port 61613 by default), not its `bind` (61619) or `admin` (8161)"
    )]
    Http,
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error(transparent)]
    Protocol(#[from] ClientError),
    /// The broker says that this client is in the wrong.
    #[error("the broker refused: {reason}")]
    Refused { reason: String },
}

/// One STOMP conversation over one socket.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: Address,
    stream: TcpStream,
    client: Client,
    input: BytesMut,
    output: BytesMut,
    /// Why nothing can be sent any more.
    deaf: Option<io::Error>,
}

impl Connection {
    /// Connects and waits for CONNECTED.
    pub(crate) async fn open(
        address: &Address,
        opening: &Opening,
    ) -> Result<Self, ConnectionError> {
        let after = opening.timeout;
        let mut connection = timeout(after, Self::handshake(address, opening))
            .await
            .map_err(|_| ConnectionError::Unanswered { after })??;
        connection.address = address.clone();
        Ok(connection)
    }

    async fn handshake(address: &Address, opening: &Opening) -> Result<Self, ConnectionError> {
        let stream = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(ConnectionError::Unreachable)?;
        stream
            .set_nodelay(true)
            .map_err(ConnectionError::Unreachable)?;
        let mut output = BytesMut::new();
        let client = Client::connect(
            &connecting(address, opening),
            clock::monotonic_ms(),
            &mut output,
        );
        let mut connection = Self {
            address: address.clone(),
            stream,
            client,
            input: BytesMut::with_capacity(READ_BYTES),
            output,
            deaf: None,
        };
        while connection.input.is_empty() {
            connection.exchange().await.map_err(|error| match error {
                ConnectionError::Closed | ConnectionError::Broken(_) => {
                    ConnectionError::ClosedAtOnce
                }
                error => error,
            })?;
        }
        if is_http(&connection.input) {
            return Err(ConnectionError::Http);
        }
        let mut frame = Frame::new(Verb::Connected);
        connection.receive(&mut frame).await?;
        match frame.verb {
            Verb::Connected => Ok(connection),
            _ => Err(ConnectionError::Refused {
                reason: format!("it answered CONNECT with {}", frame.verb),
            }),
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.client.version()
    }

    /// What encodes frames, and where they go.
    pub(crate) fn writer(&mut self) -> (&Client, &mut BytesMut) {
        (&self.client, &mut self.output)
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.output.len()
    }

    /// The next frame, if it has been read already. An ERROR frame is an error.
    pub(crate) fn received(&mut self, frame: &mut Frame) -> Result<bool, ConnectionError> {
        let now = clock::monotonic_ms();
        if !self.client.receive(&mut self.input, now, frame)? {
            return Ok(false);
        }
        if frame.verb == Verb::Error {
            return Err(ConnectionError::Refused {
                reason: reason(frame),
            });
        }
        Ok(true)
    }

    /// Sends what waits and answers with the next frame. May be dropped at any time.
    pub(crate) async fn receive(&mut self, frame: &mut Frame) -> Result<(), ConnectionError> {
        while !self.received(frame)? {
            self.exchange().await?;
        }
        Ok(())
    }

    /// Waits until bytes came or went, or a sign of life is due. May be dropped at any time.
    pub(crate) async fn exchange(&mut self) -> Result<(), ConnectionError> {
        if self.deaf.is_some() {
            return self.hear_out().await;
        }
        let now = clock::monotonic_ms();
        let due = self.client.tick(now, &mut self.output)?;
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        let (mut reader, mut writer) = self.stream.split();
        let unsent = !self.output.is_empty();
        let pause = due.map(|due| Duration::from_millis(due.saturating_sub(now).max(1)));
        tokio::select! {
            biased;
            // Cancelled, a read or a write has moved no bytes.
            written = writer.write_buf(&mut self.output), if unsent => match written {
                Ok(_) => self.give_back_memory(),
                Err(error) => self.deaf = Some(error),
            },
            read = reader.read_buf(&mut self.input) => match read {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(_) => {}
                Err(error) => return Err(ConnectionError::Broken(error)),
            },
            () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
        Ok(())
    }

    /// Reads on after a failed write: the broker may have said why it takes no more.
    async fn hear_out(&mut self) -> Result<(), ConnectionError> {
        self.input.reserve(READ_BYTES);
        let read = timeout(LAST_WORD_TIMEOUT, self.stream.read_buf(&mut self.input));
        if let Ok(Ok(1..)) = read.await {
            return Ok(());
        }
        let error = self.deaf.take().expect("a write failed before");
        Err(ConnectionError::Broken(error))
    }

    /// Sends everything that waits. Reads meanwhile: a broker that waits for us to
    /// read would otherwise wait forever.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectionError> {
        while !self.output.is_empty() {
            if let Err(error) = self.exchange().await {
                // What else came is lost with the connection, but not why it is lost.
                let mut frame = Frame::new(Verb::Error);
                while self.received(&mut frame)? {}
                return Err(error);
            }
        }
        Ok(())
    }

    /// Says goodbye and waits until the broker has done everything that was asked.
    pub(crate) async fn end(mut self) -> Result<(), ConnectionError> {
        const FAREWELL: &str = "farewell";
        self.client.disconnect(Some(FAREWELL), &mut self.output);
        let mut frame = Frame::new(Verb::Receipt);
        let answered = async {
            loop {
                match self.receive(&mut frame).await {
                    Ok(()) if frame.header("receipt-id") == Some(FAREWELL) => return Ok(()),
                    Ok(()) => {}
                    // A broker may close before its last receipt has left.
                    Err(ConnectionError::Closed | ConnectionError::Broken(_)) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        timeout(FAREWELL_TIMEOUT, answered).await.unwrap_or(Ok(()))
    }

    fn give_back_memory(&mut self) {
        if self.output.is_empty() && self.output.capacity() > KEPT_BYTES_MAX {
            self.output = BytesMut::new();
        }
    }
}

/// A server of HTTP/2, such as gRPC's, begins with a SETTINGS frame of the connection: nine
/// bytes, of which three are a small length and four the number of no stream. One of HTTP/1
/// complains in text.
fn is_http(input: &[u8]) -> bool {
    const SETTINGS: u8 = 4;
    let is_settings =
        |head: &[u8; 9]| head[0] == 0 && head[3] == SETTINGS && head[4] <= 1 && head[5..] == [0; 4];
    input.first_chunk().is_some_and(is_settings) || input.starts_with(b"HTTP/")
}

fn connecting<'a>(address: &'a Address, opening: &'a Opening) -> Connecting<'a> {
    let beat_ms = u64::try_from(opening.heart_beat.as_millis()).unwrap_or(u64::MAX);
    Connecting {
        host: &address.host,
        login: opening.login.as_deref(),
        passcode: opening.passcode.as_deref(),
        client_id: opening.client_id.as_deref(),
        heart_beat: HeartBeat {
            send_ms: beat_ms,
            receive_ms: beat_ms,
        },
        limits: Limits {
            body_bytes_max: BODY_BYTES_MAX,
            ..Limits::default()
        },
        ..Connecting::default()
    }
}

/// What an ERROR frame says: its message header, and the body if that says more.
fn reason(frame: &Frame) -> String {
    let message = frame.header("message").unwrap_or_default().trim();
    let body = String::from_utf8_lossy(&frame.body);
    let first_line = body.lines().next().unwrap_or_default().trim();
    match (message, first_line) {
        ("", "") => "it gave no reason".to_owned(),
        (message, "") => message.to_owned(),
        ("", line) => line.to_owned(),
        (message, line) if line.contains(message) => line.to_owned(),
        (message, line) => format!("{message}: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_frame_is_told_in_one_line() {
        let error = |message: &str, body: &str| {
            let frame = Frame::new(Verb::Error).with("message", message);
            reason(&frame.with_body(body.to_owned()))
        };
        assert_eq!(error("no such thing", ""), "no such thing");
        assert_eq!(error("no", "no such thing\n  at line 1"), "no such thing");
        assert_eq!(error("bad frame", "line 7"), "bad frame: line 7");
        assert_eq!(error("", ""), "it gave no reason");
    }
}
