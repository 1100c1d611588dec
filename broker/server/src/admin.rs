//! What operators ask: the gRPC service, and the answers' contents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use replicamq_cluster::{MemberInfo, TokenCheck};
use replicamq_core::DestinationKind;
use replicamq_node::Node;
use replicamq_proto::admin::v1 as wire;
use replicamq_proto::admin::v1::admin_client::AdminClient;
use replicamq_proto::admin::v1::admin_server::{Admin, AdminServer};
use replicamq_quorum::{NodeId, Role};
use replicamq_store::{Aside, Sizes};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::config::Secret;
use crate::run::network::Network;
use crate::run::without_master;

/// Questions that wait for the node loop.
pub(crate) const ASKED_MAX: usize = 64;

/// How long a replica waits for the master's answer.
const MASTER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a disk has to tell what lies on it; less than a tool waits for an answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest answer: tens of thousands of destinations.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The role of a node that is not there.
const ABSENT: &str = "absent";

/// A question for the node loop.
#[derive(Debug)]
pub(crate) enum Asked {
    Status(oneshot::Sender<Answer>),
    Transfer {
        to: Option<NodeId>,
        dry_run: bool,
        answer: oneshot::Sender<Handover>,
    },
}

/// What came of the wish that another node leads.
#[derive(Debug)]
pub(crate) enum Handover {
    Begun(wire::TransferResponse),
    Refused(String),
    /// Another node is master; its admin connector.
    Elsewhere(String),
}

/// What the node loop knows.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: wire::StatusResponse,
    /// Whom to ask for the rest, if another node is master.
    pub(crate) master: Option<String>,
}

/// What the loop remembers for operators.
#[derive(Debug)]
pub(crate) struct Board {
    node: NodeId,
    cluster: String,
    replicas: u32,
    sync: String,
    members: BTreeMap<NodeId, MemberInfo>,
    role: Role,
    elections: u64,
    last_note: String,
    last_election_reason: String,
}

impl Board {
    pub(crate) fn new(node: NodeId, replicas: u32, sync: String) -> Self {
        Self {
            node,
            cluster: String::new(),
            replicas,
            sync,
            members: BTreeMap::new(),
            role: Role::Electing,
            elections: 0,
            last_note: String::new(),
            last_election_reason: String::new(),
        }
    }

    pub(crate) fn cluster(&mut self, cluster: String) {
        self.cluster = cluster;
    }

    pub(crate) fn members(&mut self, members: BTreeMap<NodeId, MemberInfo>) {
        self.members = members;
    }

    pub(crate) fn note(&mut self, note: &str) {
        note.clone_into(&mut self.last_note);
    }

    pub(crate) fn role(&mut self, role: &Role) {
        if *role == Role::Electing {
            self.elections += 1;
            self.last_election_reason.clone_from(&self.last_note);
        }
        self.role = role.clone();
    }

    pub(crate) fn status(&self, node: &Node, network: &Network, sizes: Sizes) -> Answer {
        let quorum = node.quorum();
        let (epoch, claimed_by) = quorum.known_epoch();
        let serving = quorum.serving_master();
        let mut members: Vec<_> = self
            .members
            .iter()
            .map(|(id, info)| Self::member(id, info, serving.as_ref()))
            .collect();
        let mut missing: BTreeSet<&NodeId> = quorum.voters().collect();
        missing.insert(&self.node);
        missing.retain(|id| !self.members.contains_key(*id));
        members.extend(missing.into_iter().map(absent));
        let own = members
            .iter_mut()
            .find(|member| member.node == self.node.as_str())
            .expect("the own member was just added");
        fill_own(own, node, sizes);
        for replica in node.quorum().replicas() {
            if let Some(member) = members
                .iter_mut()
                .find(|member| member.node == replica.node.as_str())
            {
                fill_replica(member, &replica, node.quorum().positions().2.0);
            }
        }
        let status = wire::StatusResponse {
            node: self.node.as_str().to_owned(),
            cluster: self.cluster.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replicas: self.replicas,
            sync: self.sync.clone(),
            zookeeper: network.keeper_state().to_owned(),
            zk_session_timeout_ms: u64::try_from(network.session_timeout().as_millis())
                .unwrap_or(u64::MAX),
            epoch: epoch.0,
            master: serving.as_ref().map_or_else(String::new, name),
            members,
            destinations: destinations(node),
            elections: self.elections,
            last_election_reason: self.last_election_reason.clone(),
            incomplete: String::new(),
            claimed_by: claimed_by.map_or_else(String::new, name),
            no_master: without_master::reason(quorum),
        };
        let master = self.master();
        Answer { status, master }
    }

    /// The admin connector of the master that this node follows.
    pub(crate) fn master(&self) -> Option<String> {
        match &self.role {
            Role::Replica { master, .. } => self
                .members
                .get(master)
                .map(|info| info.admin_address.clone())
                .filter(|address| !address.is_empty()),
            Role::Electing | Role::Candidate { .. } | Role::Rising { .. } | Role::Master { .. } => {
                None
            }
        }
    }

