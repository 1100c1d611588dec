//! The streams and calls between this node and the others.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{AskAnswer, Epoch, Hello, Message, NodeId, PromiseAnswer};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::convert;
use crate::incoming;
use crate::limits::{
    ASKS_MAX, EVENTS_MAX, FRAME_BYTES_MAX, KEEPALIVE_EVERY, KEEPALIVE_TIMEOUT, PEERS_MAX,
    PROMISES_MAX, SNAPSHOTS_MAX, STOP_TIMEOUT, STREAM_MESSAGES_MAX, STREAMS_MAX, WINDOW_BYTES,
};
use crate::peer;
use crate::quiet::Quiet;
use crate::service::service;
use crate::snapshot::{CheckpointSource, SnapshotSender, Snapshots};
use crate::state::{Item, Master, Peer, Shared, State};
use crate::token::Token;
use crate::version::{PROTOCOL, PROTOCOL_MIN};

/// Who this node is to the others, and where it listens.
#[derive(Clone)]
pub struct LinkConfig {
    /// The cluster, as ZooKeeper names it.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// Made anew by every process.
    pub incarnation: String,
    /// The shared secret; every node has the same.
    pub token: Option<String>,
    /// The replication port.
    pub bind: SocketAddr,
    /// The largest message from a master: an entry of the largest size and some slack.
    pub message_bytes_max: usize,
    /// Bytes a second that one replica's snapshot may take; `None`: as many as go.
    pub snapshot_rate: Option<NonZeroU64>,
}

impl std::fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkConfig")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("incarnation", &self.incarnation)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("bind", &self.bind)
            .field("message_bytes_max", &self.message_bytes_max)
            .field("snapshot_rate", &self.snapshot_rate)
            .finish()
    }
}

impl LinkConfig {
    pub(crate) fn sender(&self) -> wire::Sender {
        wire::Sender {
            cluster: self.cluster.clone(),
            node: self.node.as_str().to_owned(),
            incarnation: self.incarnation.clone(),
            protocol: PROTOCOL,
            protocol_min: PROTOCOL_MIN,
        }
    }
}

/// Why the links cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The port cannot be had.
    #[error("cannot listen on {address} for replication: {error}")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The token cannot travel in a header.
    #[error("the security_token may only hold visible ASCII characters")]
    Token,
}

/// What happened on the links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// A message came. A replica's stream begins with its Hello.
    Received {
        /// From whom.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// The stream to this node is gone. Nothing of it follows.
    Unlinked {
        /// The other end.
        node: NodeId,
    },
}

/// Sends to the other nodes. Nothing here waits.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Dropped to stop the server.
    stop: Option<oneshot::Sender<()>>,
}

/// What the other nodes say, for the node loop.
#[derive(Debug)]
pub struct LinkEvents {
    shared: Arc<Shared>,
    items: mpsc::Receiver<Item>,
    /// The second of two events that one item meant.
    next: Option<LinkEvent>,
}

