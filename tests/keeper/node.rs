//! A member under test, and a plain client to look at what it wrote.

use std::time::Duration;

use replicamq_cluster::{
    Membership, MembershipConfig, MembershipEvent, RefusedMembership, Standing,
};
use replicamq_quorum::{Keeper, NodeId, Position};
use tokio::sync::mpsc;
use zookeeper_client as zk;

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Node {
    pub(crate) membership: Membership,
    pub(crate) events: mpsc::Receiver<MembershipEvent>,
}

pub(crate) fn config(address: &str, node: &str) -> MembershipConfig {
    MembershipConfig {
        address: address.to_owned(),
        path: "/replicamq/test".to_owned(),
        password: None,
        session_timeout: Duration::from_secs(2),
        replicas: 3,
        node: NodeId::new(node),
        incarnation: format!("{:x}", rand::random::<u64>()),
        predecessors: Vec::new(),
        store: format!("store-of-{node}"),
        log_end: Position::default(),
        cluster: None,
        weight: 1,
        replication_address: format!("{node}:61619"),
        client_addresses: format!("stomp://{node}:61613"),
        admin_address: format!("{node}:61619"),
    }
}

impl Node {
    pub(crate) fn start(config: MembershipConfig) -> Self {
        let (sender, events) = mpsc::channel(64);
        let membership = Membership::start(config, sender);
        Self { membership, events }
    }

    pub(crate) async fn next(&mut self) -> MembershipEvent {
        let next = tokio::time::timeout(PATIENCE, self.events.recv());
        next.await
            .expect("nothing happened")
            .expect("the membership ended")
    }

    /// Skips everything up to what is looked for.
    pub(crate) async fn until<T>(&mut self, wanted: impl Fn(&MembershipEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(&self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn joined(&mut self) -> (String, Standing) {
        self.until(|event| match event {
            MembershipEvent::Joined { cluster, standing } => Some((cluster.clone(), *standing)),
            MembershipEvent::Refused(refused) => panic!("refused: {refused}"),
            _ => None,
        })
        .await
    }

    pub(crate) async fn refused(&mut self) -> RefusedMembership {
        self.until(|event| match event {
            MembershipEvent::Refused(refused) => Some(refused.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn lost(&mut self) {
        self.until(|event| matches!(event, MembershipEvent::Lost).then_some(()))
            .await;
    }

    pub(crate) async fn keeper(&mut self, wanted: impl Fn(&Keeper) -> bool) -> Keeper {
        self.until(|event| match event {
            MembershipEvent::Keeper { keeper, .. } if wanted(keeper) => Some(keeper.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn claimed(&mut self) -> (u64, bool) {
        self.until(|event| match event {
            MembershipEvent::Claimed { epoch, won } => Some((epoch.0, *won)),
            _ => None,
        })
        .await
    }
}

/// Who is present, by name.
pub(crate) fn names(keeper: &Keeper) -> Vec<&str> {
    let mut names: Vec<_> = keeper.members.iter().map(|m| m.node.as_str()).collect();
    names.sort_unstable();
    names
}

pub(crate) fn rank(keeper: &Keeper, node: &str) -> i64 {
    let member = keeper
        .members
        .iter()
        .find(|member| member.node.as_str() == node);
    member.expect("it is present").rank
}

/// A person with zkCli.
pub(crate) async fn client(address: &str) -> zk::Client {
    zk::Client::connector()
        .with_session_timeout(Duration::from_secs(2))
        .connect(address)
        .await
        .expect("ZooKeeper is there")
}

pub(crate) async fn json(client: &zk::Client, path: &str) -> serde_json::Value {
    let (data, _) = client.get_data(path).await.expect("it is there");
    serde_json::from_slice(&data).expect("it is JSON")
}
