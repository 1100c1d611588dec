//! What the links share: who the other nodes are, and which stream is the current one.
//!
//! Every stream has a generation. The node loop's view of a stream changes
//! only when the loop itself takes an item or calls [`crate::Links`]: between a
//! stream's Hello and its end it sees nothing of older or newer streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use replicamq_proto::replication::v1 as wire;
use replicamq_quorum::{AskAnswer, Epoch, Message, NodeId, PromiseAnswer};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tonic::Status;
use tonic::transport::Channel;

use crate::links::{LinkConfig, LinkEvent};
use crate::peer;
use crate::quiet::Quiet;
use crate::snapshot::{Outgoing, Staged};
use crate::token::Token;
use crate::version;

/// Something for the node loop, before it is known whether it is still of interest.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) node: NodeId,
    /// The stream it came on; `None` for calls.
    pub(crate) generation: Option<u64>,
    pub(crate) said: Said,
}

#[derive(Debug)]
pub(crate) enum Said {
    Message(Message),
    /// A replica's Hello, with the way back to it.
    Opened(Message, mpsc::Sender<wire::FromMaster>),
    Ended,
}

impl Item {
    pub(crate) fn unlinked(node: NodeId, said: Said) -> Self {
        Self {
            node,
            generation: None,
            said,
        }
    }

    pub(crate) fn linked(node: NodeId, generation: u64, said: Said) -> Self {
        Self {
            node,
            generation: Some(generation),
            said,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: LinkConfig,
    pub(crate) token: Token,
    pub(crate) items: mpsc::Sender<Item>,
    /// Wakes the loop when a stream was dropped because it was full.
    pub(crate) dropped: Notify,
    pub(crate) runtime: Handle,
    pub(crate) tasks: Mutex<JoinSet<()>>,
    pub(crate) quiet: Quiet,
    /// For checkpoints on the disk: one is free again once the files are gone.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    generation: u64,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// The newest stream that each replica opened.
    pub(crate) opened: BTreeMap<NodeId, Opened>,
    /// Our replicas as the loop knows them.
    pub(crate) replicas: BTreeMap<NodeId, Replica>,
    /// Our master as the loop knows it.
    pub(crate) master: Option<Master>,
    /// Streams dropped because they were full, of which the loop is to be told.
    pub(crate) dropped: Vec<NodeId>,
    pub(crate) asks: BTreeMap<NodeId, oneshot::Sender<AskAnswer>>,
    pub(crate) promises: BTreeMap<NodeId, (Epoch, oneshot::Sender<PromiseAnswer>)>,
    /// Checkpoints on their way to our replicas.
    pub(crate) outgoing: Outgoing,
    /// What came of our master's checkpoint so far: it outlives the task that fetches.
    pub(crate) staged: Option<Staged>,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: String,
    /// For questions; made with the first.
    pub(crate) channel: Option<Channel>,
    /// Places for questions that wait for its answer.
    pub(crate) asks: Arc<Semaphore>,
    pub(crate) promises: Arc<Semaphore>,
}

#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) generation: u64,
    pub(crate) incarnation: String,
    pub(crate) reader: AbortHandle,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) generation: u64,
    pub(crate) sink: mpsc::Sender<wire::FromMaster>,
}

