//! Building a node up, and taking it down again.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow};
use replicamq_cluster::{
    Checkpoint, CheckpointSource, LinkConfig, Links, Membership, MembershipConfig, MembershipEvent,
    Standing,
};
use replicamq_core::Limits as CoreLimits;
use replicamq_node::{Config as NodeConfig, Node};
use replicamq_quorum::{
    Config as QuorumConfig, Copy, Epoch, Limits as QuorumLimits, NodeId, Position, Recovered,
    SyncMode,
};
use replicamq_store::{
    BATCH_BYTES_MAX, FatalError, LogError, Opened, Options, Scrub, Store, StoreEvent,
    SyncMode as StoreSync, outgoing_directory, staging_directory,
};
use tokio::sync::{RwLock, mpsc};
use tokio::task::JoinSet;
use tonic::service::Routes;

use super::attempts::Attempts;
use super::clients::Clients;
use super::engine::{Ended, Engine, now};
use super::network::{ClusterNetwork, Network};
use super::repeats::Repeats;
use super::without_master::Reminder;
use super::{Process, resolve};
use crate::admin::Board;
use crate::config::{self, Address, Cluster, Durability};
use crate::listener::Reserved;
use crate::systemd;

/// Reports of the disk that wait for the node loop. Outstanding work is bounded
/// by the pipeline, so that this is never reached.
const STORE_EVENTS_MAX: usize = 65_536;

/// News from ZooKeeper that wait for the node loop.
const MEMBERSHIP_EVENTS_MAX: usize = 64;

/// A message from a master: the largest batch, and what surrounds it.
const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX + (1 << 20);

/// From the end of one reading of the whole disk to the beginning of the next.
const SCRUB_EVERY: Duration = Duration::from_hours(1);

/// In place of a cluster's id, in the directory of a broker that stands alone.
const ALONE: &str = "standalone";

/// The store for those who come over the network, until it is taken back.
type Lent = Arc<RwLock<Option<Arc<Store>>>>;

/// What joining the cluster came to.
enum Joined {
    Stopped,
    Network(Box<Network>),
}

impl Process {
    /// One life: from opening the store to closing it.
    pub(super) async fn live(&mut self, port: &mut Option<Reserved>) -> anyhow::Result<Ended> {
        let (events, store_events) = mpsc::channel(STORE_EVENTS_MAX);
        let opened = self.open_store(events).await?;
        self.check_whole(&opened)?;
        let Opened {
            store,
            mut recovered,
            ..
        } = opened;
        let store = Arc::new(store);
        let lent = Arc::new(RwLock::new(Some(Arc::clone(&store))));
        let node = NodeId::new(&self.config.node);
        let mut board = self.board(&node);
        let network = match self.config.cluster.clone() {
            None => Network::standalone(&node),
            Some(cluster) => {
                let joined = self
                    .join(&cluster, (&store, &lent), &mut recovered, &mut board)
                    .await?;
                match joined {
                    Joined::Network(network) => *network,
                    Joined::Stopped => return Ok(Ended::Stopped),
                }
            }
        };
        systemd::ready();
        let repairable =
            self.config.cluster.is_some() && !(recovered.unfilled || recovered.filling);
        let intervals = self.config.intervals;
        let mut engine = Engine {
            node: Node::new(self.node_config(node), &recovered, now()),
            store,
            store_events,
            network,
            clients: Clients::new(
                port.take(),
                self.config.limits.connections_max,
                Arc::clone(&self.settings),
            ),
            board,
            tick: intervals.heartbeat / 2,
            fetching: JoinSet::new(),
            attempts: Attempts::default(),
            reminder: Reminder::default(),
            repeats: Repeats::default(),
            effects: Vec::new(),
        };
        let ended = engine.run(&mut self.stop, &mut self.asked).await;
        let retired = engine.clients.retire().await;
        engine.fetching.shutdown().await;
        engine.network.stop().await;
        // Waits for a checkpoint that is being made. Connections that outlive the links
        // hold on to what is lent, and find nothing.
        drop(lent.write().await.take());
        let store = Arc::into_inner(engine.store).context("the store is still in use")?;
        tokio::task::spawn_blocking(move || store.close()).await?;
        let ended = match ended {
            // Once: what is damaged again before it was filled is not for a master to repair.
            Err(error) if repairable && is_damage(&error) => {
                tracing::error!("{error:#}; the store is closed, and a master fills it again");
                Ended::Damaged
            }
            ended => ended?,
        };
        *port = retired?;
        Ok(ended)
    }

