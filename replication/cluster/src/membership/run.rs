//! The task that owns the ZooKeeper session.

use std::time::Duration;

use replicamq_quorum::{Epoch, Position};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use zookeeper_client as zk;

use super::names::unresolved;
use super::view::Watches;
use super::znodes::{EpochNode, MemberNode, Paths, VoterNode, to_json};
use super::{Advert, MembershipConfig, MembershipEvent, RefusedMembership, Standing};
use crate::limits::STOP_TIMEOUT;
use crate::quiet::Quiet;

/// Between attempts to reach ZooKeeper, doubling up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Our position is written at most this often.
const ADVERTISE_EVERY: Duration = Duration::from_secs(1);

/// The user name under which `ActiveMQ` used the same password.
const USER: &str = "fabric";

/// For the scheme `digest`.
pub(super) fn credentials(password: &str) -> Vec<u8> {
    format!("{USER}:{password}").into_bytes()
}

/// What the node wants of ZooKeeper.
pub(super) struct Commands {
    pub(super) claims: mpsc::Receiver<(Epoch, i32)>,
    pub(super) adverts: watch::Receiver<Advert>,
    pub(super) filled: watch::Receiver<bool>,
}

/// Why what we were doing cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection or the session is gone.
    State(zk::SessionState),
    /// ZooKeeper said no.
    Error(zk::Error),
    /// Our znode is gone or was never ours: register again.
    Rejoin,
    /// This node cannot be part of the cluster.
    Refused(RefusedMembership),
}

impl From<zk::Error> for Broken {
    fn from(error: zk::Error) -> Self {
        Self::Error(error)
    }
}

pub(super) struct Runner {
    pub(super) config: MembershipConfig,
    pub(super) events: mpsc::Sender<MembershipEvent>,
    commands: Commands,
    pub(super) quiet: Quiet,
    /// What the last `Joined` said.
    pub(super) joined: Option<(String, Standing)>,
    /// What `ZooKeeper` is told that this store holds for good; never less than before.
    pub(super) held: Position,
    /// A claim without an answer yet.
    claiming: Option<(Epoch, i32)>,
    /// Whether the node was told that the connection is there.
    connected: bool,
    /// Our znode, while there is one, and the session that holds it.
    pub(super) member: Option<String>,
    client: Option<zk::Client>,
}

/// One session, as its parts need it.
pub(super) struct Session {
    pub(super) client: zk::Client,
    pub(super) state: zk::StateWatcher,
    pub(super) paths: Paths,
}

impl Session {
    /// Waits for an operation, unless the connection goes first.
    pub(super) async fn during<T>(
        &mut self,
        operation: impl Future<Output = Result<T, zk::Error>>,
    ) -> Result<T, Broken> {
        let mut operation = std::pin::pin!(operation);
        loop {
            tokio::select! {
                // Pinned: it goes on in the next round.
                done = &mut operation => return Ok(done?),
                // Watches a value; nothing is lost when it is dropped.
                state = self.state.changed() => {
                    if state != zk::SessionState::SyncConnected {
                        return Err(Broken::State(state));
                    }
                }
            }
        }
    }
}

/// Replaces what lies in a znode of ours.
async fn write(session: &mut Session, path: &str, data: &[u8]) -> Result<(), Broken> {
    let client = session.client.clone();
    match session.during(client.set_data(path, data, None)).await {
        Ok(_) => Ok(()),
        Err(Broken::Error(zk::Error::NoNode)) => Err(Broken::Rejoin),
        Err(broken) => Err(broken),
    }
}

impl Runner {
    /// Whether the node has said so.
    pub(super) fn is_filled(&self) -> bool {
        *self.commands.filled.borrow()
    }

    pub(super) fn new(
        config: MembershipConfig,
        events: mpsc::Sender<MembershipEvent>,
        commands: Commands,
    ) -> Self {
        Self {
            config,
            events,
            commands,
            quiet: Quiet::default(),
            joined: None,
            held: Position::default(),
            claiming: None,
            connected: false,
            member: None,
            client: None,
        }
    }

    pub(super) async fn run(mut self, stopped: oneshot::Receiver<()>) {
        tokio::select! {
            // Cut off at the end: only the session is left, and it is closed below.
            () = self.sessions() => {}
            // Never sent, only dropped; the last thing that is waited for.
            _ = stopped => {}
        }
        self.leave().await;
    }

