//! A client port: reserved while the node is not master, open while it is.
//!
//! A reserved port is bound but does not listen: connections are refused, and
//! no other process can take it.

mod refused;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use replicamq_core::ConnectionId;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use crate::connection::{self, Settings};
use crate::run::inbox::InboxSender;
use refused::Refused;

/// Connections that the system may hold ready for us.
const BACKLOG: u32 = 1_024;

/// A client port that refuses connections.
#[derive(Debug)]
pub(crate) struct Reserved {
    socket: TcpSocket,
    address: SocketAddr,
}

/// A client port with its connections. Dropping it drops them all, silently.
#[derive(Debug)]
pub(crate) struct Open {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for STOMP clients: {error}; is another broker running? choose another address with the key `stomp`"
)]
pub(crate) struct ListenError {
    address: SocketAddr,
    error: io::Error,
}

impl Reserved {
    pub(crate) fn new(address: SocketAddr) -> Result<Self, ListenError> {
        let bound = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bound().map_err(|error| ListenError { address, error })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets clients in.
    pub(crate) fn open(
        self,
        connections_max: usize,
        settings: Arc<Settings>,
        inbox: InboxSender,
    ) -> Result<Open, ListenError> {
        let address = self.address;
        let listener = self
            .socket
            .listen(BACKLOG)
            .map_err(|error| ListenError { address, error })?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, connections_max, settings, inbox));
        Ok(Open { address, tasks })
    }
}

impl Open {
    /// Drops every connection and refuses new ones.
    pub(crate) async fn close(mut self) -> Result<Reserved, ListenError> {
        self.tasks.shutdown().await;
        Reserved::new(self.address)
    }
}

async fn accept(
    listener: TcpListener,
    connections_max: usize,
    settings: Arc<Settings>,
    inbox: InboxSender,
) {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    let mut refused = Refused::new(connections_max);
    loop {
        // Every arm only waits: a cancelled one lost nothing.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                        refused.refuse(stream, peer);
                        continue;
                    };
                    connections.spawn(converse(stream, peer, permit, Arc::clone(&settings), inbox.clone()));
                }
                Err(error) => {
                    // Out of file descriptors: those of closing connections come back.
                    tracing::warn!("cannot accept a client: {error}; raise LimitNOFILE or lower connections_max");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => note(ended),
            Some(ended) = refused.gone() => note(ended),
        }
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection ended badly: {error}");
    }
}

/// After a failed accept, so that the failure does not become a busy loop.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    settings: Arc<Settings>,
    inbox: InboxSender,
) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let connection = ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed));
    connection::run(stream, peer, connection, &settings, &inbox).await;
    drop(permit);
}
