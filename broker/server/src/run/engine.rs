//! The node loop: waits for the world, steps the node, carries out what it wants.
//!
//! One turn takes everything that has happened meanwhile, so that what arrived
//! together is stored together: one entry, one sync. Nothing is decided here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use replicamq_core::{Command, Effect as ClientEffect};
use replicamq_node::{Effect, Event, Node, Now};
use replicamq_quorum::{
    Effect as QuorumEffect, Epoch, Event as QuorumEvent, NodeId, Position, Role, TransferError,
};
use replicamq_store::{CheckpointInfo, FatalError, Load, ReadLog, Store, StoreEvent};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, timeout};

use crate::admin::{self, Asked, Board, Handover};
use crate::clock;
use crate::run::attempts::Attempts;
use crate::run::clients::Clients;
use crate::run::inbox::Input;
use crate::run::network::{Happened, Network};
use crate::run::repeats::Repeats;
use crate::run::without_master::{self, Reminder};
use crate::systemd;

/// Events of one kind that one turn takes; the other kinds wait no longer than that.
const TURN_EVENTS_MAX: usize = 512;

/// How long a master that is told to stop waits for its last commit and its successor.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// How the loop ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to stop.
    Stopped,
    /// The store was found damaged, which is noted in it: opened again, it waits to be filled.
    Damaged,
    /// A checkpoint is ready to be put in place of the store.
    Install {
        staging: PathBuf,
        info: CheckpointInfo,
        /// The end of the log that it replaces, if this node's store was whole.
        held: Option<Position>,
    },
}

/// A fetched checkpoint, or why there is none.
type Fetched = anyhow::Result<(PathBuf, CheckpointInfo)>;

pub(crate) struct Engine {
    pub(crate) node: Node,
    pub(crate) store: Arc<Store>,
    pub(crate) store_events: mpsc::Receiver<StoreEvent>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) board: Board,
    pub(crate) tick: Duration,
    /// At most one: the fetch of a checkpoint, or the pause before the next attempt.
    pub(crate) fetching: JoinSet<Fetched>,
    pub(super) attempts: Attempts,
    pub(super) reminder: Reminder,
    pub(super) repeats: Repeats,
    pub(crate) effects: Vec<Effect>,
}

