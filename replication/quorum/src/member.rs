//! Who is here and who led last, as ZooKeeper tells it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::{Epoch, Position};

/// A node's configured name, e.g. `broker-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub Arc<str>);

impl NodeId {
    /// From a name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A live node: one ephemeral sequential znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Whose it is.
    pub node: NodeId,
    /// The znode's number: who came first.
    pub rank: i64,
    /// The operator's preference; higher stands first among equals.
    pub weight: u32,
    /// Its last durable position when it wrote the znode: a hint.
    pub durable: Position,
}

/// The `epoch` znode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpochRecord {
    /// The last epoch that was claimed.
    pub epoch: Epoch,
    /// By whom; `None` before the first claim.
    pub master: Option<NodeId>,
    /// The znode's version, for the next claim.
    pub version: i32,
}

/// What ZooKeeper holds, read in one go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keeper {
    /// The voters that are present, in no particular order.
    pub members: Vec<Member>,
    /// All that have a place, present or not, filled or not: nobody else counts.
    pub voters: BTreeSet<NodeId>,
    /// Who led last.
    pub epoch: EpochRecord,
}
