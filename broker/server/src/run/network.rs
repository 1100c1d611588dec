//! The other nodes and ZooKeeper, or their absence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use replicamq_cluster::{
    LinkEvent, LinkEvents, Links, MemberInfo, Membership, MembershipEvent, RefusedMembership,
};
use replicamq_quorum::{
    Epoch, EpochRecord, Event as QuorumEvent, Hello, Keeper, Member, Message, NodeId, Position,
};
use replicamq_store::{CheckpointInfo, verify};
use tokio::sync::mpsc;

/// What the network brings.
#[derive(Debug)]
pub(crate) enum Happened {
    /// Something for the quorum.
    Quorum(QuorumEvent),
    /// Who is here; the quorum is told separately.
    Members(BTreeMap<NodeId, MemberInfo>),
    /// This node may not take part; it must stop.
    Refused(RefusedMembership),
}

/// A node that stands alone, or one of several.
#[derive(Debug)]
pub(crate) enum Network {
    /// It elects itself.
    Standalone {
        events: VecDeque<QuorumEvent>,
    },
    Cluster(Box<ClusterNetwork>),
}

#[derive(Debug)]
pub(crate) struct ClusterNetwork {
    pub(crate) links: Links,
    pub(crate) link_events: LinkEvents,
    pub(crate) membership: Membership,
    pub(crate) membership_events: mpsc::Receiver<MembershipEvent>,
    pub(crate) connected: bool,
    /// What `ZooKeeper` granted; zero before it was read for the first time.
    pub(crate) session_timeout: Duration,
    /// Where a fetched checkpoint is put together.
    pub(crate) staging: PathBuf,
    /// A second event that one message meant.
    pub(crate) next: Option<Happened>,
}

impl Network {
    pub(crate) fn standalone(node: &NodeId) -> Self {
        let keeper = Keeper {
            members: vec![Member {
                node: node.clone(),
                rank: 0,
                weight: 1,
                durable: Position::default(),
            }],
            voters: BTreeSet::from([node.clone()]),
            epoch: EpochRecord::default(),
        };
        Self::Standalone {
            events: VecDeque::from([QuorumEvent::Keeper(keeper)]),
        }
    }

    pub(crate) async fn next(&mut self) -> Happened {
        match self {
            Self::Standalone { events } => match events.pop_front() {
                Some(event) => Happened::Quorum(event),
                None => std::future::pending().await,
            },
            Self::Cluster(cluster) => cluster.next().await,
        }
    }

    pub(crate) fn try_next(&mut self) -> Option<Happened> {
        match self {
            Self::Standalone { events } => events.pop_front().map(Happened::Quorum),
            Self::Cluster(cluster) => cluster.try_next(),
        }
    }

    pub(crate) fn send(&self, to: &NodeId, message: Message) {
        if let Self::Cluster(cluster) = self {
            cluster.links.send(to, message);
        }
    }

    pub(crate) fn follow(&self, master: &NodeId, hello: &Hello) {
        if let Self::Cluster(cluster) = self {
            cluster.links.follow(master, hello);
        }
    }

