//! The client side: connections to other nodes, questions, and the stream to a master.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use replicamq_proto::replication::v1 as wire;
use replicamq_proto::replication::v1::replication_client::ReplicationClient;
use replicamq_quorum::{Message, NodeId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::convert;
use crate::limits::{
    ASK_TIMEOUT, CHUNK_MESSAGE_BYTES_MAX, CONNECT_TIMEOUT, FRAME_BYTES_MAX, KEEPALIVE_EVERY,
    KEEPALIVE_TIMEOUT, PROMISE_TIMEOUT, WINDOW_BYTES,
};
use crate::state::{Item, Said, Shared};
use crate::token::sign;

/// How every connection to another node is made. Mutual TLS would be set here.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// Asks a node something and hands its answer to the loop. A question without
/// an answer is dropped: the election asks again.
pub(crate) async fn call(shared: Arc<Shared>, to: NodeId, message: Message) {
    match answer(&shared, &to, message).await {
        Ok(message) => {
            let item = Item::unlinked(to, Said::Message(message));
            // Closed only when the node stops.
            drop(shared.items.send(item).await);
        }
        Err(status) => report(&shared, &to, &status),
    }
}

async fn answer(shared: &Shared, to: &NodeId, message: Message) -> Result<Message, Status> {
    let channel = shared.channel(to)?;
    let mut client = ReplicationClient::new(channel);
    let sender = shared.config.sender();
    match message {
        Message::Ask => {
            let request = wire::AskRequest {
                sender: Some(sender),
            };
            let request = sign(&shared.token, Request::new(request));
            let response = within(ASK_TIMEOUT, client.ask(request)).await?;
            let response = response.into_inner();
            shared.check_answerer(to, response.sender.as_ref())?;
            convert::read_ask_answer(response).map(Message::AskAnswer)
        }
        Message::Promise { epoch } => {
            let request = wire::PromiseRequest {
                sender: Some(sender),
                epoch: epoch.0,
            };
            let request = sign(&shared.token, Request::new(request));
            let response = within(PROMISE_TIMEOUT, client.promise(request)).await?;
            let response = response.into_inner();
            shared.check_answerer(to, response.sender.as_ref())?;
            convert::read_promise_answer(response).map(Message::PromiseAnswer)
        }
        other => unreachable!("only questions are called, not {other:?}"),
    }
    .map_err(|malformed| Status::internal(malformed.to_string()))
}

async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = |_| Err(Status::deadline_exceeded("no answer in time"));
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or_else(late)
}

/// A node that is away is the quorum's business; one that refuses us is the operator's.
fn report(shared: &Shared, node: &NodeId, status: &Status) {
    let refused = matches!(
        status.code(),
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::AlreadyExists
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Internal
    );
    let text = status.message();
    if is_other_port(status) && shared.quiet.allows(&format!("{node} other port")) {
        let address = shared.address(node).unwrap_or_default();
        tracing::warn!(
            %node,
            address,
            "what listens there is not a node's replication port ({text}): check `bind` and `advertise_replication` of that node"
        );
    } else if refused && shared.quiet.allows(&format!("{node} {text}")) {
        tracing::warn!(%node, code = ?status.code(), "a node refused us: {text}");
    } else {
        tracing::debug!(%node, code = ?status.code(), "no answer: {text}");
    }
}

/// Something else than replication answers at a node's address: another of its ports, most
/// likely. tonic gives what is no HTTP/2 no code of its own.
fn is_other_port(status: &Status) -> bool {
    let mut error: Option<&dyn std::error::Error> = Some(status);
    while let Some(inner) = error {
        if inner.to_string().contains("frame with invalid size") {
            return true;
        }
        error = inner.source();
    }
    status.code() == Code::Unimplemented
}

/// A stream to a master, until it ends.
pub(crate) async fn follow(
    shared: Arc<Shared>,
    master: NodeId,
    generation: u64,
    outbound: mpsc::Receiver<wire::FromReplica>,
) {
    if let Err(status) = listen(&shared, &master, generation, outbound).await {
        report(&shared, &master, &status);
    }
    let item = Item::linked(master, generation, Said::Ended);
    // Closed only when the node stops.
    drop(shared.items.send(item).await);
}

async fn listen(
    shared: &Shared,
    master: &NodeId,
    generation: u64,
    outbound: mpsc::Receiver<wire::FromReplica>,
) -> Result<(), Status> {
    let address = shared.address(master)?;
    let unavailable = |error| Status::unavailable(format!("{address}: {error:?}"));
    // A connection of its own: entries do not queue behind anything else.
    let channel: Channel = endpoint(&address)
        .map_err(unavailable)?
        .connect()
        .await
        .map_err(unavailable)?;
    let mut client =
        ReplicationClient::new(channel).max_decoding_message_size(shared.config.message_bytes_max);
    let request = sign(&shared.token, Request::new(ReceiverStream::new(outbound)));
    let mut inbound = client.follow(request).await?.into_inner();
    while let Some(message) = inbound.next().await {
        let message = convert::read_from_master(message?)
            .map_err(|malformed| Status::internal(malformed.to_string()))?;
        let item = Item::linked(master.clone(), generation, Said::Message(message));
        if shared.items.send(item).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A client for snapshots, on a connection of its own: it must not slow the stream.
pub(crate) async fn snapshot_client(
    shared: &Shared,
    master: &NodeId,
) -> Result<ReplicationClient<Channel>, Status> {
    let address = shared.address(master)?;
    let unavailable = |error| Status::unavailable(format!("{address}: {error:?}"));
    let endpoint = endpoint(&address).map_err(unavailable)?;
    let channel = endpoint.connect().await.map_err(unavailable)?;
    let client = ReplicationClient::new(channel);
    Ok(client.max_decoding_message_size(CHUNK_MESSAGE_BYTES_MAX))
}
