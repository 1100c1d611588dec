//! The replication port: a bounded number of connections, none of which waits
//! for Nagle's algorithm, and none of which stays without showing the token.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::limits::{ADMISSION_TIMEOUT, CONNECTIONS_MAX};
use crate::quiet::Quiet;

/// A connection and its place among [`CONNECTIONS_MAX`].
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    admission: Admission,
    /// Until when the first call with the right token must have come; `None` once it has.
    deadline: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// Whose connection a request came on, for the guard of the port.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    tcp: TcpConnectInfo,
    admitted: Arc<AtomicBool>,
}

impl Admission {
    pub(crate) fn from(&self) -> Option<SocketAddr> {
        self.tcp.remote_addr()
    }

    /// The token was right: the connection may stay.
    pub(crate) fn grant(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let admission = Admission {
            tcp: stream.connect_info(),
            admitted: Arc::default(),
        };
        let until = tokio::time::sleep_until(Instant::now() + ADMISSION_TIMEOUT);
        Ok(Self {
            stream,
            admission,
            deadline: Some(Box::pin(until)),
            _place: place,
        })
    }

    /// Whether it has taken too long to show the token.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.admission.admitted.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(context).is_ready(),
            None => false,
        }
    }
}

/// Binds the port.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Connections as they come; those beyond the limit are closed at once.
pub(crate) fn accept(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> + Send {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let quiet = Arc::new(Quiet::default());
    futures::stream::unfold(
        (listener, places, quiet),
        |(listener, places, quiet)| async {
            loop {
                let accepted = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => return Some((Err(error), (listener, places, quiet))),
                };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    if quiet.allows("full") {
                        tracing::warn!(
                            limit = CONNECTIONS_MAX,
                            "too many connections to the replication port: closed the newest"
                        );
                    }
                    continue;
                };
                let connection = Connection::new(accepted, place);
                return Some((connection, (listener, places, quiet)));
            }
        },
    )
}

impl Connected for Connection {
    type ConnectInfo = Admission;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.admission.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_late(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