    async fn sessions(&mut self) {
        let paths = Paths::new(&self.config.address, &self.config.path);
        let named = paths.and_then(|paths| paths.checked_node(&self.config.node).map(|_| paths));
        let paths = match named {
            Ok(paths) => paths,
            Err(refused) => return self.tell(MembershipEvent::Refused(refused)).await,
        };
        loop {
            let client = self.connect(&paths).await;
            tracing::info!(
                session = %client.session_id(),
                timeout_ms = client.session_timeout().as_millis(),
                asked_ms = self.config.session_timeout.as_millis(),
                "connected to ZooKeeper at {}", self.config.address
            );
            self.client = Some(client.clone());
            let state = client.state_watcher();
            let session = Session {
                client,
                state,
                paths: paths.clone(),
            };
            let refused = self.session(session).await;
            self.member = None;
            self.lost().await;
            if let Some(refused) = refused {
                return self.tell(MembershipEvent::Refused(refused)).await;
            }
            self.client = None;
        }
    }

    /// One session, until it ends or this node is refused.
    async fn session(&mut self, mut session: Session) -> Option<RefusedMembership> {
        let mut backoff = BACKOFF.0;
        loop {
            let broken = match self.join(&mut session).await {
                Ok(()) => {
                    backoff = BACKOFF.0;
                    self.serve(&mut session).await
                }
                Err(broken) => broken,
            };
            match broken {
                Broken::State(zk::SessionState::Disconnected) => {
                    tracing::warn!(
                        "the connection to ZooKeeper is gone; a master that has its quorum goes on, elections wait"
                    );
                    self.lost().await;
                    let state = loop {
                        let state = session.state.changed().await;
                        if state != zk::SessionState::Disconnected {
                            break state;
                        }
                    };
                    if state != zk::SessionState::SyncConnected {
                        return None;
                    }
                    tracing::info!("connected to ZooKeeper again, in the same session");
                }
                Broken::State(state) => {
                    if self.quiet.allows("session") {
                        tracing::warn!("the ZooKeeper session is over: {state}");
                    }
                    tokio::time::sleep(BACKOFF.0).await;
                    return None;
                }
                Broken::Refused(refused) => return Some(refused),
                Broken::Rejoin => {
                    if self.quiet.allows("rejoin") {
                        tracing::warn!("our znode is gone from ZooKeeper: registering again");
                    }
                    tokio::time::sleep(BACKOFF.0).await;
                }
                Broken::Error(zk::Error::NoAuth) if self.joined.is_none() => {
                    let path = session.paths.root;
                    return Some(RefusedMembership::Denied { path });
                }
                Broken::Error(error) => {
                    if self.quiet.allows("operation") {
                        tracing::warn!("an operation in ZooKeeper failed, trying again: {error}");
                    }
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Tries until ZooKeeper is there.
    async fn connect(&mut self, paths: &Paths) -> zk::Client {
        let mut backoff = BACKOFF.0;
        let timeout = self.config.session_timeout.max(Duration::from_secs(1));
        loop {
            let mut connector = zk::Client::connector()
                .with_session_timeout(self.config.session_timeout)
                .with_fail_eagerly();
            if let Some(password) = &self.config.password {
                connector = connector.with_auth("digest", &credentials(password));
            }
            let failed = match tokio::time::timeout(timeout, connector.connect(&paths.hosts)).await
            {
                Ok(Ok(client)) => return client,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if self.quiet.allows("connect") {
                let mut unresolved = unresolved(&paths.hosts).await;
                unresolved.push(failed);
                let failed = unresolved.join("; ");
                tracing::warn!(
                    "waiting for ZooKeeper at {}: {failed}; no election is possible without it: start it, or correct zk_address",
                    self.config.address
                );
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Registered: tells what changes, and does what is wanted.
    async fn serve(&mut self, session: &mut Session) -> Broken {
        match self.serve_until_broken(session).await {
            Ok(never) => match never {},
            Err(broken) => broken,
        }
    }

    async fn serve_until_broken(
        &mut self,
        session: &mut Session,
    ) -> Result<std::convert::Infallible, Broken> {
        let mut watches = Watches::default();
        let mut changed = true;
        let mut written = self.commands.adverts.borrow().clone();
        let mut write_after = Instant::now();
        // Whatever was wanted while the connection was away.
        self.resolve_claim(session).await?;
        self.commands.adverts.mark_changed();
        self.commands.filled.mark_changed();
        loop {
            if std::mem::take(&mut changed) {
                let view = self.read(session, &mut watches).await?;
                self.connected = true;
                self.tell(view).await;
            }
            let advert = self.commands.adverts.borrow_and_update().clone();
            let due = match () {
                () if advert == written => None,
                () if advert.role != written.role => Some(Instant::now()),
                () => Some(write_after),
            };
            tokio::select! {
                // Watches a value; nothing is lost when it is dropped.
                state = session.state.changed() => {
                    if state != zk::SessionState::SyncConnected {
                        return Err(Broken::State(state));
                    }
                }
                // Takes one watch that fired, or none.
                Some(()) = watches.fired() => changed = true,
                // Taking from a channel either happens or does not.
                Some(claim) = self.commands.claims.recv() => {
                    self.claiming = Some(claim);
                    changed = !self.claim(session, claim).await?;
                }
                // Only notes that there is a newer value, which is read above.
                Ok(()) = self.commands.adverts.changed() => {}
                // The same; the value is read in `confirm`.
                Ok(()) = self.commands.filled.changed() => self.confirm(session).await?,
                // A deadline that is computed anew in each round.
                () = tokio::time::sleep_until(due.unwrap_or(write_after)), if due.is_some() => {
                    self.advertise(session, &advert).await?;
                    written = advert;
                    write_after = Instant::now() + ADVERTISE_EVERY;
                }
            }
        }
    }

    /// Whether the claim was answered with yes.
    async fn claim(
        &mut self,
        session: &mut Session,
        (epoch, version): (Epoch, i32),
    ) -> Result<bool, Broken> {
        let data = to_json(&EpochNode {
            epoch: epoch.0,
            master: Some(self.config.node.as_str().to_owned()),
        });
        let client = session.client.clone();
        let path = session.paths.epoch.clone();
        let won = match session
            .during(client.set_data(&path, &data, Some(version)))
            .await
        {
            Ok(_) => true,
            Err(Broken::Error(zk::Error::BadVersion)) => return self.resolve_claim(session).await,
            Err(broken) => return Err(broken),
        };
        self.claiming = None;
        self.tell(MembershipEvent::Claimed { epoch, won }).await;
        Ok(won)
    }

    /// The answer to a claim was lost, or may answer an older attempt: the
    /// znode tells who has the epoch.
    async fn resolve_claim(&mut self, session: &mut Session) -> Result<bool, Broken> {
        let Some((epoch, _)) = self.claiming else {
            return Ok(true);
        };
        let client = session.client.clone();
        let path = session.paths.epoch.clone();
        session.during(client.sync(&path)).await?;
        let (data, _) = session.during(client.get_data(&path)).await?;
        let won = serde_json::from_slice::<EpochNode>(&data).is_ok_and(|found| {
            found.epoch == epoch.0 && found.master.as_deref() == Some(self.config.node.as_str())
        });
        self.claiming = None;
        self.tell(MembershipEvent::Claimed { epoch, won }).await;
        Ok(won)
    }

    async fn advertise(&mut self, session: &mut Session, advert: &Advert) -> Result<(), Broken> {
        let Some(member) = self.member.clone() else {
            return Err(Broken::Rejoin);
        };
        let data = to_json(&MemberNode::new(&self.config, advert));
        write(session, &member, &data).await?;
        if self.is_known() {
            self.note_held(session, advert).await?;
        }
        Ok(())
    }

    /// Whether the store that this node is known by is this one.
    fn is_known(&self) -> bool {
        matches!(self.joined, Some((_, Standing::New | Standing::Known)))
    }

    /// Should an older copy of this directory come back, it will be recognised by this.
    async fn note_held(&mut self, session: &mut Session, advert: &Advert) -> Result<(), Broken> {
        self.held = self.held.max(advert.held);
        let voter = VoterNode {
            store: Some(self.config.store.clone()),
            replication: self.config.replication_address.clone(),
            held: Some(self.held.into()),
        };
        let path = session.paths.node(&self.config.node);
        write(session, &path, &to_json(&voter)).await
    }

    /// Once the store is filled, it is the one that this node is known by.
    async fn confirm(&mut self, session: &mut Session) -> Result<(), Broken> {
        if !*self.commands.filled.borrow_and_update() || self.is_known() {
            return Ok(());
        }
        self.note_held(session, &self.advert()).await?;
        if let Some((_, standing)) = &mut self.joined {
            *standing = Standing::Known;
        }
        tracing::info!(node = %self.config.node, "this store is filled and known to the cluster");
        Ok(())
    }

    pub(super) fn advert(&self) -> Advert {
        self.commands.adverts.borrow().clone()
    }

    async fn lost(&mut self) {
        if std::mem::take(&mut self.connected) {
            self.tell(MembershipEvent::Lost).await;
        }
    }

    /// Hands an event to the node; without a node there is nobody to tell.
    pub(super) async fn tell(&mut self, event: MembershipEvent) {
        drop(self.events.send(event).await);
    }

    /// Takes our znode away and closes the session.
    async fn leave(mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        let mut state = client.state_watcher();
        let leave = async {
            if let Some(member) = self.member.take()
                && let Err(error) = client.delete(&member, None).await
            {
                tracing::debug!("our znode stays until the session ends: {error}");
            }
            drop(client);
            while !state.changed().await.is_terminated() {}
        };
        if tokio::time::timeout(STOP_TIMEOUT, leave).await.is_err() {
            tracing::info!(
                "ZooKeeper does not answer: our znode stays until the session times out"
            );
        }
    }
}