    /// What is told of a handover that has begun.
    pub(crate) fn handover(&self, node: &Node, to: &NodeId) -> wire::TransferResponse {
        wire::TransferResponse {
            from: self.node.as_str().to_owned(),
            epoch: node.quorum().known_epoch().0.0,
            to: to.as_str().to_owned(),
        }
    }

    /// Before the node has found its cluster. An asker that went away needs no answer.
    pub(crate) fn answer_waiting(&self, asked: Asked, reason: &str) {
        match asked {
            Asked::Status(answer) => drop(answer.send(self.waiting(reason))),
            Asked::Transfer { answer, .. } => {
                drop(answer.send(Handover::Refused(reason.to_owned())));
            }
        }
    }

    fn waiting(&self, reason: &str) -> Answer {
        let own = wire::MemberStatus {
            node: self.node.as_str().to_owned(),
            role: "electing".to_owned(),
            ..Default::default()
        };
        let status = wire::StatusResponse {
            node: self.node.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replicas: self.replicas,
            sync: self.sync.clone(),
            zookeeper: "disconnected".to_owned(),
            members: vec![own],
            incomplete: reason.to_owned(),
            no_master: reason.to_owned(),
            ..Default::default()
        };
        Answer {
            status,
            master: None,
        }
    }

    fn member(id: &NodeId, info: &MemberInfo, serving: Option<&NodeId>) -> wire::MemberStatus {
        // A znode outlives its node by up to a session.
        let gone = info.role == "master" && serving != Some(id);
        let role = if gone { ABSENT } else { &info.role };
        wire::MemberStatus {
            node: name(id),
            role: role.to_owned(),
            replication_address: info.replication_address.clone(),
            client_addresses: info.client_addresses.clone(),
            weight: info.weight,
            ..Default::default()
        }
    }
}

fn name(node: &NodeId) -> String {
    node.as_str().to_owned()
}

fn absent(node: &NodeId) -> wire::MemberStatus {
    wire::MemberStatus {
        node: name(node),
        role: ABSENT.to_owned(),
        ..Default::default()
    }
}

fn fill_own(own: &mut wire::MemberStatus, node: &Node, sizes: Sizes) {
    let (last, durable, committed, applied) = node.quorum().positions();
    role_name(node).clone_into(&mut own.role);
    own.connected = true;
    own.appended = last.sequence.0;
    own.durable = durable.sequence.0;
    own.committed = committed.0;
    own.applied = applied.0;
    own.position_epoch = durable.epoch.0;
    own.log_bytes = sizes.log_bytes;
    own.store_bytes = sizes.store_bytes;
}

fn fill_aside(status: &mut wire::StatusResponse, aside: Aside) {
    let node = &status.node;
    if let Some(own) = status.members.iter_mut().find(|one| one.node == *node) {
        own.damaged_bytes = aside.damaged_bytes;
        own.staging_bytes = aside.staging_bytes;
        own.outgoing_bytes = aside.outgoing_bytes;
        own.spare_bytes = aside.spare_bytes;
    }
}

pub(crate) fn role_name(node: &Node) -> &'static str {
    match node.quorum().role() {
        Role::Electing | Role::Replica { .. } if !node.quorum().is_filled() => "unfilled",
        Role::Electing => "electing",
        Role::Candidate { .. } | Role::Rising { .. } => "candidate",
        Role::Replica { .. } => "replica",
        Role::Master { .. } => "master",
    }
}

fn fill_replica(
    member: &mut wire::MemberStatus,
    replica: &replicamq_quorum::ReplicaStatus,
    committed: u64,
) {
    (if replica.filling {
        "unfilled"
    } else {
        "replica"
    })
    .clone_into(&mut member.role);
    member.connected = true;
    member.appended = replica.appended.sequence.0;
    member.durable = replica.durable.sequence.0;
    member.committed = committed.min(replica.durable.sequence.0);
    member.applied = replica.applied.0;
    member.position_epoch = replica.durable.epoch.0;
    member.lag_entries = replica.lag_entries;
    member.lag_bytes = replica.lag_bytes;
    member.lag_ms = replica.lag_ms;
}

fn destinations(node: &Node) -> Vec<wire::DestinationStatus> {
    node.destinations()
        .into_iter()
        .map(|status| wire::DestinationStatus {
            kind: match status.kind {
                DestinationKind::Queue => "queue",
                DestinationKind::Topic => "topic",
            }
            .to_owned(),
            name: status.name,
            depth: status.depth,
            consumers: status.consumers,
            enqueued: status.enqueued,
            dequeued: status.dequeued,
            in_flight: status.in_flight,
        })
        .collect()
}

/// The service on the admin port.
#[derive(Debug)]
pub(crate) struct Service {
    asked: mpsc::Sender<Asked>,
    token: Option<Secret>,
    directory: PathBuf,
    /// Whoever holds it looks at the directory: a disk that hangs takes one thread, not all.
    looking: Arc<Semaphore>,
}

impl Service {
    pub(crate) fn new(
        asked: mpsc::Sender<Asked>,
        token: Option<Secret>,
        directory: PathBuf,
    ) -> Self {
        Self {
            asked,
            token,
            directory,
            looking: Arc::new(Semaphore::new(1)),
        }
    }

