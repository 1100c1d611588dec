//! What an operator may look at and change in `ZooKeeper`, from outside of the nodes.

use std::time::Duration;

use replicamq_quorum::{Epoch, NodeId, Position, majority};
use zookeeper_client as zk;

use super::run::credentials;
use super::view::get;
use super::znodes::{ClusterNode, EpochNode, MemberNode, Paths, Places, VoterNode, to_json};
use super::{RefusedMembership, access_list};

/// How an operator reaches a cluster's place in `ZooKeeper`.
#[derive(Clone)]
pub struct KeeperAccess {
    /// `host:port,host:port`, with a path behind it if the servers are shared.
    pub address: String,
    /// Where the cluster lives.
    pub path: String,
    /// What the nodes use.
    pub password: Option<String>,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

impl std::fmt::Debug for KeeperAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeeperAccess")
            .field("address", &self.address)
            .field("path", &self.path)
            .field("password", &self.password.as_ref().map(|_| "set"))
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// Nobody answers, or not in time.
    #[error("ZooKeeper at {address} does not answer ({reason}): start it, or correct zk_address")]
    Unreachable {
        /// Where.
        address: String,
        /// What was tried.
        reason: String,
    },
    /// An address, a path or an id that cannot be, or an access list that does not admit us.
    #[error(transparent)]
    Refused(#[from] RefusedMembership),
    /// There is no cluster.
    #[error("there is no cluster at {path} in this ZooKeeper: check zk_address and zk_path")]
    NoCluster {
        /// Where it was looked for.
        path: String,
    },
    /// It cannot be replaced.
    #[error("node {node} has no place in this cluster; its nodes are {voters}")]
    NotAVoter {
        /// The name that was given.
        node: NodeId,
        /// Who they are.
        voters: String,
    },
    /// It cannot come in twice.
    #[error("node {node} has a place already: give the new node an id of its own")]
    AVoter {
        /// The name that was given.
        node: NodeId,
    },
    /// A node that lives need not be replaced, and its messages would be lost with it.
    #[error("node {node} is alive at {address}: stop it before another one takes its place")]
    Alive {
        /// Which.
        node: NodeId,
        /// Where it replicates.
        address: String,
    },
    /// The rest could not elect a master.
    #[error(
        "without node {node} only {left} of {replicas} nodes would hold the messages ({holders}), and {needed} must, for the newcomer counts only once it is filled: bring another one back first; if that cannot be, see `replicamq cluster accept-loss --help`"
    )]
    TooFew {
        /// The one to be replaced.
        node: NodeId,
        /// The others that are filled.
        left: usize,
        /// Their names.
        holders: String,
        /// All places.
        replicas: usize,
        /// A quorum.
        needed: usize,
    },
    /// Somebody else was faster.
    #[error("the cluster changed in the meantime: look at it again")]
    Changed,
    /// What lies there is not ours.
    #[error("{path} in ZooKeeper cannot be read: {reason}")]
    Damaged {
        /// The znode.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Anything else.
    #[error("ZooKeeper refused: {0}")]
    Keeper(zk::Error),
}

/// A place in the cluster, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its node.
    pub node: NodeId,
    /// Where it replicates; empty until it came for the first time.
    pub replication_address: String,
    /// Whether it holds what it acknowledged; if not, a master has to fill it.
    pub filled: bool,
    /// What it held for good when it last told.
    pub held: Option<Position>,
    /// What it says of itself, if it is alive.
    pub role: Option<String>,
}

/// A cluster as `ZooKeeper` knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Its id.
    pub cluster: String,
    /// How many nodes may vote.
    pub replicas: usize,
    /// The last one that was claimed.
    pub epoch: Epoch,
    /// Who claimed it.
    pub master: Option<NodeId>,
    /// In the order of their names.
    pub places: Vec<Place>,
}

