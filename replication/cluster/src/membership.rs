//! This node in ZooKeeper, and the others: who is here, who led last.
//!
//! One task owns the session. It registers, watches and reads everything anew
//! after each disconnection and in each new session; it never decides who leads.

#[cfg(any(test, fuzzing))]
mod fuzz;
mod join;
mod names;
mod operate;
mod run;
mod view;
mod znodes;

use std::collections::BTreeMap;
use std::time::Duration;

use replicamq_quorum::{Epoch, Keeper, NodeId, Position};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::limits::STOP_TIMEOUT;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzz::fuzz_znodes;
pub use operate::{ClusterView, KeeperAccess, OperateError, Operator, Place};
use run::{Commands, Runner};

/// Claims that wait for ZooKeeper; an election makes one at a time.
const CLAIMS_MAX: usize = 16;

/// How to reach ZooKeeper, and what to tell it about this node.
#[derive(Clone)]
pub struct MembershipConfig {
    /// `host:port,host:port`, with a path behind it if the servers are shared.
    pub address: String,
    /// Where the cluster lives; made if it is missing.
    pub path: String,
    /// With a password only nodes that know it may read or write.
    pub password: Option<String>,
    /// What to ask for; ZooKeeper may grant something else.
    pub session_timeout: Duration,
    /// How many nodes may vote.
    pub replicas: usize,
    /// This node.
    pub node: NodeId,
    /// Made anew by every process.
    pub incarnation: String,
    /// Incarnations of this node that certainly are members no more: their
    /// znodes are taken away instead of waited for.
    pub predecessors: Vec<String>,
    /// The id of this data directory: another directory is another store.
    pub store: String,
    /// Where the log in this directory ends.
    pub log_end: Position,
    /// The cluster that the data directory belongs to, if it belongs to one.
    pub cluster: Option<String>,
    /// The operator's preference.
    pub weight: u32,
    /// `host:port`, for the other nodes.
    pub replication_address: String,
    /// For clients and operators to read.
    pub client_addresses: String,
    /// `host:port`, for operators' commands.
    pub admin_address: String,
}

impl std::fmt::Debug for MembershipConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MembershipConfig")
            .field("address", &self.address)
            .field("path", &self.path)
            .field("password", &self.password.as_ref().map(|_| "set"))
            .field("replicas", &self.replicas)
            .field("node", &self.node)
            .field("store", &self.store)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// With a password only those who know it may read or write.
fn access_list(password: Option<&str>) -> zookeeper_client::Acls<'static> {
    match password {
        Some(_) => zookeeper_client::Acls::creator_all(),
        None => zookeeper_client::Acls::anyone_all(),
    }
}

/// What ZooKeeper knew of this node when it joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing that it should hold was ever acknowledged: it took a place that
    /// nobody held before, or there was no master yet. Its store may be as empty as it is.
    New,
    /// Known with this very store, in a cluster that has had masters; or it brought
    /// the id of a cluster that `ZooKeeper` had lost. What it says of itself is believed.
    Known,
    /// Known with another store, or in the place of another node, or new to a cluster
    /// that `ZooKeeper` had lost: what it once acknowledged may not be here, and it must be
    /// filled before it votes.
    Unfilled,
    /// Known with this store, of which this is an older copy: it once held what it says
    /// here, and must be filled before it votes.
    Outdated {
        /// How far its log is known to have reached.
        held: Position,
    },
}

/// A live node, as its own znode tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// `host:port`, for the other nodes.
    pub replication_address: String,
    /// Where its clients connect.
    pub client_addresses: String,
    /// `host:port`, for operators' commands.
    pub admin_address: String,
    /// The operator's preference.
    pub weight: u32,
    /// What it said it is; a hint.
    pub role: String,
    /// Its last durable position when it wrote the znode; a hint.
    pub durable: Position,
    /// Which process it is.
    pub incarnation: String,
}

/// What happened in ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipEvent {
    /// This node is registered. Comes first, and again only if it says something else.
    Joined {
        /// The cluster.
        cluster: String,
        /// What was known of this node.
        standing: Standing,
    },
    /// Everything was read: after joining, and after each change.
    Keeper {
        /// For the quorum.
        keeper: Keeper,
        /// The nodes that are present.
        members: BTreeMap<NodeId, MemberInfo>,
        /// All nodes that may vote, present or not, with their replication addresses.
        voters: BTreeMap<NodeId, String>,
        /// What `ZooKeeper` granted, whatever was asked for.
        session_timeout: Duration,
    },
    /// The connection or the session is gone; [`MembershipEvent::Keeper`] comes when it is back.
    Lost,
    /// A claim was answered.
    Claimed {
        /// The epoch that was claimed.
        epoch: Epoch,
        /// Whether it is ours.
        won: bool,
    },
    /// This node cannot be part of the cluster. Nothing follows.
    Refused(RefusedMembership),
}

