//! How a client's socket is set up.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A machine that has said nothing for so long is asked whether it is still there, …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// … again after so long, …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and is gone when so many questions had no answer.
const KEEPALIVE_RETRIES: u32 = 3;

/// A machine that has not taken what was sent to it for so long is gone, too: while something
/// is on its way, the system does not ask. It counts in place of the retries where it is
/// set, so that it has to be as long as these take.
const UNTAKEN_MAX: Duration = Duration::from_secs(
    KEEPALIVE_IDLE.as_secs() + KEEPALIVE_INTERVAL.as_secs() * KEEPALIVE_RETRIES as u64,
);

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