impl ClusterView {
    /// Whether another node may take this one's place.
    pub fn may_replace(&self, old: &NodeId, new: &NodeId) -> Result<(), OperateError> {
        let names = |places: &[&Place]| {
            let names: Vec<&str> = places.iter().map(|place| place.node.as_str()).collect();
            names.join(", ")
        };
        let Some(place) = self.places.iter().find(|place| place.node == *old) else {
            return Err(OperateError::NotAVoter {
                node: old.clone(),
                voters: names(&self.places.iter().collect::<Vec<_>>()),
            });
        };
        if self.places.iter().any(|place| place.node == *new) {
            return Err(OperateError::AVoter { node: new.clone() });
        }
        if place.role.is_some() {
            return Err(OperateError::Alive {
                node: old.clone(),
                address: place.replication_address.clone(),
            });
        }
        let holders = self.places.iter().filter(|one| one.filled);
        let left: Vec<&Place> = holders.filter(|one| one.node != *old).collect();
        let needed = majority(self.replicas);
        if left.len() < needed {
            return Err(OperateError::TooFew {
                node: old.clone(),
                left: left.len(),
                holders: names(&left),
                replicas: self.replicas,
                needed,
            });
        }
        Ok(())
    }
}

/// A session of an operator's.
#[derive(Debug)]
pub struct Operator {
    access: KeeperAccess,
    client: zk::Client,
    paths: Paths,
}