impl Links {
    /// Listens, and serves `routes` (made of other services) on the same port.
    /// Call it inside a tokio runtime.
    pub fn start(
        config: LinkConfig,
        checkpoints: CheckpointSource,
        routes: Routes,
    ) -> Result<(Self, LinkEvents), LinkError> {
        let token = token(&config)?;
        let bind = |error| LinkError::Bind {
            address: config.bind,
            error,
        };
        let listener = incoming::bind(config.bind).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        if token.is_none() && !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "replication is open to everybody who reaches this address: set security_token, or bind to loopback"
            );
        }
        let (sender, items) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            config,
            token,
            items: sender,
            dropped: Notify::new(),
            runtime: Handle::current(),
            tasks: Mutex::new(JoinSet::new()),
            quiet: Quiet::default(),
            places: Arc::new(Semaphore::new(SNAPSHOTS_MAX as usize)),
            state: Mutex::new(State::default()),
        });
        let snapshots = SnapshotSender::new(checkpoints, shared.config.snapshot_rate);
        let routes = routes.add_service(service(Arc::clone(&shared), snapshots));
        let (stop, stopped) = oneshot::channel();
        shared.spawn(serve(listener, routes, stopped));
        let events = LinkEvents {
            shared: Arc::clone(&shared),
            items,
            next: None,
        };
        let links = Self {
            shared,
            address,
            stop: Some(stop),
        };
        Ok((links, events))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Fetches snapshots, one at a time; may be taken to another task.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(Arc::clone(&self.shared))
    }

    /// The nodes that may speak to us and their replication addresses, as `host:port`.
    pub fn addresses(&self, addresses: &BTreeMap<NodeId, String>) {
        let mut state = self.shared.state();
        state
            .peers
            .retain(|node, peer| addresses.get(node) == Some(&peer.address));
        for (node, address) in addresses.iter().take(PEERS_MAX) {
            if *node != self.shared.config.node {
                state.peers.entry(node.clone()).or_insert_with(|| Peer {
                    address: address.clone(),
                    channel: None,
                    asks: Arc::new(Semaphore::new(ASKS_MAX)),
                    promises: Arc::new(Semaphore::new(PROMISES_MAX)),
                });
            }
        }
    }

    /// Sends a message, or drops it if there is no way. A stream that cannot
    /// take it is closed and reported.
    pub fn send(&self, to: &NodeId, message: Message) {
        match message {
            Message::Ask | Message::Promise { .. } => self.call(to, message),
            Message::AskAnswer(answer) => self.answer_ask(to, answer),
            Message::PromiseAnswer(answer) => self.answer_promise(to, answer),
            Message::Hello(_) => tracing::debug!(%to, "a hello is sent by follow"),
            Message::Appended(appended) => {
                let mut state = self.shared.state();
                let master = state.master.as_ref().filter(|master| master.node == *to);
                let Some(master) = master else { return };
                let sent = master.sink.try_send(convert::appended(appended));
                let generation = master.generation;
                self.sent(&mut state, to, generation, &sent);
            }
            Message::Entries(_)
            | Message::Truncate { .. }
            | Message::TakeSnapshot { .. }
            | Message::Lead { .. }
            | Message::Refused { .. } => {
                let message = convert::from_master(message).expect("a master's message");
                let mut state = self.shared.state();
                let Some(replica) = state.replicas.get(to) else {
                    return;
                };
                let sent = replica.sink.try_send(message);
                let generation = replica.generation;
                self.sent(&mut state, to, generation, &sent);
            }
        }
    }

    /// Opens the stream to a master in place of any other. Its end, or its
    /// failure to open, is reported as unlinked.
    pub fn follow(&self, master: &NodeId, hello: &Hello) {
        let mut state = self.shared.state();
        if let Some(older) = state.master.take() {
            older.reader.abort();
        }
        state.dropped.retain(|node| node != master);
        let generation = state.next_generation();
        let (sink, outbound) = mpsc::channel(STREAM_MESSAGES_MAX);
        sink.try_send(convert::hello(self.shared.config.sender(), hello))
            .expect("the stream is new and empty");
        let shared = Arc::clone(&self.shared);
        let task = peer::follow(shared, master.clone(), generation, outbound);
        state.master = Some(Master {
            node: master.clone(),
            generation,
            sink,
            reader: self.shared.spawn(task),
        });
    }

    /// Closes the stream to the master; nothing of it is reported any more.
    pub fn unfollow(&self) {
        if let Some(master) = self.shared.state().master.take() {
            master.reader.abort();
        }
    }

    /// Closes a replica's stream; nothing of it is reported any more.
    pub fn unlink(&self, node: &NodeId) {
        let mut state = self.shared.state();
        if let Some(replica) = state.replicas.get(node) {
            let generation = replica.generation;
            state.forget(node, generation);
        }
    }

    /// Closes every stream and the port, and waits for their tasks and until the
    /// checkpoints for replicas are gone.
    pub async fn stop(mut self) {
        // Dropping it tells the server too.
        drop(self.stop.take());
        let mut tasks = {
            let mut state = self.shared.state();
            state.close_all();
            let mut tasks = self.shared.tasks.lock().expect("no panic while it is held");
            std::mem::take(&mut *tasks)
        };
        let joined = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, joined).await.is_err() {
            tasks.shutdown().await;
        }
        // The files go on other threads.
        let gone = self.shared.places.acquire_many(SNAPSHOTS_MAX);
        if tokio::time::timeout(STOP_TIMEOUT, gone).await.is_err() {
            tracing::warn!("a checkpoint for a replica is still being made or removed");
        }
    }

    fn call(&self, to: &NodeId, message: Message) {
        let places = self.shared.state().peers.get(to).map(|peer| {
            let promise = matches!(message, Message::Promise { .. });
            Arc::clone(if promise { &peer.promises } else { &peer.asks })
        });
        let Some(place) = places.and_then(|places| places.try_acquire_owned().ok()) else {
            tracing::debug!(%to, "its address is not known, or too many questions to it are open");
            return;
        };
        let call = peer::call(Arc::clone(&self.shared), to.clone(), message);
        self.shared.spawn(async move {
            call.await;
            drop(place);
        });
    }

    fn answer_ask(&self, to: &NodeId, answer: AskAnswer) {
        let asked = self.shared.state().asks.remove(to);
        if asked.is_none_or(|asked| asked.send(answer).is_err()) {
            tracing::debug!(%to, "nobody waits for this answer any more");
        }
    }

    fn answer_promise(&self, to: &NodeId, answer: PromiseAnswer) {
        let mut state = self.shared.state();
        // A refusal may name another epoch; a promise is for exactly the one asked for.
        let fits = |(epoch, _): &(Epoch, _)| answer.refused.is_some() || answer.epoch == *epoch;
        let fits = state.promises.get(to).is_some_and(fits);
        let asked = fits.then(|| state.promises.remove(to)).flatten();
        if asked.is_none_or(|(_, asked)| asked.send(answer).is_err()) {
            tracing::debug!(%to, "nobody waits for this answer any more");
        }
    }

    /// A stream that cannot take a message is over.
    fn sent<T>(
        &self,
        state: &mut State,
        to: &NodeId,
        generation: u64,
        sent: &Result<(), TrySendError<T>>,
    ) {
        let Err(error) = sent else { return };
        if matches!(error, TrySendError::Full(_)) && self.shared.quiet.allows(to.as_str()) {
            tracing::warn!(%to, "the other end takes nothing any more: closed its stream");
        }
        state.forget(to, generation);
        state.dropped.push(to.clone());
        self.shared.dropped.notify_one();
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.close_all();
        let mut tasks = self.shared.tasks.lock().expect("no panic while it is held");
        tasks.abort_all();
    }
}