/// Why this node cannot be part of the cluster, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedMembership {
    /// All places are taken.
    #[error(
        "the cluster at {path} already has its {replicas} nodes ({voters}): node {node} is not one of them; to give it the place of a dead one: replicamq cluster replace <the dead node> {node}"
    )]
    Stranger {
        /// This node.
        node: NodeId,
        /// Where.
        path: String,
        /// How many may vote.
        replicas: usize,
        /// Who they are.
        voters: String,
    },
    /// The data directory comes from elsewhere.
    #[error(
        "this data directory belongs to cluster {store}, but {path} is cluster {keeper}: check zk_path and directory, or start with an empty directory"
    )]
    OtherCluster {
        /// The directory's.
        store: String,
        /// ZooKeeper's.
        keeper: String,
        /// Where.
        path: String,
    },
    /// Nodes disagree on how many they are; quorums would not intersect.
    #[error(
        "the cluster at {path} was made with replicas = {keeper}, but this node is configured with replicas = {node}: set the same number on every node"
    )]
    Replicas {
        /// Where.
        path: String,
        /// ZooKeeper's.
        keeper: usize,
        /// Ours.
        node: usize,
    },
    /// Somebody else lives under our name.
    #[error(
        "another live process calls itself {node} (it replicates at {address}): give every node an id of its own, and never copy a data directory"
    )]
    Duplicate {
        /// The name.
        node: NodeId,
        /// Where the other is.
        address: String,
    },
    /// The access list does not admit us.
    #[error(
        "ZooKeeper denies access to {path}: set the zk_password with which it was made, on every node"
    )]
    Denied {
        /// Where.
        path: String,
    },
    /// What lies in `ZooKeeper` was laid out by a later build.
    #[error(
        "{path} was written in format {found}, but this build knows {known}: run the build that wrote it, or a later one"
    )]
    NewerFormat {
        /// Where.
        path: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Something cannot be part of a znode's path or of an address.
    #[error("{name} = {value:?} cannot be used: {why}")]
    Config {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        why: String,
    },
}

/// What this node tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Advert {
    role: String,
    durable: Position,
    held: Position,
}

/// The membership of this node. Dropping it closes the session.
#[derive(Debug)]
pub struct Membership {
    claims: mpsc::Sender<(Epoch, i32)>,
    advert: watch::Sender<Advert>,
    filled: watch::Sender<bool>,
    /// Dropped to stop the task.
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl Membership {
    /// Joins the cluster; what happens comes through `events`. Call it inside a tokio runtime.
    pub fn start(config: MembershipConfig, events: mpsc::Sender<MembershipEvent>) -> Self {
        let (claims, claimed) = mpsc::channel(CLAIMS_MAX);
        let (advert, adverts) = watch::channel(Advert {
            role: "electing".to_owned(),
            durable: Position::default(),
            held: Position::default(),
        });
        let (filled, is_filled) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let commands = Commands {
            claims: claimed,
            adverts,
            filled: is_filled,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Runner::new(config, events, commands).run(stopped));
        Self {
            claims,
            advert,
            filled,
            stop,
            tasks,
        }
    }

    /// Claims an epoch if the `epoch` znode still has this version.
    pub fn claim(&self, epoch: Epoch, version: i32) {
        if self.claims.try_send((epoch, version)).is_err() {
            tracing::warn!(%epoch, "the claim is dropped: ZooKeeper has not answered the last ones");
        }
    }

    /// Tells the others how we are; at most once a second, and at once when the role changes.
    /// What it says to hold for good is remembered beyond its life: a directory that holds
    /// less when it comes back is an older copy of it.
    pub fn advertise(&self, role: &str, durable: Position, held: Position) {
        self.advert.send_if_modified(|advert| {
            let changed = advert.role != role || advert.durable != durable || advert.held != held;
            if advert.role != role {
                role.clone_into(&mut advert.role);
            }
            advert.durable = durable;
            advert.held = held;
            changed
        });
    }

    /// This store holds everything it should: from now on it is the one that this node is known by.
    pub fn confirm_filled(&self) {
        self.filled.send_replace(true);
    }

    /// Leaves the cluster: our znode goes at once, and the others need not wait for a timeout.
    pub async fn stop(self) {
        drop(self.stop);
        let mut tasks = self.tasks;
        let joined = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(2 * STOP_TIMEOUT, joined)
            .await
            .is_err()
        {
            tasks.shutdown().await;
        }
    }
}
