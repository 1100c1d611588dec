//! One client's socket: bytes to the session, commands to the node loop, and back.
//!
//! One task does both directions. It reads no further while the node loop, the
//! session or the client's own reading lags behind: TCP slows the client.

mod room;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use replicamq_core::{ConnectionId, Effect};
use replicamq_protocols::stomp::{Flow, Outputs, Session, SessionConfig};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::clock;
use crate::run::inbox::{InboxSender, OUTBOX_GROUPS_MAX, Retired};
use room::{Budget, Room};

/// Room made before each read.
const READ_BYTES: usize = 16 << 10;

/// Once so much is waiting to be written, it is written before more is encoded.
const WRITE_BYTES: usize = 64 << 10;

/// A larger buffer is given back once it is empty.
const WRITE_KEEP_BYTES: usize = 256 << 10;

/// A client that takes nothing for so long is dropped.
const WRITE_STALL_MAX: Duration = Duration::from_mins(1);

/// What all connections of a port have in common.
#[derive(Debug)]
pub(crate) struct Settings {
    session: Arc<SessionConfig>,
    /// Room for large frames.
    budget: Budget,
}

impl Settings {
    pub(crate) fn new(session: SessionConfig) -> Self {
        Self {
            budget: Budget::new(session.large_frames_bytes_max),
            session: Arc::new(session),
        }
    }
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum End {
    /// The session wished it: DISCONNECT, or an ERROR was sent.
    #[error("closed")]
    Closed,
    #[error("the client hung up")]
    HungUp,
    #[error("the client has read nothing for {} s", WRITE_STALL_MAX.as_secs())]
    Stalled,
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("the node stopped being master")]
    Retired,
}

impl From<Retired> for End {
    fn from(_: Retired) -> Self {
        Self::Retired
    }
}

struct Conversation<'a> {
    stream: TcpStream,
    connection: ConnectionId,
    session: Session,
    inbox: &'a InboxSender,
    outbox: mpsc::Receiver<Vec<Effect>>,
    budget: &'a Budget,
    room: Room,
    input: BytesMut,
    out: Outputs,
}

/// Talks to one client until it or the node has had enough.
pub(crate) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    connection: ConnectionId,
    settings: &Settings,
    inbox: &InboxSender,
) {
    let (sender, outbox) = mpsc::channel(OUTBOX_GROUPS_MAX);
    if inbox.opened(connection, sender).await.is_err() {
        return;
    }
    let id = format!("{}", connection.0);
    let session = Session::new(Arc::clone(&settings.session), id, clock::monotonic_ms());
    let mut conversation = Conversation {
        stream,
        connection,
        session,
        inbox,
        outbox,
        budget: &settings.budget,
        room: Room::Own,
        input: BytesMut::new(),
        out: Outputs::default(),
    };
    let end = conversation.run().await;
    match (conversation.session.fault(), &end) {
        (Some(fault), _) => {
            tracing::warn!(connection = connection.0, %peer, "closed a connection: {fault}");
        }
        (None, Err(end @ (End::Stalled | End::Socket(_)))) => {
            tracing::info!(connection = connection.0, %peer, "lost a client: {end}");
        }
        (None, Ok(()) | Err(End::Closed | End::HungUp | End::Retired)) => {
            tracing::debug!(connection = connection.0, %peer, "a client left");
        }
    }
    // Nobody is left to be told once the node is no longer master.
    drop(inbox.closed(connection).await);
    let stream = conversation.into_stream();
    if matches!(end, Err(End::Closed)) {
        socket::leave(stream).await;
    }
}