    /// Tells what is missing, and goes on only where somebody can fill it.
    fn check_whole(&mut self, opened: &Opened) -> anyhow::Result<()> {
        let directory = self.config.directory.display();
        let unfilled = opened.recovered.unfilled;
        if let Some(damage) = &opened.damage {
            tracing::error!(
                "the store is damaged: {damage}; it does not count until a master has filled it again"
            );
        }
        if std::mem::take(&mut self.damaged) && !unfilled {
            return Err(anyhow!(
                "the damage cannot be noted in {directory}: empty it, and start the node again"
            ));
        }
        self.check_whose(opened.identity.cluster.as_deref())?;
        if unfilled && self.config.cluster.is_none() {
            return Err(anyhow!(
                "a broker that stands alone has no master to fill it again: restore a backup of {directory}, or go on with what is left: replicamq cluster accept-loss --directory {directory}"
            ));
        }
        if self.config.cluster.is_none() {
            opened.store.set_cluster(ALONE)?;
        }
        Ok(())
    }

    /// A log that goes on alone parts from its cluster, and one that began alone has no
    /// place in any: either way messages would be lost without a word.
    fn check_whose(&self, cluster: Option<&str>) -> anyhow::Result<()> {
        let directory = self.config.directory.display();
        match (&self.config.cluster, cluster) {
            (_, None) | (None, Some(ALONE)) => Ok(()),
            (None, Some(cluster)) => Err(anyhow!(
                "{directory} belongs to cluster {cluster}, and without zk_address its node would go on alone: set zk_address, or serve another directory"
            )),
            (Some(_), Some(ALONE)) => Err(anyhow!(
                "{directory} is that of a broker that stood alone: give the node an empty directory; to keep the messages, serve the old one without zk_address and move them with `replicamq receive` and `replicamq send`"
            )),
            (Some(_), Some(_)) => Ok(()),
        }
    }

    fn board(&self, node: &NodeId) -> Board {
        let replicas = self.config.cluster.as_ref().map_or(1, |c| c.replicas);
        Board::new(node.clone(), replicas, self.config.sync.to_string())
    }

    async fn open_store(&self, events: mpsc::Sender<StoreEvent>) -> anyhow::Result<Opened> {
        let config = &self.config;
        let options = Options {
            incarnation: Some(self.incarnation.clone()),
            created_unfilled: config.cluster.is_some(),
            adopts: config.cluster.is_some(),
            segment_bytes: config.limits.log_segment_bytes,
            retention_bytes: config.limits.log_retention_bytes,
            retention_age: config.limits.log_retention_age,
            scrub: scrub(config.limits.scrub_rate),
            sync: if sync_mode(config.sync).syncs() {
                StoreSync::Disk
            } else {
                StoreSync::Memory
            },
            ..Options::new(&config.directory, &config.node)
        };
        tracing::info!(node = config.node, directory = %config.directory.display(), "opening the store");
        // Once the loop has ended, nobody is left to hear what the disk says.
        let notify = move |event| drop(events.blocking_send(event));
        let opened =
            tokio::task::spawn_blocking(move || Store::open(options, Arc::new(notify))).await??;
        tracing::info!(
            log_ends = %opened.recovered.last,
            applied = %opened.recovered.applied,
            promised = %opened.recovered.promised,
            "the store is open"
        );
        Ok(opened)
    }

