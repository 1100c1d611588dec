//! A plain STOMP 1.2 client on a blocking socket, with a codec of its own: it shares
//! nothing with the broker's, so that no mistake can be made twice.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A broker that says nothing for so long is taken for dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(2);

/// A listening port of this machine answers in no time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// MESSAGE, RECEIPT, ERROR, …
    pub command: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Frame {
    /// A header's first value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    receipts: u64,
}

impl Client {
    /// Connects, and waits for CONNECTED.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_within(address, SILENCE_MAX)
    }

    /// The same for a client that waits longer or shorter, also later on.
    pub fn connect_within(address: SocketAddr, silence: Duration) -> io::Result<Self> {
        let mut client = Self::open(address)?;
        client.wait_at_most(silence);
        client.write("CONNECT", &[("accept-version", "1.2"), ("host", "/")], "");
        client.flush()?;
        let answer = client.read()?;
        if answer.command == "CONNECTED" {
            Ok(client)
        } else {
            Err(io::Error::other(format!("CONNECT got {answer:?}")))
        }
    }

    /// A connection on which nothing has been said.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            receipts: 0,
        })
    }

    /// How long a read waits.
    pub fn wait_at_most(&self, time: Duration) {
        self.stream
            .set_read_timeout(Some(time))
            .expect("the time is not zero");
    }

    /// The socket, to do to it what no client would.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Puts a frame behind what waits to be flushed.
    pub fn write(&mut self, command: &str, headers: &[(&str, &str)], body: &str) {
        self.output.extend_from_slice(command.as_bytes());
        self.output.push(b'\n');
        for (name, value) in headers {
            self.output
                .extend_from_slice(format!("{name}:{value}\n").as_bytes());
        }
        self.output.push(b'\n');
        self.output.extend_from_slice(body.as_bytes());
        self.output.push(0);
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// The next frame.
    pub fn read(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(frame);
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks with a receipt, and waits for it. Other frames on the way are lost.
    pub fn ask(&mut self, command: &str, headers: &[(&str, &str)], body: &str) -> io::Result<()> {
        self.receipts += 1;
        let receipt = format!("asked-{}", self.receipts);
        let mut all = headers.to_vec();
        all.push(("receipt", &receipt));
        self.write(command, &all, body);
        self.flush()?;
        loop {
            let frame = self.read()?;
            match frame.command.as_str() {
                "RECEIPT" if frame.header("receipt-id") == receipt => return Ok(()),
                "ERROR" => return Err(io::Error::other(format!("{command} got {frame:?}"))),
                _ => {}
            }
        }
    }

    /// Sends a persistent message; it is safe when this returns.
    pub fn send(&mut self, queue: &str, body: &str) -> io::Result<()> {
        let headers = [("destination", queue), ("persistent", "true")];
        self.ask("SEND", &headers, body)
    }

    /// Subscribes with `client-individual`.
    pub fn subscribe(&mut self, queue: &str) -> io::Result<()> {
        let headers = [
            ("id", "0"),
            ("destination", queue),
            ("ack", "client-individual"),
        ];
        self.write("SUBSCRIBE", &headers, "");
        self.flush()
    }

    /// Acknowledges a MESSAGE, and returns when that is safe.
    pub fn acknowledge(&mut self, message: &Frame) -> io::Result<()> {
        self.ask("ACK", &[("id", message.header("ack"))], "")
    }

    /// Acknowledges a MESSAGE at some time.
    pub fn acknowledge_later(&mut self, message: &Frame) {
        self.write("ACK", &[("id", message.header("ack"))], "");
    }

    /// Reads until the broker hangs up: everything it still said.
    pub fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Ok(frame) = self.read() {
            frames.push(frame);
        }
        frames
    }

    /// Cuts a frame from the input, if one is complete.
    fn take(&mut self) -> Option<Frame> {
        let idle = self.input.iter().take_while(|byte| **byte == b'\n').count();
        self.input.drain(..idle);
        let head = find(&self.input, b"\n\n")?;
        let text = String::from_utf8_lossy(&self.input[..head]).into_owned();
        let mut lines = text.lines();
        let command = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (unescape(name), unescape(value)))
            .collect();
        let from = head + 2;
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = match length {
            Some((_, length)) => length.parse().expect("the broker counts its bodies"),
            None => find(&self.input[from..], b"\0")?,
        };
        if self.input.len() <= from + length {
            return None;
        }
        let body = self.input[from..from + length].to_vec();
        self.input.drain(..=from + length);
        Some(Frame {
            command,
            headers,
            body,
        })
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\c", ":")
        .replace("\\\\", "\\")
}
