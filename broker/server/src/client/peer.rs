//! A broker's end of a connection, for tests: it does what a test says.

use bytes::BytesMut;
use replicamq_protocols::stomp::{Decoder, Frame, Limits, Verb, Version, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One accepted connection of a broker that does what a test says.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
}

impl Peer {
    /// The next connection that its client does not give up for another one's sake.
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        loop {
            match Self::accept_one(listener).await {
                Some(peer) if peer.stream.peek(&mut [0]).await.unwrap_or(0) > 0 => return peer,
                _given_up => {}
            }
        }
    }

    pub(crate) async fn accept_one(listener: &TcpListener) -> Option<Self> {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Self {
            stream,
            decoder: Decoder::new(Limits::default()),
            input: BytesMut::new(),
        };
        assert_eq!(peer.try_read().await?.verb, Verb::Connect);
        peer.decoder.set_version(Version::V1_2);
        peer.write(&Frame::new(Verb::Connected).with("version", "1.2"))
            .await;
        Some(peer)
    }

    pub(crate) async fn read(&mut self) -> Frame {
        self.try_read().await.expect("the client stays")
    }

    pub(crate) async fn try_read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.input).unwrap() {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn write(&mut self, frame: &Frame) {
        self.write_all(std::slice::from_ref(frame)).await;
    }

    /// Frames that leave together.
    pub(crate) async fn write_all(&mut self, frames: &[Frame]) {
        let mut out = BytesMut::new();
        for frame in frames {
            encode(frame, Version::V1_2, &mut out);
        }
        self.stream.write_all(&out).await.unwrap();
    }

    pub(crate) async fn receipt(&mut self, of: &Frame) {
        let id = of.header("receipt").unwrap();
        self.write(&Frame::new(Verb::Receipt).with("receipt-id", id))
            .await;
    }
}
