//! Host names that nobody knows: the usual mistake behind a ZooKeeper that cannot be reached.

use std::time::Duration;

use tokio::net::lookup_host;

/// A name server that does not answer must not hold up the next attempt.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Those of `host:port,host:port` that have no address, each with the reason.
pub(super) async fn unresolved(hosts: &str) -> Vec<String> {
    let mut unresolved = Vec::new();
    for server in hosts.split(',') {
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        match tokio::time::timeout(LOOKUP_TIMEOUT, lookup_host(server)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => unresolved.push(format!("the name {host} has no address ({error})")),
            Err(_) => unresolved.push(format!("no name server tells the address of {host}")),
        }
    }
    unresolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_without_an_address_are_told() {
        assert_eq!(unresolved("127.0.0.1:2181,[::1]:2181").await, [""; 0]);
        let told = unresolved("127.0.0.1:2181,no-such-host.invalid:2181").await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("no-such-host.invalid"), "{told:?}");
    }
}
