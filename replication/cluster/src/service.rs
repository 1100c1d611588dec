//! The server side: what other nodes may ask of this one.
//!
//! Everything is checked before the node loop hears of it: the token, the
//! cluster, who is speaking, and that nobody else speaks under that name.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use replicamq_proto::replication::v1 as wire;
use replicamq_proto::replication::v1::replication_server::{Replication, ReplicationServer};
use replicamq_quorum::{AskAnswer, Epoch, Hello, Message, NodeId, PromiseAnswer};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use crate::convert::{self, Malformed};
use crate::limits::{
    ASK_TIMEOUT, CHUNK_MESSAGE_BYTES_MAX, HELLO_TIMEOUT, PROMISE_TIMEOUT, REQUEST_BYTES_MAX,
    STREAM_MESSAGES_MAX,
};
use crate::snapshot::SnapshotSender;
use crate::state::{Item, Opened, Said, Shared};
use crate::token::TokenCheck;
use crate::version;

#[derive(Debug)]
pub(crate) struct Service {
    shared: Arc<Shared>,
    snapshots: SnapshotSender,
}

/// The service with its limits and its guard.
pub(crate) fn service(
    shared: Arc<Shared>,
    snapshots: SnapshotSender,
) -> InterceptedService<ReplicationServer<Service>, TokenCheck> {
    let check = TokenCheck::replication(shared.token.clone());
    let message_bytes_max = shared.config.message_bytes_max.max(CHUNK_MESSAGE_BYTES_MAX);
    let server = ReplicationServer::new(Service { shared, snapshots })
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(message_bytes_max);
    InterceptedService::new(server, check)
}

impl Service {
    /// Who is speaking, if they may.
    fn check(&self, sender: Option<wire::Sender>) -> Result<(NodeId, String), Status> {
        let checked = self.check_sender(sender);
        if let Err(status) = &checked
            && self.shared.quiet.allows(status.message())
        {
            tracing::warn!("refused a node: {}", status.message());
        }
        checked
    }

    fn check_sender(&self, sender: Option<wire::Sender>) -> Result<(NodeId, String), Status> {
        let sender = sender.ok_or_else(|| Status::invalid_argument("the sender is missing"))?;
        let ours = &self.shared.config;
        if sender.cluster != ours.cluster {
            return Err(Status::permission_denied(format!(
                "node {} belongs to cluster {}, node {} to cluster {}: check the addresses, or give the node an empty directory",
                sender.node, sender.cluster, ours.node, ours.cluster
            )));
        }
        if sender.node == ours.node.as_str() {
            return Err(Status::already_exists(format!(
                "another process calls itself {}: every node needs an id of its own",
                sender.node
            )));
        }
        version::check(&sender).map_err(Status::out_of_range)?;
        let node = NodeId::new(&sender.node);
        let state = self.shared.state();
        if !state.peers.contains_key(&node) {
            return Err(Status::permission_denied(format!(
                "node {node} is not a member of this cluster as node {} sees it",
                ours.node
            )));
        }
        if let Some(opened) = state.opened.get(&node)
            && opened.incarnation != sender.incarnation
        {
            return Err(Status::already_exists(format!(
                "node {node} is linked already, by another process: every node needs an id of its own"
            )));
        }
        Ok((node, sender.incarnation))
    }

    /// Hands a question to the loop and waits for its answer.
    async fn question<A>(
        &self,
        node: NodeId,
        message: Message,
        (answer, timeout): (oneshot::Receiver<A>, Duration),
    ) -> Result<A, Status> {
        let item = Item::unlinked(node, Said::Message(message));
        let stopping = |_| Status::unavailable("the node is stopping");
        let ask = async {
            self.shared.items.send(item).await.map_err(stopping)?;
            let newer = |_| Status::aborted("a newer question took its place");
            answer.await.map_err(newer)
        };
        let late = |_| Status::deadline_exceeded("the node did not answer in time");
        tokio::time::timeout(timeout, ask).await.map_err(late)?
    }

    fn open(&self, node: &NodeId, incarnation: String, streams: Streams) {
        let Streams {
            hello,
            inbound,
            sink,
        } = streams;
        let mut state = self.shared.state();
        let generation = state.next_generation();
        let opened = Item::linked(
            node.clone(),
            generation,
            Said::Opened(Message::Hello(hello), sink),
        );
        let shared = Arc::clone(&self.shared);
        let reader = self.shared.spawn(read(shared, opened, inbound));
        let opened = Opened {
            generation,
            incarnation,
            reader,
        };
        if let Some(older) = state.opened.insert(node.clone(), opened) {
            older.reader.abort();
        }
    }
}

/// Both directions of a stream that a replica opened.
struct Streams {
    hello: Hello,
    inbound: Streaming<wire::FromReplica>,
    sink: mpsc::Sender<wire::FromMaster>,
}

