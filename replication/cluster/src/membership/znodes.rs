//! What lies in ZooKeeper: paths, and JSON that a person can read in zkCli.

use replicamq_quorum::{EpochRecord, NodeId, Position};
use serde::{Deserialize, Serialize};

use super::{Advert, MembershipConfig, RefusedMembership};

/// How the znode of a live node begins.
pub(super) const MEMBER: &str = "member-";

/// Where everything lies, and where ZooKeeper is.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) hosts: String,
    pub(super) root: String,
    pub(super) cluster: String,
    pub(super) nodes: String,
    pub(super) members: String,
    pub(super) epoch: String,
}

impl Paths {
    /// From what a person wrote.
    pub(super) fn new(address: &str, path: &str) -> Result<Self, RefusedMembership> {
        let (hosts, chroot) = match address.find('/') {
            Some(at) => address.split_at(at),
            None => (address, ""),
        };
        if hosts.is_empty() {
            return Err(bad("zk_address", address, "it names no server"));
        }
        if !path.starts_with('/') {
            return Err(bad("zk_path", path, "it must begin with /"));
        }
        let root = format!("{}{}", chroot.trim_end_matches('/'), path);
        let root = root.trim_end_matches('/').to_owned();
        if root.is_empty() {
            return Err(bad("zk_path", path, "it must name a node below the root"));
        }
        if !root[1..].split('/').all(is_name) {
            return Err(bad(
                "zk_path",
                &root,
                "each part needs letters, digits, '.', '-' or '_'",
            ));
        }
        Ok(Self {
            hosts: hosts.to_owned(),
            cluster: format!("{root}/cluster"),
            nodes: format!("{root}/nodes"),
            members: format!("{root}/members"),
            epoch: format!("{root}/epoch"),
            root,
        })
    }

    pub(super) fn node(&self, node: &NodeId) -> String {
        format!("{}/{node}", self.nodes)
    }

    /// The place of a node whose id a person wrote.
    pub(super) fn checked_node(&self, node: &NodeId) -> Result<String, RefusedMembership> {
        if !is_name(node.as_str()) {
            let why = "it needs letters, digits, '.', '-' or '_'";
            return Err(bad("the node's id", node.as_str(), why));
        }
        Ok(self.node(node))
    }

    pub(super) fn member(&self, name: &str) -> String {
        format!("{}/{name}", self.members)
    }
}

fn bad(name: &'static str, value: &str, why: &str) -> RefusedMembership {
    RefusedMembership::Config {
        name,
        value: value.to_owned(),
        why: why.to_owned(),
    }
}

/// Plain enough for a znode; `.` and `..` mean something else.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(name, "" | "." | "..") && name.bytes().all(plain)
}

/// `cluster`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClusterNode {
    pub(super) cluster: String,
    /// Of everything under `zk_path`; absent: 1.
    #[serde(default = "first_format")]
    pub(super) format: u32,
    /// Made anew by a store that knew the id: `ZooKeeper` had lost what lay here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) recreated: bool,
}

/// What this build writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

fn first_format() -> u32 {
    1
}

impl ClusterNode {
    /// What a newer build laid out otherwise is not touched.
    pub(super) fn known(self, path: &str) -> Result<Self, RefusedMembership> {
        if self.format <= FORMAT {
            return Ok(self);
        }
        Err(RefusedMembership::NewerFormat {
            path: path.to_owned(),
            found: self.format,
            known: FORMAT,
        })
    }
}

/// `nodes`
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Places {
    /// How many may vote.
    pub(super) replicas: usize,
    /// How many places were ever taken: who comes later replaces somebody, and
    /// must be filled with what that node once acknowledged.
    pub(super) registered: usize,
    /// Made anew in a cluster that was there before: who had a place is not known here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) recreated: bool,
}

/// `nodes/<id>`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VoterNode {
    /// The data directory that holds what this node acknowledged; `None` until it is filled.
    pub(super) store: Option<String>,
    pub(super) replication: String,
    /// What that directory held for good when the node last wrote it here: a log that
    /// ends before it is an older copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Place>,
}

/// `members/member-`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberNode {
    pub(super) node: String,
    pub(super) role: String,
    pub(super) durable: Place,
    pub(super) weight: u32,
    pub(super) replication: String,
    #[serde(default)]
    pub(super) clients: String,
    #[serde(default)]
    pub(super) admin: String,
    pub(super) incarnation: String,
    pub(super) store: String,
}

/// A position in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) sequence: u64,
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Self {
            epoch: position.epoch.0,
            sequence: position.sequence.0,
        }
    }
}

impl From<Place> for Position {
    fn from(place: Place) -> Self {
        Self::new(place.epoch, place.sequence)
    }
}

impl MemberNode {
    pub(super) fn new(config: &MembershipConfig, advert: &Advert) -> Self {
        Self {
            node: config.node.as_str().to_owned(),
            role: advert.role.clone(),
            durable: advert.durable.into(),
            weight: config.weight,
            replication: config.replication_address.clone(),
            clients: config.client_addresses.clone(),
            admin: config.admin_address.clone(),
            incarnation: config.incarnation.clone(),
            store: config.store.clone(),
        }
    }

    pub(super) fn durable(&self) -> Position {
        self.durable.into()
    }
}

/// `epoch`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EpochNode {
    pub(super) epoch: u64,
    pub(super) master: Option<String>,
}

impl EpochNode {
    pub(super) fn record(&self, version: i32) -> EpochRecord {
        EpochRecord {
            epoch: replicamq_quorum::Epoch(self.epoch),
            master: self.master.as_deref().map(NodeId::new),
            version,
        }
    }
}

/// The number that ZooKeeper gave to a member: who came first.
pub(super) fn rank(name: &str) -> Option<i64> {
    name.strip_prefix(MEMBER)?.parse().ok()
}

pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs of strings and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_lies_below_the_chroot() {
        let paths = Paths::new("a:1,b:2/common/", "/replicamq/").unwrap();
        assert_eq!(paths.hosts, "a:1,b:2");
        assert_eq!(paths.epoch, "/common/replicamq/epoch");
        assert_eq!(Paths::new("a:1", "/x").unwrap().root, "/x");
    }

    #[test]
    fn a_path_or_an_id_that_zookeeper_cannot_hold_is_refused() {
        for (address, path) in [
            ("", "/x"),
            ("/c", "/x"),
            ("a", "x"),
            ("a", "/"),
            ("a", "/x//y"),
            ("a", "/x/../y"),
            ("a", "/x y"),
        ] {
            assert!(Paths::new(address, path).is_err(), "{address} {path}");
        }
        let paths = Paths::new("a", "/x").unwrap();
        for id in ["", ".", "..", "a/b", "a b"] {
            assert!(paths.checked_node(&NodeId::new(id)).is_err(), "{id}");
        }
    }

    #[test]
    fn znodes_are_readable() {
        let epoch = EpochNode {
            epoch: 7,
            master: Some("broker-2".to_owned()),
        };
        assert_eq!(to_json(&epoch), br#"{"epoch":7,"master":"broker-2"}"#);
        assert_eq!(rank("member-0000000012"), Some(12));
        assert_eq!(rank("member-x"), None);
        assert_eq!(rank("lock-1"), None);
    }
}
