//! What lies in ZooKeeper, read in one go, and the watches that say when to read again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use replicamq_quorum::{EpochRecord, Keeper, Member, NodeId};
use zookeeper_client as zk;

use super::run::{Broken, Runner, Session};
use super::znodes::{EpochNode, MemberNode, Paths, VoterNode, rank};
use super::{MemberInfo, MembershipEvent};

/// One-shot watches, at most one for each path.
#[derive(Default)]
pub(super) struct Watches {
    armed: BTreeSet<String>,
    waiting: FuturesUnordered<BoxFuture<'static, String>>,
}

impl Watches {
    /// Waits until a watch fires; `None` when none is armed.
    pub(super) async fn fired(&mut self) -> Option<()> {
        let path = self.waiting.next().await?;
        self.armed.remove(&path);
        Some(())
    }

    /// Whether a new watch is needed.
    fn lacks(&self, path: &str) -> bool {
        !self.armed.contains(path)
    }

    fn arm(&mut self, path: String, watcher: zk::OneshotWatcher) {
        if self.armed.insert(path.clone()) {
            let fired = async move {
                watcher.changed().await;
                path
            };
            self.waiting.push(fired.boxed());
        }
    }
}

/// The data of one znode, `None` if it is gone, and its watch if one was asked for.
type Found = Option<(Vec<u8>, zk::Stat, Option<zk::OneshotWatcher>)>;