    pub(crate) fn unfollow(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.links.unfollow();
        }
    }

    pub(crate) fn unlink(&self, node: &NodeId) {
        if let Self::Cluster(cluster) = self {
            cluster.links.unlink(node);
        }
    }

    /// Alone, every claim wins.
    pub(crate) fn claim(&mut self, epoch: Epoch, version: i32) {
        match self {
            Self::Standalone { events } => {
                events.push_back(QuorumEvent::Claimed { epoch, won: true });
            }
            Self::Cluster(cluster) => cluster.membership.claim(epoch, version),
        }
    }

    pub(crate) fn confirm_filled(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.membership.confirm_filled();
        }
    }

    pub(crate) fn advertise(&self, role: &str, durable: Position, held: Position) {
        if let Self::Cluster(cluster) = self {
            cluster.membership.advertise(role, durable, held);
        }
    }

    /// Fetches the master's checkpoint, to be run on a task of its own. `held` is the end
    /// of this node's log if nothing is missing from it.
    pub(crate) fn fetch(
        &self,
        master: &NodeId,
        epoch: Epoch,
        held: Option<Position>,
    ) -> Option<BoxFuture<'static, anyhow::Result<(PathBuf, CheckpointInfo)>>> {
        let Self::Cluster(cluster) = self else {
            return None;
        };
        let snapshots = cluster.links.snapshots();
        let staging = cluster.staging.clone();
        let master = master.clone();
        Some(Box::pin(async move {
            let manifest = snapshots.fetch(&master, epoch, &staging, held).await?;
            let info = CheckpointInfo {
                applied: manifest.applied,
                history: manifest.history,
                files: manifest
                    .files
                    .into_iter()
                    .map(|file| (file.name, file.bytes))
                    .collect(),
            };
            let (staged, announced) = (staging.clone(), info.clone());
            tokio::task::spawn_blocking(move || verify(&staged, &announced))
                .await?
                .with_context(|| format!("look through the checkpoint of {master}"))?;
            Ok((staging, info))
        }))
    }

    /// For operators: how this node stands to ZooKeeper.
    pub(crate) fn keeper_state(&self) -> &'static str {
        match self {
            Self::Standalone { .. } => "standalone",
            Self::Cluster(cluster) if cluster.connected => "connected",
            Self::Cluster(_) => "disconnected",
        }
    }

    /// After which silence `ZooKeeper` forgets this node; zero while it is not connected.
    pub(crate) fn session_timeout(&self) -> Duration {
        match self {
            Self::Cluster(cluster) if cluster.connected => cluster.session_timeout,
            Self::Cluster(_) | Self::Standalone { .. } => Duration::ZERO,
        }
    }

    /// Leaves the cluster: the member znode goes at once, not with the session.
    pub(crate) async fn stop(self) {
        if let Self::Cluster(cluster) = self {
            cluster.membership.stop().await;
            cluster.links.stop().await;
        }
    }
}

impl ClusterNetwork {
    async fn next(&mut self) -> Happened {
        if let Some(happened) = self.next.take() {
            return happened;
        }
        loop {
            // Both arms only wait on a channel.
            tokio::select! {
                Some(event) = self.link_events.recv() => return link_happened(event),
                Some(event) = self.membership_events.recv() => {
                    if let Some(happened) = self.membership_happened(event) {
                        return happened;
                    }
                }
                else => std::future::pending::<()>().await,
            }
        }
    }

    fn try_next(&mut self) -> Option<Happened> {
        self.next
            .take()
            .or_else(|| self.link_events.try_recv().map(link_happened))
    }

    fn membership_happened(&mut self, event: MembershipEvent) -> Option<Happened> {
        match event {
            // Once in a process: it was waited for before the node began.
            MembershipEvent::Joined { .. } => None,
            MembershipEvent::Keeper {
                keeper,
                members,
                voters,
                session_timeout,
            } => {
                self.connected = true;
                self.session_timeout = session_timeout;
                self.links.addresses(&voters);
                self.next = Some(Happened::Quorum(QuorumEvent::Keeper(keeper)));
                Some(Happened::Members(members))
            }
            MembershipEvent::Lost => {
                self.connected = false;
                tracing::warn!(
                    "ZooKeeper is out of reach: a master goes on with its quorum; elections wait"
                );
                Some(Happened::Quorum(QuorumEvent::KeeperLost))
            }
            MembershipEvent::Claimed { epoch, won } => {
                Some(Happened::Quorum(QuorumEvent::Claimed { epoch, won }))
            }
            MembershipEvent::Refused(refused) => Some(Happened::Refused(refused)),
        }
    }
}

fn link_happened(event: LinkEvent) -> Happened {
    Happened::Quorum(match event {
        LinkEvent::Received { from, message } => QuorumEvent::Received { from, message },
        LinkEvent::Unlinked { node } => QuorumEvent::Unlinked { node },
    })
}