impl Operator {
    /// Finds the cluster.
    pub async fn connect(access: KeeperAccess) -> Result<Self, OperateError> {
        let paths = Paths::new(&access.address, &access.path)?;
        let mut connector = zk::Client::connector()
            .with_session_timeout(access.timeout)
            .with_fail_eagerly();
        if let Some(password) = &access.password {
            connector = connector.with_auth("digest", &credentials(password));
        }
        let unreachable = |reason: String| OperateError::Unreachable {
            address: access.address.clone(),
            reason,
        };
        let connected = tokio::time::timeout(access.timeout, connector.connect(&paths.hosts)).await;
        let client = connected
            .map_err(|_| unreachable("no answer in time".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(Self {
            access,
            client,
            paths,
        })
    }

    async fn during<T>(
        &self,
        operation: impl Future<Output = Result<T, zk::Error>>,
    ) -> Result<T, OperateError> {
        let done = tokio::time::timeout(self.access.timeout, operation).await;
        let late = |_| OperateError::Unreachable {
            address: self.access.address.clone(),
            reason: "no answer in time".to_owned(),
        };
        done.map_err(late)?.map_err(|error| match error {
            zk::Error::NoNode => OperateError::NoCluster {
                path: self.paths.root.clone(),
            },
            zk::Error::NoAuth => OperateError::Refused(RefusedMembership::Denied {
                path: self.paths.root.clone(),
            }),
            zk::Error::BadVersion | zk::Error::NodeExists | zk::Error::NotEmpty => {
                OperateError::Changed
            }
            other => OperateError::Keeper(other),
        })
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, OperateError> {
        let (data, _) = self.during(self.client.get_data(path)).await?;
        parse(path, &data)
    }

    /// The cluster as it is now.
    pub async fn view(&self) -> Result<ClusterView, OperateError> {
        let (client, paths) = (&self.client, &self.paths);
        self.during(client.sync(&paths.root)).await?;
        let found: ClusterNode = self.read(&paths.cluster).await?;
        let ClusterNode { cluster, .. } = found.known(&paths.cluster)?;
        let Places { replicas, .. } = self.read(&paths.nodes).await?;
        let EpochNode { epoch, master } = self.read(&paths.epoch).await?;
        let mut live = Vec::new();
        for name in self.during(client.list_children(&paths.members)).await? {
            let path = paths.member(&name);
            // Whoever leaves at this moment is not alive.
            if let Some((data, ..)) = self.during(get(client, &path, false)).await? {
                live.push(parse::<MemberNode>(&path, &data)?);
            }
        }
        let mut places = Vec::new();
        for name in self.during(client.list_children(&paths.nodes)).await? {
            let node = NodeId::new(&name);
            let voter: VoterNode = self.read(&paths.node(&node)).await?;
            let role = live.iter().find(|member| member.node == name);
            places.push(Place {
                node,
                replication_address: voter.replication,
                filled: voter.store.is_some(),
                held: voter.held.map(Position::from),
                role: role.map(|member| member.role.clone()),
            });
        }
        places.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(ClusterView {
            cluster,
            replicas,
            epoch: Epoch(epoch),
            master: master.as_deref().map(NodeId::new),
            places,
        })
    }

    /// Gives the place of a dead node to a new one, which a master has to fill
    /// before it counts. The old one is refused from then on.
    pub async fn replace(&self, old: &NodeId, new: &NodeId) -> Result<(), OperateError> {
        let new_path = self.paths.checked_node(new)?;
        let (client, paths) = (&self.client, &self.paths);
        let (places, stat) = self.during(client.get_data(&paths.nodes)).await?;
        self.view().await?.may_replace(old, new)?;
        let newcomer = VoterNode {
            store: None,
            replication: String::new(),
            held: None,
        };
        let acls = access_list(self.access.password.as_deref());
        let options = zk::CreateMode::Persistent.with_acls(acls);
        let mut writer = client.new_multi_writer();
        // Written, not only checked: two operators at once cannot both succeed.
        let added = writer
            .add_set_data(&paths.nodes, &places, Some(stat.version))
            .and_then(|()| writer.add_delete(&paths.node(old), None))
            .and_then(|()| writer.add_create(&new_path, &to_json(&newcomer), &options));
        added.map_err(OperateError::Keeper)?;
        let written = writer.commit();
        self.during(async { written.await.map_err(zk::Error::from) })
            .await?;
        Ok(())
    }

    /// Makes this the store that the node is known by, whatever it holds.
    pub async fn adopt(&self, node: &NodeId, store: &str) -> Result<(), OperateError> {
        let path = self.paths.checked_node(node)?;
        let Some((data, stat, _)) = self.during(get(&self.client, &path, false)).await? else {
            return Err(OperateError::NotAVoter {
                node: node.clone(),
                voters: self
                    .during(self.client.list_children(&self.paths.nodes))
                    .await?
                    .join(", "),
            });
        };
        let mut voter: VoterNode = parse(&path, &data)?;
        voter.store = Some(store.to_owned());
        voter.held = None;
        let data = to_json(&voter);
        let written = self.client.set_data(&path, &data, Some(stat.version));
        self.during(written).await?;
        Ok(())
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &str, data: &[u8]) -> Result<T, OperateError> {
    serde_json::from_slice(data).map_err(|error| OperateError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, filled: bool, alive: bool) -> Place {
        Place {
            node: NodeId::new(name),
            replication_address: "127.0.0.1:61619".to_owned(),
            filled,
            held: None,
            role: alive.then(|| "replica".to_owned()),
        }
    }

    fn refused(places: Vec<Place>, old: &str, new: &str) -> String {
        let view = ClusterView {
            cluster: "c".to_owned(),
            replicas: 3,
            epoch: Epoch(4),
            master: None,
            places,
        };
        let may = view.may_replace(&NodeId::new(old), &NodeId::new(new));
        may.err()
            .map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn only_a_dead_node_is_replaced_and_only_if_enough_others_hold_the_messages() {
        let places = |second, third| vec![place("a", true, true), second, third];
        let dead = || place("c", true, false);
        let well = || places(place("b", true, true), dead());
        assert_eq!(refused(well(), "c", "d"), "");
        assert!(refused(well(), "x", "d").contains("its nodes are a, b, c"));
        assert!(refused(well(), "c", "b").contains("has a place already"));
        assert!(refused(well(), "b", "d").contains("is alive"));
        let empty = places(place("b", false, true), dead());
        let said = refused(empty, "c", "d");
        assert!(
            said.contains("only 1 of 3") && said.contains("(a)"),
            "{said}"
        );
        // One that is not filled may always go: nothing depends on it.
        let unfilled = places(place("b", true, false), place("c", false, false));
        assert_eq!(refused(unfilled, "c", "d"), "");
    }
}