impl Conversation<'_> {
    /// Gives up everything but the socket.
    fn into_stream(self) -> TcpStream {
        self.stream
    }

    async fn run(&mut self) -> Result<(), End> {
        socket::prepare(&self.stream)?;
        let mut flow = Flow::Read;
        loop {
            // Each turn looks at the socket and at the clock, so that what is always ready
            // in the wait below keeps neither of them from being seen.
            if flow == Flow::Read && !self.room.is_awaited() {
                self.read()?;
            }
            flow = self.take_input().await?;
            self.make_room(flow);
            self.session
                .tick(clock::monotonic_ms(), &mut self.out.write);
            self.write_out().await?;
            if self.session.is_closing() || flow == Flow::Close {
                return Err(End::Closed);
            }
            self.wait(flow == Flow::Read).await?;
        }
    }

    /// Reads what has come, if anything has; does not wait.
    fn read(&mut self) -> Result<(), End> {
        // Asked first, so that a connection on which nothing comes needs no buffer.
        let Some(ready) = self.stream.readable().now_or_never() else {
            return Ok(());
        };
        ready?;
        let missing = self.session.wanted().saturating_sub(self.input.len());
        self.input.reserve(if self.room.is_given() {
            missing.max(READ_BYTES)
        } else {
            READ_BYTES
        });
        // Polled rather than tried: a short read then counts as having read all there is.
        match self.stream.read_buf(&mut self.input).now_or_never() {
            Some(Ok(0)) => Err(End::HungUp),
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// A large frame is read on only once there is room for all of it.
    fn make_room(&mut self, flow: Flow) {
        if flow == Flow::Read {
            self.room.fit(self.session.room(), self.budget);
        }
        if self.room.is_awaited() {
            self.session.wait_for_room();
        }
    }

    /// Hands over every frame that is complete.
    async fn take_input(&mut self) -> Result<Flow, End> {
        loop {
            let before = self.input.len();
            let flow = self
                .session
                .receive(&mut self.input, clock::monotonic_ms(), &mut self.out);
            let whole = !self.out.commands.is_empty();
            self.hand_over(before.saturating_sub(self.input.len()))
                .await?;
            if whole {
                // The next large frame takes its turn behind those of others.
                self.room = Room::Own;
            }
            if flow != Flow::Full {
                return Ok(flow);
            }
        }
    }

    async fn hand_over(&mut self, bytes: usize) -> Result<(), End> {
        if self.out.commands.is_empty() {
            return Ok(());
        }
        let commands = std::mem::take(&mut self.out.commands);
        self.inbox
            .commands(self.connection, commands, bytes)
            .await?;
        Ok(())
    }

    async fn write_out(&mut self) -> Result<(), End> {
        if self.out.write.is_empty() {
            return Ok(());
        }
        while !self.out.write.is_empty() {
            match self.stream.try_write(&self.out.write) {
                Ok(written) => self.out.write.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::timeout(WRITE_STALL_MAX, self.stream.writable())
                        .await
                        .map_err(|_| End::Stalled)??;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.out.write.capacity() > WRITE_KEEP_BYTES {
            self.out.write = BytesMut::new();
        } else {
            self.out.write.clear();
        }
        self.session.written(&mut self.out.commands);
        self.hand_over(0).await
    }

    /// Waits for the client, the node loop, room or the clock.
    async fn wait(&mut self, read: bool) -> Result<(), End> {
        let read = read && !self.room.is_awaited();
        let deadline = self.session.deadline();
        // Every arm only waits: a channel, a place in a queue, readiness, a timer.
        // Cancelled, none loses anything.
        tokio::select! {
            biased;
            group = self.outbox.recv() => {
                let Some(group) = group else {
                    return Err(End::Retired);
                };
                self.encode(group);
            }
            () = self.room.given() => {}
            ready = self.stream.readable(), if read => ready?,
            () = clock::until(deadline) => {}
        }
        Ok(())
    }

    fn encode(&mut self, first: Vec<Effect>) {
        let now_ms = clock::monotonic_ms();
        let mut group = Some(first);
        while let Some(effects) = group.take() {
            for effect in &effects {
                self.session.effect(effect, now_ms, &mut self.out.write);
            }
            if self.out.write.len() < WRITE_BYTES {
                group = self.outbox.try_recv().ok();
            }
        }
    }
}

#[cfg(test)]
#[path = "connection_test.rs"]
mod tests;