impl Engine {
    /// Runs until the node is told to stop, must be refilled, or cannot go on.
    pub(crate) async fn run(
        &mut self,
        stop: &mut watch::Receiver<bool>,
        asked: &mut mpsc::Receiver<Asked>,
    ) -> anyhow::Result<Ended> {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let accepts = self.node.accepts_commands(now());
            let seal_due_ms = self.node.seal_due_ms();
            // Every arm waits on a channel, a timer or a set of tasks, none of
            // which loses anything when its arm is cancelled.
            tokio::select! {
                biased;
                stopped = stop.wait_for(|stop| *stop) => {
                    drop(stopped);
                    self.finish(&mut ticks).await?;
                    return Ok(Ended::Stopped);
                }
                Some(event) = self.store_events.recv() => self.on_store(event)?,
                happened = self.network.next() => self.on_network(happened)?,
                _ = ticks.tick() => self.on_tick(),
                input = self.clients.next(), if accepts => self.on_input(input),
                Some(asked) = asked.recv() => self.on_asked(asked),
                Some(fetched) = self.fetching.join_next() => {
                    if let Some(ended) = self.on_fetched(fetched.context("fetch a checkpoint")?) {
                        return Ok(ended);
                    }
                }
                // Sealed below.
                () = clock::until(seal_due_ms) => {}
            }
            self.drain()?;
            self.node.seal(now(), &mut self.effects);
            self.carry_out().await?;
        }
    }

    /// Stores what was to ride with a later batch. Clients were not promised that it is
    /// safe, but they would get again what they are done with.
    async fn finish(&mut self, ticks: &mut Interval) -> anyhow::Result<()> {
        self.drain()?;
        let finished = async {
            // Its successor tells that it has everything by taking its place.
            let begun = self.node.transfer(None, now(), &mut self.effects);
            let hands_over = matches!(begun, Ok(_) | Err(TransferError::UnderWay(_)));
            self.carry_out().await?;
            while self.node.has_uncommitted() || (hands_over && !self.follows()) {
                // Every arm waits as in `run`.
                tokio::select! {
                    biased;
                    Some(event) = self.store_events.recv() => self.on_store(event)?,
                    happened = self.network.next() => self.on_network(happened)?,
                    _ = ticks.tick() => self.on_tick(),
                }
                self.carry_out().await?;
            }
            anyhow::Ok(())
        };
        if let Ok(done) = timeout(FINISH_MAX, finished).await {
            return done;
        }
        tracing::warn!("stopped before another node had everything and led");
        Ok(())
    }

    /// Whether this node is another master's: its promise is on the disk.
    fn follows(&self) -> bool {
        matches!(self.node.quorum().role(), Role::Replica { .. })
    }

    /// Takes what else has happened already.
    fn drain(&mut self) -> anyhow::Result<()> {
        for _ in 0..TURN_EVENTS_MAX {
            match self.store_events.try_recv() {
                Ok(event) => self.on_store(event)?,
                Err(_) => break,
            }
        }
        for _ in 0..TURN_EVENTS_MAX {
            match self.network.try_next() {
                Some(happened) => self.on_network(happened)?,
                None => break,
            }
        }
        for _ in 0..TURN_EVENTS_MAX {
            if !self.node.accepts_commands(now()) {
                break;
            }
            match self.clients.try_next() {
                Some(input) => self.on_input(input),
                None => break,
            }
        }
        Ok(())
    }

    fn on_tick(&mut self) {
        self.on_quorum(QuorumEvent::Tick);
        self.advertise();
        let quorum = self.node.quorum();
        let now_ms = clock::monotonic_ms();
        let without = quorum.serving_master().is_none();
        if let Some(passed) = self.reminder.due(without, now_ms) {
            let reason = without_master::reason(quorum);
            tracing::warn!("no master for {} s: {reason}", passed.as_secs());
        }
    }

    fn advertise(&self) {
        let quorum = self.node.quorum();
        let (_, durable, ..) = quorum.positions();
        self.network
            .advertise(self.role_name(), durable, quorum.held());
    }

    fn on_quorum(&mut self, event: QuorumEvent) {
        self.node
            .step(Event::Quorum(event), now(), &mut self.effects);
    }

    fn on_store(&mut self, event: StoreEvent) -> anyhow::Result<()> {
        let event = match event {
            StoreEvent::Logged { appended, durable } => QuorumEvent::Logged { appended, durable },
            StoreEvent::Truncated { keep } => QuorumEvent::Truncated { keep },
            StoreEvent::PromiseStored { epoch } => QuorumEvent::PromiseStored { epoch },
            StoreEvent::Applied { sequence } => QuorumEvent::Applied { sequence },
            StoreEvent::LogRead { to, after, entries } => {
                QuorumEvent::LogRead { to, after, entries }
            }
            StoreEvent::Rotten(error) => return self.on_rotten(error),
            StoreEvent::Scrubbed => {
                tracing::debug!("everything on the disk was read and is whole");
                return Ok(());
            }
            StoreEvent::LogTrimmed { first } => QuorumEvent::LogTrimmed { first },
            StoreEvent::Loaded { token, pairs, more } => {
                let event = Event::Loaded { token, pairs, more };
                self.node.step(event, now(), &mut self.effects);
                return Ok(());
            }
            StoreEvent::Fatal(error) => {
                return Err(
                    anyhow::Error::new(error).context("the disk cannot be trusted any more")
                );
            }
        };
        self.on_quorum(event);
        Ok(())
    }

    /// What nobody has needed yet is rotten. Only a node without which the others can go on
    /// is filled anew; until then a rotten copy is better than none.
    fn on_rotten(&mut self, error: FatalError) -> anyhow::Result<()> {
        if self.node.quorum().is_dispensable() {
            self.store.note_damage();
            return Err(anyhow::Error::new(error).context("found while scrubbing"));
        }
        tracing::error!(
            "found while scrubbing: {error}; this master goes on, since the others could not without it: bring them back, or hand over to one that is whole (replicamq cluster transfer), and make a backup meanwhile"
        );
        Ok(())
    }

    fn on_network(&mut self, happened: Happened) -> anyhow::Result<()> {
        match happened {
            Happened::Quorum(event) => self.on_quorum(event),
            Happened::Members(members) => self.board.members(members),
            Happened::Refused(reason) => anyhow::bail!("{reason}"),
        }
        Ok(())
    }

    fn on_input(&mut self, input: Input) {
        let (connection, commands) = match input {
            Input::Opened { connection, outbox } => {
                self.clients.register(connection, outbox);
                return;
            }
            Input::Closed { connection } => {
                self.clients.forget(connection);
                (connection, vec![Command::Disconnect])
            }
            Input::Commands {
                connection,
                commands,
                permit,
            } => {
                drop(permit);
                (connection, commands)
            }
        };
        for command in commands {
            let event = Event::Command {
                connection,
                command,
            };
            self.node.step(event, now(), &mut self.effects);
        }
    }

    /// An asker that went away needs no answer.
    fn on_asked(&mut self, asked: Asked) {
        match asked {
            Asked::Status(answer) => {
                let sizes = self.store.sizes();
                drop(answer.send(self.board.status(&self.node, &self.network, sizes)));
            }
            Asked::Transfer {
                to,
                dry_run,
                answer,
            } => drop(answer.send(self.hand_over(to.as_ref(), dry_run))),
        }
    }

    fn hand_over(&mut self, to: Option<&NodeId>, dry_run: bool) -> Handover {
        if let Some(master) = self.board.master() {
            return Handover::Elsewhere(master);
        }
        let begun = if dry_run {
            self.node.quorum().successor(to)
        } else {
            self.node.transfer(to, now(), &mut self.effects)
        };
        match begun {
            Ok(to) => Handover::Begun(self.board.handover(&self.node, &to)),
            Err(refused) => Handover::Refused(refused.to_string()),
        }
    }

    fn on_fetched(&mut self, fetched: Fetched) -> Option<Ended> {
        match fetched {
            Ok((staging, info)) => {
                let held = self.held();
                Some(Ended::Install {
                    staging,
                    info,
                    held,
                })
            }
            Err(error) => {
                let reason = format!("{error:#}");
                if let Some(attempts) = self.attempts.failed(&reason) {
                    tracing::warn!(
                        attempts,
                        "no checkpoint could be fetched: {reason}; trying again"
                    );
                }
                // The stream to the master lives: otherwise this had been abandoned.
                if let Role::Replica { master, epoch } = self.node.quorum().role().clone() {
                    self.fetch(&master, epoch);
                }
                None
            }
        }
    }

    async fn carry_out(&mut self) -> anyhow::Result<()> {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Quorum(effect) => {
                    if abandons_fetch(&effect) && !self.fetching.is_empty() {
                        self.attempts.abandoned();
                        // Even a finished one is thrown away: the log may have moved past it.
                        self.fetching.shutdown().await;
                    }
                    self.for_quorum(effect)?;
                }
                Effect::Client(effect) => self.for_client(effect),
                Effect::Load(request) => self.store.load(Load {
                    token: request.token,
                    from: request.from,
                    to: request.to,
                    pairs_max: request.pairs_max,
                    bytes_max: request.bytes_max,
                    reverse: false,
                }),
                Effect::Serve { epoch } => {
                    tracing::info!(%epoch, "this node is master");
                    self.clients.open()?;
                }
                Effect::Retire => self.clients.close().await?,
                Effect::Unreadable { reason } => anyhow::bail!("{reason}"),
            }
        }
        self.effects = effects;
        self.clients.flush();
        Ok(())
    }

    fn for_client(&mut self, effect: ClientEffect) {
        let connection = match &effect {
            ClientEffect::Receipt { connection, .. }
            | ClientEffect::Refused { connection, .. }
            | ClientEffect::BrowseEnd { connection, .. } => *connection,
            ClientEffect::Deliver(delivery) => delivery.connection,
            ClientEffect::Load(_) => return,
        };
        self.clients.push(connection, effect);
    }

    fn for_quorum(&mut self, effect: QuorumEffect) -> anyhow::Result<()> {
        match effect {
            QuorumEffect::Append(entries) => self.store.append(entries),
            QuorumEffect::Truncate { keep } => self.store.truncate(keep),
            QuorumEffect::StorePromise { epoch } => self.store.store_promise(epoch),
            QuorumEffect::Apply(entries) => self.store.apply(entries),
            QuorumEffect::Replay { to } => self.store.replay(to),
            QuorumEffect::ReadLog {
                to,
                after,
                bytes_max,
            } => self.store.read_log(ReadLog {
                to,
                after,
                bytes_max,
            }),
            QuorumEffect::Send { to, message } => self.network.send(&to, message),
            QuorumEffect::Follow { master, hello } => self.network.follow(&master, &hello),
            QuorumEffect::Unfollow => self.network.unfollow(),
            QuorumEffect::Unlink { node } => self.network.unlink(&node),
            QuorumEffect::Install { master, epoch } => self.fetch(&master, epoch),
            QuorumEffect::Claim { epoch, version } => self.network.claim(epoch, version),
            QuorumEffect::Filled => {
                self.store
                    .mark_filled()
                    .context("mark the store as filled")?;
                self.network.confirm_filled();
            }
            QuorumEffect::Role(role) => self.role_changed(&role),
            QuorumEffect::Committed { .. } => {}
            QuorumEffect::Lease { held } => {
                if held {
                    tracing::info!("a quorum hears this master: it answers clients");
                } else {
                    tracing::warn!(
                        "no quorum hears this node as master: it answers nobody until one does"
                    );
                }
            }
            QuorumEffect::Diverged(found) => anyhow::bail!(
                "{found}: acknowledged messages are at stake, and this node keeps what it has. Most likely an old copy of a directory was restored on another node. If the master is right, empty this node's directory; if this node is right, stop the others, empty theirs, and see `replicamq cluster accept-loss --help`"
            ),
            QuorumEffect::Note(note) => {
                self.board.note(&note);
                self.say(&note);
            }
        }
        Ok(())
    }

    fn fetch(&mut self, master: &NodeId, epoch: Epoch) {
        let Some(fetch) = self.network.fetch(master, epoch, self.held()) else {
            return;
        };
        let pause = self.attempts.pause(master, epoch);
        if pause.is_zero() {
            tracing::warn!(%master, "fetching a checkpoint: this store cannot be continued from the log");
        }
        self.fetching.spawn(async move {
            tokio::time::sleep(pause).await;
            fetch.await
        });
    }

    /// The end of our log, if nothing that we acknowledged is missing from it.
    fn held(&self) -> Option<Position> {
        let quorum = self.node.quorum();
        quorum.is_filled().then(|| quorum.positions().0)
    }

    fn role_changed(&mut self, role: &Role) {
        let text = match role {
            Role::Electing => "electing: looking for a master".to_owned(),
            Role::Candidate { epoch } => format!("candidate for epoch {epoch}"),
            Role::Replica { master, epoch } => format!("replica of {master} in epoch {epoch}"),
            Role::Rising { epoch } => format!("elected in epoch {epoch}, preparing to serve"),
            Role::Master { epoch } => format!("master in epoch {epoch}"),
        };
        self.say(&format!("role: {text}"));
        systemd::status(&text);
        self.board.role(role);
        self.advertise();
    }

    /// For the log; what is said again and again, as by a node that all others refuse, is
    /// said less often.
    fn say(&mut self, text: &str) {
        if self.repeats.allow(text, clock::monotonic_ms()) {
            tracing::info!("{text}");
        } else {
            tracing::debug!("{text}");
        }
    }

    fn role_name(&self) -> &'static str {
        admin::role_name(&self.node)
    }
}

/// Whether a checkpoint under way must not be installed any more: what was
/// appended and answered since would be replaced by something older.
fn abandons_fetch(effect: &QuorumEffect) -> bool {
    matches!(
        effect,
        QuorumEffect::Install { .. } | QuorumEffect::Follow { .. } | QuorumEffect::Unfollow
    )
}

pub(crate) fn now() -> Now {
    Now {
        monotonic_ms: clock::monotonic_ms(),
        unix_ms: clock::unix_ms(),
    }
}