impl LinkEvents {
    /// The next event; `None` never comes while the [`Links`] live. May be
    /// cancelled: nothing is taken before it is returned.
    pub async fn recv(&mut self) -> Option<LinkEvent> {
        loop {
            if let Some(event) = self.pending() {
                return Some(event);
            }
            tokio::select! {
                // Wakes only to look at the list again: losing it loses nothing,
                // since the list is looked at first in every round.
                () = self.shared.dropped.notified() => {}
                // Taking from a channel either happens or does not.
                item = self.items.recv() => {
                    if let Some(event) = self.admit(item?) {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Option<LinkEvent> {
        loop {
            if let Some(event) = self.pending() {
                return Some(event);
            }
            let item = self.items.try_recv().ok()?;
            if let Some(event) = self.admit(item) {
                return Some(event);
            }
        }
    }

    fn pending(&mut self) -> Option<LinkEvent> {
        self.next.take().or_else(|| {
            let node = self.shared.state().dropped.pop()?;
            Some(LinkEvent::Unlinked { node })
        })
    }

    fn admit(&mut self, item: Item) -> Option<LinkEvent> {
        let (event, next) = self.shared.state().admit(item);
        self.next = next;
        event
    }
}

fn token(config: &LinkConfig) -> Result<Token, LinkError> {
    let Some(token) = &config.token else {
        return Ok(None);
    };
    let mut token = MetadataValue::try_from(token.as_str()).map_err(|_| LinkError::Token)?;
    token.set_sensitive(true);
    Ok(Some(token))
}

/// The one server of the replication port. Mutual TLS would be set here.
async fn serve(listener: TcpListener, routes: Routes, stopped: oneshot::Receiver<()>) {
    let served = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming::accept(listener), async {
            // It is never sent, only dropped.
            drop(stopped.await);
        });
    if let Err(error) = served.await {
        tracing::error!("the replication port is closed: {error}");
    }
}