/// Hands over what a replica says, from its Hello to its end.
async fn read(shared: Arc<Shared>, opened: Item, mut inbound: Streaming<wire::FromReplica>) {
    let (node, generation) = (opened.node.clone(), opened.generation);
    let generation = generation.expect("a stream has a generation");
    if shared.items.send(opened).await.is_err() {
        return;
    }
    let why = loop {
        let message = match inbound.next().await {
            Some(Ok(message)) => message,
            Some(Err(status)) => break status.message().to_owned(),
            None => break "closed".to_owned(),
        };
        let message = match appended(&message) {
            Ok(message) => message,
            Err(malformed) => break malformed.to_string(),
        };
        let item = Item::linked(node.clone(), generation, Said::Message(message));
        if shared.items.send(item).await.is_err() {
            return;
        }
    };
    tracing::debug!(%node, "a replica's stream ended: {why}");
    // Before the loop knows: whoever it lets in next must not find the old one.
    drop(shared.state().close(&node, generation));
    // Closed only when the node stops.
    drop(
        shared
            .items
            .send(Item::linked(node, generation, Said::Ended))
            .await,
    );
}

pub(crate) fn appended(message: &wire::FromReplica) -> Result<Message, Malformed> {
    match message.kind {
        Some(wire::from_replica::Kind::Appended(appended)) => {
            convert::read_appended(appended).map(Message::Appended)
        }
        Some(wire::from_replica::Kind::Hello(_)) => Err(Malformed::Repeated("hello")),
        None => Err(Malformed::Missing("kind")),
    }
}

/// The first message of a replica's stream.
async fn first(inbound: &mut Streaming<wire::FromReplica>) -> Result<wire::Hello, Status> {
    let late = |_| Status::deadline_exceeded("no hello in time");
    let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.message()).await;
    match first.map_err(late)??.and_then(|message| message.kind) {
        Some(wire::from_replica::Kind::Hello(hello)) => Ok(hello),
        Some(_) | None => Err(Status::invalid_argument(
            "the first message must be a hello",
        )),
    }
}

fn invalid(malformed: Malformed) -> Status {
    Status::invalid_argument(malformed.to_string())
}

/// What a master says on a stream; no error ends it.
pub(crate) type FollowStream = futures::stream::Map<
    ReceiverStream<wire::FromMaster>,
    fn(wire::FromMaster) -> Result<wire::FromMaster, Status>,
>;

#[tonic::async_trait]
impl Replication for Service {
    type FollowStream = FollowStream;
    type SnapshotStream = ReceiverStream<Result<wire::SnapshotChunk, Status>>;

    async fn ask(
        &self,
        request: Request<wire::AskRequest>,
    ) -> Result<Response<wire::AskResponse>, Status> {
        let (node, _) = self.check(request.into_inner().sender)?;
        let (sender, answer) = oneshot::channel::<AskAnswer>();
        self.shared.state().asks.insert(node.clone(), sender);
        let answer = self.question(node, Message::Ask, (answer, ASK_TIMEOUT));
        let answer = answer.await?;
        let response = convert::ask_answer(self.shared.config.sender(), answer);
        Ok(Response::new(response))
    }

    async fn promise(
        &self,
        request: Request<wire::PromiseRequest>,
    ) -> Result<Response<wire::PromiseResponse>, Status> {
        let request = request.into_inner();
        let epoch = Epoch(request.epoch);
        let (node, _) = self.check(request.sender)?;
        let (sender, answer) = oneshot::channel::<PromiseAnswer>();
        self.shared
            .state()
            .promises
            .insert(node.clone(), (epoch, sender));
        let answer = self.question(node, Message::Promise { epoch }, (answer, PROMISE_TIMEOUT));
        let answer = answer.await?;
        let response = convert::promise_answer(self.shared.config.sender(), answer);
        Ok(Response::new(response))
    }

    async fn follow(
        &self,
        request: Request<Streaming<wire::FromReplica>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut inbound = request.into_inner();
        let mut hello = first(&mut inbound).await?;
        let (node, incarnation) = self.check(hello.sender.take())?;
        let hello = convert::read_hello(hello).map_err(invalid)?;
        let (sink, outbound) = mpsc::channel(STREAM_MESSAGES_MAX);
        let streams = Streams {
            hello,
            inbound,
            sink,
        };
        self.open(&node, incarnation, streams);
        Ok(Response::new(ReceiverStream::new(outbound).map(Ok)))
    }

    async fn snapshot(
        &self,
        request: Request<wire::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let request = request.into_inner();
        let (node, _) = self.check(request.sender)?;
        let epoch = Epoch(request.epoch);
        let stream = self
            .snapshots
            .send(&self.shared, node, epoch, request.resume);
        Ok(Response::new(stream.await?))
    }
}
