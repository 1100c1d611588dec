//! Clients beyond `connections_max`: each is told why, and none is waited for.
//!
//! What is said fits into the buffer of a fresh socket and goes there at once. The
//! socket is then closed in good order, for a bounded number of clients at a time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use replicamq_protocols::stomp::{Frame, Verb, Version, encode};
use rustix::net::SendFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::clock;

/// Refused clients whose sockets are still open; those beyond it are cut off behind
/// the last word.
const LEAVING_MAX: usize = 64;

/// For so long a refused client may take to hang up.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(1);

/// The log tells of refusals at most this often: clients come again at once.
const TELL_EVERY_MS: u64 = 1_000;

/// What a refused client sends is read in pieces of this size, to be thrown away.
const UNHEARD_BYTES: usize = 1 << 10;

/// The clients that are being refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// The ERROR that each of them gets.
    error: Bytes,
    leaving: JoinSet<()>,
    connections_max: usize,
    /// Refused since the log was told last.
    untold: u64,
    /// When it is told again.
    tell_at_ms: u64,
}

impl Refused {
    pub(super) fn new(connections_max: usize) -> Self {
        let frame = Frame::new(Verb::Error)
            .with("message", "limit reached")
            .with("content-type", "text/plain")
            .with_body(format!(
                "this broker has {connections_max} client connections already, as many as its setting connections_max allows: close others, or raise it"
            ));
        let mut error = BytesMut::new();
        encode(&frame, Version::V1_0, &mut error);
        Self {
            error: error.freeze(),
            leaving: JoinSet::new(),
            connections_max,
            untold: 0,
            tell_at_ms: 0,
        }
    }

    /// Tells a client that there is no room. Never waits for it.
    pub(super) fn refuse(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.untold += 1;
        let now_ms = clock::monotonic_ms();
        if now_ms >= self.tell_at_ms {
            tracing::warn!(
                %peer,
                clients = self.untold,
                connections_max = self.connections_max,
                "refused a client: connections_max is reached"
            );
            self.untold = 0;
            self.tell_at_ms = now_ms + TELL_EVERY_MS;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let told = rustix::net::send(&stream, &self.error, flags);
        // One that is gone already needs no farewell.
        if told.is_ok() && self.leaving.len() < LEAVING_MAX {
            self.leaving.spawn(see_off(stream));
        }
    }

    /// Waits for the next one that is gone; `None` while none is leaving.
    pub(super) async fn gone(&mut self) -> Option<Result<(), tokio::task::JoinError>> {
        self.leaving.join_next().await
    }
}

/// Reads what the client still sends until it hangs up: a socket that is closed over
/// unread bytes is reset, and on some systems the reset takes the last word with it.
async fn see_off(mut stream: TcpStream) {
    let hung_up = async {
        let mut unheard = [0; UNHEARD_BYTES];
        stream.shutdown().await?;
        while stream.read(&mut unheard).await? > 0 {}
        std::io::Result::Ok(())
    };
    // However it went, the socket closes now.
    drop(tokio::time::timeout(LEAVING_TIME_MAX, hung_up).await);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use replicamq_protocols::stomp::SessionConfig;

    use super::*;
    use crate::connection::Settings;
    use crate::listener::{Open, Reserved};
    use crate::run::inbox::inbox;

    /// Connects and says CONNECT, before the listener can do anything: everything in a
    /// test runs on one thread.
    fn client(address: SocketAddr) -> TcpStream {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let connect = b"CONNECT\naccept-version:1.2\nhost:/\n\n\0";
        stream.write_all(connect).unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    }

    /// A port with room for one.
    fn open() -> (SocketAddr, Open, impl Sized) {
        let reserved = Reserved::new("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.address();
        let settings = Arc::new(Settings::new(SessionConfig::default()));
        let (sender, inputs) = inbox();
        let port = reserved.open(1, settings, sender);
        (address, port.unwrap(), inputs)
    }

    async fn rest(mut stream: TcpStream) -> std::io::Result<String> {
        let mut said = Vec::new();
        let told = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said));
        told.await.expect("the broker hangs up")?;
        Ok(String::from_utf8(said).expect("an ERROR is text"))
    }

    #[tokio::test]
    async fn one_too_many_is_told_the_limit_and_whose_it_is() {
        let (address, _port, _inputs) = open();
        let first = client(address);
        let said = rest(client(address)).await.expect("closed in good order");
        assert!(said.starts_with("ERROR\nmessage:limit reached\n"), "{said}");
        assert!(
            said.contains("1 client connections") && said.contains("connections_max"),
            "{said}"
        );
        assert!(said.ends_with('\0'), "{said:?}");
        let mut nothing = [0];
        let early = first.try_read(&mut nothing).unwrap_err();
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_crowd_is_told_and_nobody_waits_for_it() {
        let (address, _port, _inputs) = open();
        let _first = client(address);
        let crowd: Vec<_> = (0..LEAVING_MAX + 20).map(|_| client(address)).collect();
        let mut orderly = 0;
        for stream in crowd {
            match rest(stream).await {
                Ok(said) => {
                    assert!(said.contains("connections_max"), "{said}");
                    orderly += 1;
                }
                // Cut off over what it had sent.
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
        assert!(orderly >= LEAVING_MAX, "{orderly}");
    }
}