pub(super) async fn get(client: &zk::Client, path: &str, watch: bool) -> Result<Found, zk::Error> {
    let found = if watch {
        let found = client.get_and_watch_data(path).await;
        found.map(|(data, stat, watcher)| (data, stat, Some(watcher)))
    } else {
        client
            .get_data(path)
            .await
            .map(|(data, stat)| (data, stat, None))
    };
    match found {
        Ok(found) => Ok(Some(found)),
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn list(
    client: &zk::Client,
    path: &str,
    watches: &mut Watches,
) -> Result<Vec<String>, zk::Error> {
    if !watches.lacks(path) {
        return client.list_children(path).await;
    }
    let (children, watcher) = client.list_and_watch_children(path).await?;
    watches.arm(path.to_owned(), watcher);
    Ok(children)
}

/// The data of several znodes; those that went in the meantime are left out,
/// and the watch on their parent will say so.
async fn get_all(
    client: &zk::Client,
    paths: &[String],
    watches: &mut Watches,
) -> Result<Vec<Option<Vec<u8>>>, zk::Error> {
    let reads = paths
        .iter()
        .map(|path| get(client, path, watches.lacks(path)));
    let mut all = Vec::with_capacity(paths.len());
    for (path, found) in paths.iter().zip(join_all(reads).await) {
        let Some((data, _, watcher)) = found? else {
            all.push(None);
            continue;
        };
        if let Some(watcher) = watcher {
            watches.arm(path.clone(), watcher);
        }
        all.push(Some(data));
    }
    Ok(all)
}

/// What was read.
struct View {
    members: Vec<(String, Vec<u8>)>,
    voters: Vec<(String, Vec<u8>)>,
    epoch: EpochRecord,
}

async fn read(
    client: &zk::Client,
    paths: &Paths,
    watches: &mut Watches,
) -> Result<Option<View>, zk::Error> {
    let names = list(client, &paths.members, watches).await?;
    let full: Vec<_> = names.iter().map(|name| paths.member(name)).collect();
    let members = get_all(client, &full, watches).await?;
    let ids = list(client, &paths.nodes, watches).await?;
    let full: Vec<_> = ids
        .iter()
        .map(|id| format!("{}/{id}", paths.nodes))
        .collect();
    let voters = get_all(client, &full, watches).await?;
    // Last: a claim must replace exactly the version that the rest was read with.
    let Some((data, stat, watcher)) =
        get(client, &paths.epoch, watches.lacks(&paths.epoch)).await?
    else {
        return Ok(None);
    };
    if let Some(watcher) = watcher {
        watches.arm(paths.epoch.clone(), watcher);
    }
    let Ok(epoch) = serde_json::from_slice::<EpochNode>(&data) else {
        return Ok(None);
    };
    let present = |(name, data): (String, Option<Vec<u8>>)| data.map(|data| (name, data));
    Ok(Some(View {
        members: names.into_iter().zip(members).filter_map(present).collect(),
        voters: ids.into_iter().zip(voters).filter_map(present).collect(),
        epoch: epoch.record(stat.version),
    }))
}

impl Runner {
    /// Reads everything; our own znode must be there.
    pub(super) async fn read(
        &mut self,
        session: &mut Session,
        watches: &mut Watches,
    ) -> Result<MembershipEvent, Broken> {
        let client = session.client.clone();
        let paths = session.paths.clone();
        let Some(view) = session.during(read(&client, &paths, watches)).await? else {
            tracing::warn!("{} is gone or damaged in ZooKeeper", paths.epoch);
            return Err(Broken::Rejoin);
        };
        let ours = |(name, _): &(String, Vec<u8>)| Some(paths.member(name)) == self.member;
        let us = self.config.node.as_str();
        if !view.members.iter().any(ours) || !view.voters.iter().any(|(id, _)| id == us) {
            return Err(Broken::Rejoin);
        }
        Ok(self.interpret(view, client.session_timeout()))
    }

    /// Leaves out what is not a voter's, and what cannot be read.
    fn interpret(&self, view: View, session_timeout: Duration) -> MembershipEvent {
        // Also those that have not come yet, and those whose znode cannot be read.
        let places = view.voters.iter().map(|(id, _)| NodeId::new(id)).collect();
        let mut voters = BTreeMap::new();
        for (id, data) in view.voters {
            match serde_json::from_slice::<VoterNode>(&data) {
                // Given to a node that has not come yet.
                Ok(voter) if voter.replication.is_empty() => {}
                Ok(voter) => drop(voters.insert(NodeId::new(&id), voter.replication)),
                Err(error) => self.strange(&id, &error.to_string()),
            }
        }
        let mut newest: BTreeMap<NodeId, (i64, MemberNode)> = BTreeMap::new();
        for (name, data) in view.members {
            let read = serde_json::from_slice::<MemberNode>(&data);
            let (rank, member) = match (rank(&name), read) {
                (Some(rank), Ok(member)) => (rank, member),
                (None, _) => {
                    self.strange(&name, "not a member's name");
                    continue;
                }
                (_, Err(error)) => {
                    self.strange(&name, &error.to_string());
                    continue;
                }
            };
            let node = NodeId::new(&member.node);
            // The older znode of one node is that of a process that is gone.
            let older = newest.get(&node).is_none_or(|(known, _)| *known < rank);
            if voters.contains_key(&node) && older {
                newest.insert(node, (rank, member));
            }
        }
        let mut keeper = Keeper {
            members: Vec::with_capacity(newest.len()),
            voters: places,
            epoch: view.epoch,
        };
        let mut members = BTreeMap::new();
        for (node, (rank, member)) in newest {
            // The newest address of a live node is in its own znode.
            voters.insert(node.clone(), member.replication.clone());
            keeper.members.push(Member {
                node: node.clone(),
                rank,
                weight: member.weight,
                durable: member.durable(),
            });
            members.insert(node, info(member));
        }
        MembershipEvent::Keeper {
            keeper,
            members,
            voters,
            session_timeout,
        }
    }

    fn strange(&self, name: &str, why: &str) {
        if self.quiet.allows(name) {
            tracing::warn!("left out {name} in ZooKeeper, which cannot be read: {why}");
        }
    }
}

fn info(member: MemberNode) -> MemberInfo {
    MemberInfo {
        durable: member.durable(),
        replication_address: member.replication,
        client_addresses: member.clients,
        admin_address: member.admin,
        weight: member.weight,
        role: member.role,
        incarnation: member.incarnation,
    }
}