    /// Registers with ZooKeeper, waiting for it as long as it takes, and opens
    /// the replication port.
    async fn join(
        &mut self,
        cluster: &Cluster,
        (store, lent): (&Store, &Lent),
        recovered: &mut Recovered,
        board: &mut Board,
    ) -> anyhow::Result<Joined> {
        let (sender, mut membership_events) = mpsc::channel(MEMBERSHIP_EVENTS_MAX);
        let membership = Membership::start(
            self.membership_config(cluster, store, recovered.last),
            sender,
        );
        let waiting = format!("waiting for ZooKeeper at {}", zk_address(cluster));
        systemd::status(&waiting);
        let (id, standing) = loop {
            // Every arm only waits on a channel.
            tokio::select! {
                stopped = self.stop.wait_for(|stop| *stop) => {
                    drop(stopped);
                    membership.stop().await;
                    return Ok(Joined::Stopped);
                }
                Some(asked) = self.asked.recv() => board.answer_waiting(asked, &waiting),
                event = membership_events.recv() => match event {
                    Some(MembershipEvent::Joined { cluster, standing }) => break (cluster, standing),
                    Some(MembershipEvent::Refused(refused)) => return Err(anyhow!(refused)),
                    Some(_) => {}
                    None => return Err(anyhow!("the ZooKeeper session ended")),
                }
            }
        };
        settle(standing, store, recovered)?;
        store.set_cluster(&id)?;
        let bind = resolve(&cluster.replication.bind).await?;
        let config = LinkConfig {
            cluster: id.clone(),
            node: NodeId::new(&self.config.node),
            incarnation: self.incarnation.clone(),
            token: self.token(),
            bind,
            message_bytes_max: MESSAGE_BYTES_MAX,
            snapshot_rate: NonZeroU64::new(self.config.limits.snapshot_rate),
        };
        let outgoing = outgoing_directory(&self.config.directory);
        let checkpoints = checkpoints(Arc::clone(lent), outgoing.clone())
            .with_context(|| format!("prepare {}", outgoing.display()))?;
        let (links, link_events) = Links::start(config, checkpoints, Routes::default())?;
        tracing::info!(cluster = id, address = %links.address(), "open for replication");
        board.cluster(id);
        Ok(Joined::Network(Box::new(Network::Cluster(Box::new(
            ClusterNetwork {
                links,
                link_events,
                membership,
                membership_events,
                connected: true,
                session_timeout: Duration::ZERO,
                staging: staging_directory(&self.config.directory),
                next: None,
            },
        )))))
    }

    fn membership_config(
        &self,
        cluster: &Cluster,
        store: &Store,
        log_end: Position,
    ) -> MembershipConfig {
        let config = &self.config;
        let identity = store.identity();
        let authority = |listen: &Option<config::Listen>| {
            listen
                .as_ref()
                .map_or_else(String::new, |listen| listen.advertised.authority())
        };
        let clients = config.stomp.as_ref();
        MembershipConfig {
            address: zk_address(cluster),
            path: cluster.zk_path.clone(),
            password: cluster.zk_password.as_ref().map(|p| p.reveal().to_owned()),
            session_timeout: cluster.zk_session_timeout,
            replicas: cluster.replicas as usize,
            node: NodeId::new(&config.node),
            incarnation: self.incarnation.clone(),
            predecessors: store.predecessors().to_vec(),
            store: identity.store,
            log_end,
            cluster: identity.cluster,
            weight: cluster.weight,
            replication_address: cluster.replication.advertised.authority(),
            client_addresses: clients.map_or_else(String::new, |listen| {
                format!("stomp://{}", listen.advertised.authority())
            }),
            admin_address: authority(&config.admin),
        }
    }

    fn token(&self) -> Option<String> {
        let token = self.config.security_token.as_ref();
        token.map(|token| token.reveal().to_owned())
    }

    fn node_config(&self, node: NodeId) -> NodeConfig {
        let config = &self.config;
        let ms = |interval: Duration| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let quorum = QuorumConfig {
            node,
            replicas: config.cluster.as_ref().map_or(1, |c| c.replicas as usize),
            weight: config.cluster.as_ref().map_or(1, |c| c.weight),
            sync: sync_mode(config.sync),
            limits: QuorumLimits {
                heartbeat_ms: ms(config.intervals.heartbeat),
                lease_ms: ms(config.intervals.lease),
                suspicion_ms: ms(config.intervals.suspicion),
                ..QuorumLimits::default()
            },
        };
        let limits = CoreLimits {
            connections_max: config.limits.connections_max,
            duplicate_window: config.limits.duplicate_window,
            destinations_max: config.limits.destinations_max,
            durables_max: config.limits.durables_max,
            ..CoreLimits::default()
        };
        NodeConfig { quorum, limits }
    }
}