    /// What lies in the directory beside log and store.
    async fn aside(&self) -> Result<Aside, String> {
        let looked = async {
            let looking = Arc::clone(&self.looking).acquire_owned().await;
            let looking = looking.map_err(|closed| closed.to_string())?;
            let directory = self.directory.clone();
            let look = move || {
                let aside = Aside::of(&directory);
                drop(looking);
                aside.map_err(|error| error.to_string())
            };
            let looked = tokio::task::spawn_blocking(look).await;
            looked.map_err(|error| error.to_string())?
        };
        let looked = tokio::time::timeout(LOOK_TIMEOUT, looked).await;
        let looked = looked.unwrap_or_else(|_| Err("the disk does not answer".to_owned()));
        looked.map_err(|why| format!("cannot look at {}: {why}", self.directory.display()))
    }

    async fn ask_master(&self, address: &str) -> Result<wire::StatusResponse, String> {
        let request = wire::StatusRequest { local: true };
        let (mut client, request) = self.to_master(address, request).await?;
        let answered = client.status(request).await.map(Response::into_inner);
        answered.map_err(|status| no_answer(address, &status.message()))
    }

    async fn to_master<T>(
        &self,
        address: &str,
        request: T,
    ) -> Result<(AdminClient<Channel>, Request<T>), String> {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| no_answer(address, &error))?
            .connect_timeout(MASTER_TIMEOUT)
            .timeout(MASTER_TIMEOUT)
            .connect()
            .await
            .map_err(|error| no_answer(address, &error))?;
        let mut request = Request::new(request);
        if let Some(token) = &self.token {
            let value = token.reveal().parse();
            let value = value.map_err(|error| no_answer(address, &error))?;
            request.metadata_mut().insert("replicamq-token", value);
        }
        let client = AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok((client, request))
    }

    /// Asks the node loop.
    async fn ask<A>(&self, asked: impl FnOnce(oneshot::Sender<A>) -> Asked) -> Result<A, Status> {
        let stopping = || Status::unavailable("this node is starting or stopping: ask again");
        let (answer, answered) = oneshot::channel();
        let sent = self.asked.send(asked(answer)).await;
        sent.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }
}

#[tonic::async_trait]
impl Admin for Service {
    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let Answer { mut status, master } = self.ask(Asked::Status).await?;
        match self.aside().await {
            Ok(aside) => fill_aside(&mut status, aside),
            Err(why) if status.incomplete.is_empty() => status.incomplete = why,
            Err(_) => {}
        }
        if let Some(master) = master.filter(|_| !request.get_ref().local) {
            match self.ask_master(&master).await {
                Ok(told) => complete(&mut status, told),
                Err(reason) => status.incomplete = reason,
            }
        }
        Ok(Response::new(status))
    }

    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Status> {
        let request = request.into_inner();
        let to = (!request.to.is_empty()).then(|| NodeId::new(&request.to));
        let dry_run = request.dry_run;
        let asked = |answer| Asked::Transfer {
            to,
            dry_run,
            answer,
        };
        match self.ask(asked).await? {
            Handover::Begun(begun) => Ok(Response::new(begun)),
            Handover::Elsewhere(address) if !request.local => {
                let request = wire::TransferRequest {
                    local: true,
                    ..request
                };
                let connected = self.to_master(&address, request).await;
                let (mut client, request) = connected.map_err(Status::unavailable)?;
                client.transfer(request).await
            }
            Handover::Elsewhere(_) => Err(Status::failed_precondition("this node is not master")),
            Handover::Refused(reason) => Err(Status::failed_precondition(reason)),
        }
    }
}

fn no_answer(address: &str, error: &dyn std::fmt::Display) -> String {
    format!("the master at {address} did not answer: {error}")
}

/// Listens, and returns the serving to be run as a task.
pub(crate) fn listen(
    address: SocketAddr,
    service: Service,
    token: TokenCheck,
) -> anyhow::Result<impl Future<Output = ()> + Send> {
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!("listen on {address} for operators; choose another address with the key `admin`")
    })?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let server = Server::builder()
        .add_service(AdminServer::with_interceptor(service, token))
        .serve_with_incoming(TcpListenerStream::new(listener));
    Ok(async move {
        if let Err(error) = server.await {
            tracing::error!("operators are not answered any more: {error}");
        }
    })
}

/// Adds what the master told to a replica's own view; of itself, the replica knows best.
fn complete(status: &mut wire::StatusResponse, told: wire::StatusResponse) {
    for mut member in told.members {
        match status
            .members
            .iter_mut()
            .find(|own| own.node == member.node)
        {
            Some(own) if own.node == status.node => {
                own.lag_entries = member.lag_entries;
                own.lag_bytes = member.lag_bytes;
                own.lag_ms = member.lag_ms;
                own.connected = member.connected;
            }
            Some(own) => std::mem::swap(own, &mut member),
            None => status.members.push(member),
        }
    }
    status.destinations = told.destinations;
    // The node that we hear knows best whether it serves clients.
    status.master = told.master;
    status.no_master = told.no_master;
}
