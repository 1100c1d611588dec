//! Where something listens: `tcp://host:port`, or `host:port`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::reads_like_a_flag;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// A name or an IP address, an IPv6 address without its brackets; never empty.
    pub(crate) host: String,
    /// 0 lets the system choose, where something is to listen.
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }

    /// `host:port`, as `tokio::net` and other nodes want it.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Reachable from this machine alone.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }

    /// Every interface: good for listening, meaningless to connect to.
    pub(crate) fn is_unspecified(&self) -> bool {
        self.host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified())
    }

    /// Whether two listeners would take each other's port.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        let everywhere = self.is_unspecified() || other.is_unspecified();
        self.port == other.port && self.port != 0 && (everywhere || self.host == other.host)
    }

    /// Reads `host:port`, without a scheme.
    pub(crate) fn from_authority(text: &str) -> Result<Self, String> {
        let refused = |reason: &str| {
            format!("`{text}` is not an address: {reason}; write it like tcp://127.0.0.1:61613")
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| refused("the closing bracket is missing"))?;
                let port = rest.strip_prefix(':');
                (host, port.ok_or_else(|| refused("the port is missing"))?)
            }
            None => text
                .rsplit_once(':')
                .ok_or_else(|| refused("the port is missing"))?,
        };
        if host.is_empty() {
            return Err(refused(
                "the host is missing (0.0.0.0 means every interface)",
            ));
        }
        if !text.starts_with('[') && host.contains(':') {
            return Err(refused("an IPv6 address needs brackets, [::1]:61613"));
        }
        if !host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':'))
        {
            return Err(refused("the host has a character that no host name has"));
        }
        let port = port
            .parse()
            .map_err(|_| refused("the port must be a number up to 65535"))?;
        Ok(Self::new(host, port))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.split_once("://") {
            None => Self::from_authority(text),
            Some(("tcp", authority)) => Self::from_authority(authority),
            Some((scheme, _)) => Err(format!(
                "`{text}` has the scheme {scheme}://, which is not known here: use tcp://"
            )),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}", self.authority())
    }
}

reads_like_a_flag!(Address, "an address such as \"tcp://127.0.0.1:61613\"");

/// A listener that may be switched off: an address, or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Connector {
    Off,
    At(Address),
}

impl Connector {
    pub(crate) fn address(&self) -> Option<&Address> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl FromStr for Connector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "none" => Ok(Self::Off),
            other => other.parse().map(Self::At),
        }
    }
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("none"),
            Self::At(address) => address.fmt(f),
        }
    }
}

reads_like_a_flag!(
    Connector,
    "an address such as \"tcp://127.0.0.1:61613\", or \"none\""
);

/// The port of a ZooKeeper server that is named without one.
const ZK_PORT: u16 = 2181;

/// The servers of a ZooKeeper ensemble: `a:2181,b:2181,c:2181`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ZkAddress(pub(crate) Vec<Address>);

impl FromStr for ZkAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let servers: Result<Vec<Address>, String> = text
            .split(',')
            .map(str::trim)
            .map(|server| {
                let named_without_port =
                    !server.is_empty() && !server.contains([':', '/', '[']);
                if named_without_port {
                    Address::from_authority(&format!("{server}:{ZK_PORT}"))
                } else if server.contains('/') {
                    Err(format!(
                        "`{server}` is not a ZooKeeper server: write host:port alone, and a path into zk_path"
                    ))
                } else {
                    Address::from_authority(server).map_err(|_| {
                        format!("`{server}` is not a ZooKeeper server: write host:port, as in \"zk1:2181,zk2:2181\"")
                    })
                }
            })
            .collect();
        servers.map(Self)
    }
}

impl fmt::Display for ZkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", server.authority())?;
        }
        Ok(())
    }
}

reads_like_a_flag!(ZkAddress, "ZooKeeper servers such as \"zk1:2181,zk2:2181\"");

/// A znode's path: absolute, without empty or dotted parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ZkPath(pub(crate) String);

impl FromStr for ZkPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let clean = |part: &str| {
            !matches!(part, "" | "." | ".." | "zookeeper") && !part.chars().any(char::is_control)
        };
        match text.strip_prefix('/') {
            Some(parts) if parts.split('/').all(clean) => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "`{text}` is not a ZooKeeper path for a cluster: write it like /replicamq or /brokers/orders"
            )),
        }
    }
}

impl fmt::Display for ZkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

reads_like_a_flag!(ZkPath, "a ZooKeeper path such as \"/replicamq\"");

/// A node's name: it becomes part of paths and tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeName(pub(crate) String);

const NODE_NAME_BYTES_MAX: usize = 64;

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letters = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if letters
            && !text.is_empty()
            && !text.starts_with('.')
            && text.len() <= NODE_NAME_BYTES_MAX
        {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{text}` is not a node's name: use up to {NODE_NAME_BYTES_MAX} letters, digits, '-', '_' or '.', as in broker-1"
        ))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

reads_like_a_flag!(NodeName, "a name such as \"broker-1\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        for text in [
            "tcp://127.0.0.1:61613",
            "127.0.0.1:61613",
            " 127.0.0.1:61613 ",
        ] {
            assert_eq!(text.parse(), Ok(Address::new("127.0.0.1", 61613)), "{text}");
        }
        let six: Address = "tcp://[::1]:61613".parse().unwrap();
        assert_eq!(six.host, "::1");
        assert_eq!(six.to_string(), "tcp://[::1]:61613");
        assert!(six.is_loopback());
    }

    #[test]
    fn a_bad_address_says_what_is_wrong() {
        for (text, reason) in [
            ("localhost", "the port is missing"),
            ("tcp://:61613", "the host is missing"),
            ("a:b", "the port must be a number"),
            ("a:70000", "the port must be a number"),
            ("::1:61613", "needs brackets"),
            ("[::1]", "the port is missing"),
            ("ssl://a:61613", "use tcp://"),
            ("tcp://a:61613/path", "the port must be a number"),
            ("a b:61613", "no host name has"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn listeners_on_one_port_collide() {
        let at = |text: &str| text.parse::<Address>().unwrap();
        assert!(at("127.0.0.1:1").collides(&at("127.0.0.1:1")));
        assert!(at("0.0.0.0:1").collides(&at("127.0.0.1:1")));
        assert!(!at("127.0.0.2:1").collides(&at("127.0.0.1:1")));
        assert!(!at("127.0.0.1:0").collides(&at("127.0.0.1:0")));
    }

    #[test]
    fn zookeeper_servers_have_a_default_port_and_no_path() {
        let servers: ZkAddress = "zk1,zk2:2182, zk3".parse().unwrap();
        assert_eq!(servers.to_string(), "zk1:2181,zk2:2182,zk3:2181");
        let error = "zk1:2181/brokers".parse::<ZkAddress>().unwrap_err();
        assert!(error.contains("zk_path"), "{error}");
        assert!("zk1,,zk2".parse::<ZkAddress>().is_err());
    }

    #[test]
    fn paths_and_names_are_checked() {
        assert!("/a/b".parse::<ZkPath>().is_ok());
        for path in ["", "/", "a", "/a/", "//a", "/a/../b", "/zookeeper"] {
            assert!(path.parse::<ZkPath>().is_err(), "{path}");
        }
        assert!("broker-1.example_2".parse::<NodeName>().is_ok());
        for name in ["", ".hidden", "a/b", "a b"] {
            assert!(name.parse::<NodeName>().is_err(), "{name}");
        }
    }
}