#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) node: NodeId,
    pub(crate) generation: u64,
    pub(crate) sink: mpsc::Sender<wire::FromReplica>,
    pub(crate) reader: AbortHandle,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    /// Runs a task that ends with the links.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks.lock().expect("no panic while it is held");
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.runtime)
    }

    pub(crate) fn address(&self, node: &NodeId) -> Result<String, Status> {
        let unknown = || Status::unavailable(format!("no address of {node} is known"));
        let state = self.state();
        state
            .peers
            .get(node)
            .map(|peer| peer.address.clone())
            .ok_or_else(unknown)
    }

    pub(crate) fn channel(&self, node: &NodeId) -> Result<Channel, Status> {
        let mut state = self.state();
        let unknown = || Status::unavailable(format!("no address of {node} is known"));
        let peer = state.peers.get_mut(node).ok_or_else(unknown)?;
        if let Some(channel) = &peer.channel {
            return Ok(channel.clone());
        }
        let endpoint = peer::endpoint(&peer.address)
            .map_err(|error| Status::unavailable(format!("{}: {error:?}", peer.address)))?;
        Ok(peer.channel.insert(endpoint.connect_lazy()).clone())
    }

    /// The answer must come from whom we asked: addresses may be confused.
    pub(crate) fn check_answerer(
        &self,
        asked: &NodeId,
        sender: Option<&wire::Sender>,
    ) -> Result<(), Status> {
        match sender {
            Some(sender)
                if sender.node == asked.as_str() && sender.cluster == self.config.cluster =>
            {
                version::check(sender).map_err(Status::out_of_range)
            }
            Some(sender) => Err(Status::internal(format!(
                "the address of {asked} belongs to node {} of cluster {}",
                sender.node, sender.cluster
            ))),
            None => Err(Status::internal("the answer names no sender")),
        }
    }
}

impl State {
    pub(crate) fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Whether the loop knows this stream as the current one.
    fn is_current(&self, node: &NodeId, generation: u64) -> bool {
        let replica = self.replicas.get(node).map(|replica| replica.generation);
        let master = self.master.as_ref().map(|master| master.generation);
        replica == Some(generation) || master == Some(generation)
    }

    /// What an item means to the loop: nothing, one event, or two.
    pub(crate) fn admit(&mut self, item: Item) -> (Option<LinkEvent>, Option<LinkEvent>) {
        let Item {
            node,
            generation,
            said,
        } = item;
        let current = generation.is_none_or(|generation| self.is_current(&node, generation));
        match (said, generation) {
            (Said::Message(message), _) => {
                let event = current.then_some(LinkEvent::Received {
                    from: node,
                    message,
                });
                (event, None)
            }
            (Said::Opened(message, sink), generation) => {
                let generation = generation.expect("a stream has a generation");
                let replica = Replica { generation, sink };
                let older = self.replicas.insert(node.clone(), replica);
                let ended = older.map(|_| LinkEvent::Unlinked { node: node.clone() });
                let hello = LinkEvent::Received {
                    from: node,
                    message,
                };
                match ended {
                    Some(ended) => (Some(ended), Some(hello)),
                    None => (Some(hello), None),
                }
            }
            (Said::Ended, Some(generation)) if current => {
                self.forget(&node, generation);
                (Some(LinkEvent::Unlinked { node }), None)
            }
            (Said::Ended, _) => (None, None),
        }
    }

    /// The stream is over for the loop; its task ends too.
    pub(crate) fn forget(&mut self, node: &NodeId, generation: u64) {
        if self
            .replicas
            .get(node)
            .is_some_and(|r| r.generation == generation)
        {
            self.replicas.remove(node);
        }
        if self
            .master
            .as_ref()
            .is_some_and(|m| m.generation == generation)
            && let Some(master) = self.master.take()
        {
            master.reader.abort();
        }
        if let Some(opened) = self.close(node, generation) {
            opened.reader.abort();
        }
    }

    /// A stream that a replica opened is no longer its newest.
    pub(crate) fn close(&mut self, node: &NodeId, generation: u64) -> Option<Opened> {
        let opened = self.opened.get(node)?;
        let same = opened.generation == generation;
        same.then(|| self.opened.remove(node)).flatten()
    }

    /// The node stops.
    pub(crate) fn close_all(&mut self) {
        if let Some(master) = self.master.take() {
            master.reader.abort();
        }
        self.replicas.clear();
        self.outgoing.close();
        for opened in std::mem::take(&mut self.opened).into_values() {
            opened.reader.abort();
        }
    }
}