/// What ZooKeeper knows of this store decides whether it counts.
fn settle(standing: Standing, store: &Store, recovered: &mut Recovered) -> anyhow::Result<()> {
    match standing {
        // Nobody ever counted on what this node promised: empty is all it should be.
        Standing::New
            if recovered.unfilled
                && recovered.last == Position::default()
                && recovered.promised == Epoch(0) =>
        {
            store.mark_filled()?;
            recovered.unfilled = false;
        }
        // It lost its IDENTITY, or this would have shown before.
        Standing::New if recovered.unfilled => {
            return Err(anyhow!(
                "this node is new to the cluster, but its directory holds entries up to {} of nobody knows whom: give it an empty directory",
                recovered.last
            ));
        }
        Standing::Unfilled if !recovered.filling => {
            tracing::warn!(
                "ZooKeeper knows this node with another store: it will be filled by the master before it votes"
            );
            store.mark_unfilled()?;
            recovered.unfilled = true;
        }
        Standing::Outdated { held } if !recovered.filling && !recovered.unfilled => {
            tracing::error!(
                "this directory is an older copy of itself: its log ends at {}, but it held {held}; was a backup put back? It will be filled by the master before it votes. Never restore one node of a cluster: start it with an empty directory",
                recovered.last
            );
            store.mark_unfilled()?;
            recovered.unfilled = true;
        }
        Standing::New | Standing::Known | Standing::Unfilled | Standing::Outdated { .. } => {}
    }
    Ok(())
}

/// Whether a master can repair what ended a life.
fn is_damage(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(FatalError::Log(LogError::Damaged { .. }) | FatalError::StoreDamaged { .. })
    )
}

fn scrub(bytes_per_second: u64) -> Option<Scrub> {
    let scrub = Scrub {
        bytes_per_second,
        every: SCRUB_EVERY,
    };
    (bytes_per_second > 0).then_some(scrub)
}

/// The mode in the words of the quorum.
fn sync_mode(configured: config::SyncMode) -> SyncMode {
    let copy = |durability| match durability {
        Durability::Disk => Copy::Disk,
        Durability::Mem => Copy::Memory,
        Durability::None => Copy::None,
    };
    SyncMode {
        local: copy(configured.local),
        remote: copy(configured.remote),
    }
}

/// `host:port,host:port`.
fn zk_address(cluster: &Cluster) -> String {
    let servers: Vec<String> = cluster.zk_servers.iter().map(Address::authority).collect();
    servers.join(",")
}

/// Makes checkpoints for replicas, each in a directory of its own that goes
/// when the transfer is over.
fn checkpoints(lent: Lent, directory: PathBuf) -> io::Result<CheckpointSource> {
    // A process that ended in mid-transfer may have left some.
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir(&directory)?;
    let number = AtomicU64::new(0);
    let asked = Mutex::new(BTreeMap::new());
    Ok(Arc::new(move |replica, epoch| {
        // On a thread that may block, for as long as the store is needed.
        let store = lent.blocking_read();
        let store = store.as_ref().ok_or("the node is stopping")?;
        let before = asked
            .lock()
            .expect("nobody panics while holding it")
            .insert(replica.clone(), epoch);
        if before == Some(epoch) {
            // It had no use for the last one. Perhaps that was rotten, as our store is then.
            store.scrub_now();
        }
        let number = number.fetch_add(1, Ordering::Relaxed);
        let directory = directory.join(number.to_string());
        let pin = (Outgoing(directory.clone()), store.hold_log(replica));
        let info = store
            .checkpoint(&directory)
            .map_err(|error| error.to_string())?;
        Ok(Checkpoint {
            directory,
            applied: info.applied,
            history: info.history,
            pin: Box::new(pin),
        })
    }))
}

/// Removes a checkpoint that nobody reads any more.
struct Outgoing(PathBuf);

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        {
            tracing::warn!(directory = %self.0.display(), "cannot remove a checkpoint: {error}");
        }
    }
}
