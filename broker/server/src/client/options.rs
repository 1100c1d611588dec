//! What every client command is told: which broker, and as whom.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use super::{BrokerUri, Opening};
use crate::config::Interval;

/// Which broker, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientOptions {
    /// The broker, or the nodes of a cluster of which the client finds the master:
    /// failover:(tcp://a:61613,tcp://b:61613,tcp://c:61613)
    #[arg(
        long,
        env = "REPLICAMQ_BROKER",
        default_value = "tcp://127.0.0.1:61613",
        value_name = "URI",
        help_heading = "Connection"
    )]
    pub(crate) broker: BrokerUri,

    /// User name
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub(crate) login: Option<String>,

    /// Password
    #[arg(
        long,
        env = "REPLICAMQ_PASSCODE",
        hide_env_values = true,
        value_name = "SECRET",
        help_heading = "Connection"
    )]
    pub(crate) passcode: Option<String>,

    /// This client's own name, which makes durable subscriptions possible
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub(crate) client_id: Option<String>,

    /// Signs of life in both directions; after twice this without one the broker counts as gone; 0: none
    #[arg(
        long,
        default_value = "10s",
        value_name = "TIME",
        help_heading = "Connection"
    )]
    pub(crate) heart_beat: Interval,

    /// How long one broker may take to accept a connection
    #[arg(
        long,
        default_value = "3s",
        value_name = "TIME",
        help_heading = "Connection"
    )]
    pub(crate) connect_timeout: Interval,
}

impl ClientOptions {
    pub(crate) fn opening(&self) -> Opening {
        Opening {
            login: self.login.clone(),
            passcode: self.passcode.clone(),
            client_id: self.client_id.clone(),
            heart_beat: self.heart_beat.0,
            timeout: self.connect_timeout.0.max(Duration::from_millis(1)),
        }
    }
}

/// A header as `name=value`.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not a header: write name=value"))?;
    if name.is_empty() {
        return Err(format!("`{text}` has no name before the ="));
    }
    let own: BTreeSet<&str> = ["destination", "receipt", "transaction", "content-length"].into();
    if own.contains(name) {
        return Err(format!("the header {name} is set by this command itself"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A destination, with the mistake that everybody makes once.
pub(super) fn destination(text: &str) -> Result<String, String> {
    let starts = ["/queue/", "/topic/", "/temp-queue/", "/temp-topic/"];
    if starts
        .iter()
        .any(|start| text.len() > start.len() && text.starts_with(start))
    {
        return Ok(text.to_owned());
    }
    let name = text.trim_start_matches('/');
    Err(format!(
        "`{text}` is not a destination: write /queue/{name} or /topic/{name}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_name_and_value() {
        assert_eq!(header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(header("a").unwrap_err().contains("write name=value"));
        assert!(header("=b").unwrap_err().contains("no name"));
        assert!(
            header("receipt=1")
                .unwrap_err()
                .contains("by this command itself")
        );
    }

    #[test]
    fn destinations_have_a_kind() {
        assert_eq!(destination("/queue/a"), Ok("/queue/a".to_owned()));
        assert_eq!(
            destination("orders").unwrap_err(),
            "`orders` is not a destination: write /queue/orders or /topic/orders"
        );
        assert!(destination("/queue/").is_err());
    }
}
