//! How a client's socket is set up, and how it is left.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A machine that has said nothing for so long is asked whether it is still there, …
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
/// … again after so long, …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and is gone when so many questions had no answer.
const KEEPALIVE_RETRIES: u32 = 3;

/// A machine that has not taken what was sent to it for so long is gone, too: while something
/// is on its way, the system does not ask. One that is there and reads nothing is no better.
/// Where this is set it counts in place of the retries, so it is as long as they take.
const UNTAKEN_MAX: Duration = Duration::from_secs(
    KEEPALIVE_IDLE.as_secs() + KEEPALIVE_INTERVAL.as_secs() * KEEPALIVE_RETRIES as u64,
);

/// How long the last word to a client may take to arrive, …
const FAREWELL_MAX: Duration = Duration::from_secs(10);
/// … and how much it may send meanwhile: more than the largest frame that it began before
/// it was told to stop.
const FAREWELL_BYTES_MAX: u64 = 64 << 20;

/// A client that vanishes without a word keeps its messages no longer than it must, whether
/// or not it agreed to heart-beats.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNTAKEN_MAX))
}

/// Closes a connection so that what was written last arrives. To close a socket that holds
/// unread input is to reset the connection, and with a reset the client's system throws away
/// what the client has not read yet: the ERROR that tells it why.
pub(super) async fn leave(mut stream: TcpStream) {
    let farewell = async {
        stream.shutdown().await?;
        let mut rest = stream.take(FAREWELL_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whether the client heard it or is gone: this was all that could be done for it.
    drop(timeout(FAREWELL_MAX, farewell).await);
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_that_vanishes_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _client) = (accepted.unwrap().0, client.unwrap());
        prepare(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_RETRIES);
        let untaken = socket.tcp_user_timeout().unwrap();
        assert_eq!(untaken, Some(Duration::from_secs(90)));
    }
}
