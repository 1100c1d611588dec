//! The broker itself: a node, its disk, its network and its clients, on tokio.
//!
//! A process lives several lives: when a checkpoint replaces the store, all
//! that was built on the old one is taken down and built anew.

mod attempts;
mod clients;
mod engine;
pub(crate) mod inbox;
pub(crate) mod network;
mod repeats;
mod start;
pub(crate) mod without_master;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use replicamq_cluster::TokenCheck;
use replicamq_protocols::stomp::{HeartBeat, Limits as FrameLimits, SessionConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{self, ASKED_MAX, Asked};
use crate::config::{Address, Config, Secret};
use crate::connection::Settings;
use crate::listener::Reserved;
use crate::systemd;
use engine::Ended;

/// A file would grow beyond `ulimit -f` or `LimitFSIZE=`; on Linux, but for MIPS and PA-RISC.
const SIGXFSZ: i32 = 25;

/// As often as a client may wish for signs of life: one that wants to notice a
/// hanging master within a second gets them so often.
const HEART_BEAT_MS_MIN: u64 = 100;

/// What stays the same over all lives of the process.
struct Process {
    config: Config,
    settings: Arc<Settings>,
    /// Tells this process from another with the same node id.
    incarnation: String,
    stop: watch::Receiver<bool>,
    asked: mpsc::Receiver<Asked>,
    /// The life before this one ended because its store was damaged.
    damaged: bool,
}

/// Runs a broker until it is told to stop.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let (stopper, stop) = watch::channel(false);
    tasks.spawn(until_told_to_stop(stopper)?);
    let (asking, asked) = mpsc::channel(ASKED_MAX);
    if let Some(listen) = &config.admin {
        let address = resolve(&listen.bind).await?;
        let (token, directory) = (config.security_token.clone(), config.directory.clone());
        let service = admin::Service::new(asking, token, directory);
        let token = config.security_token.as_ref().map(Secret::reveal);
        tasks.spawn(admin::listen(address, service, TokenCheck::admin(token)?)?);
        tracing::info!(%address, "answering operators: replicamq status --node {address}");
    }
    let mut process = Process {
        settings: settings(&config),
        incarnation: format!("{:016x}", rand::random::<u64>()),
        config,
        stop,
        asked,
        damaged: false,
    };
    let mut port = match &process.config.stomp {
        Some(listen) => Some(Reserved::new(resolve(&listen.bind).await?)?),
        None => None,
    };
    loop {
        let ended = process.live(&mut port).await?;
        match ended {
            Ended::Stopped => break,
            Ended::Damaged => process.damaged = true,
            Ended::Install {
                staging,
                info,
                held,
            } => {
                let directory = process.config.directory.clone();
                let applied = info.applied;
                tokio::task::spawn_blocking(move || {
                    replicamq_store::install(&directory, &staging, &info, held)
                })
                .await?
                .context("put the fetched checkpoint in place")?;
                tracing::info!(%applied, "a checkpoint replaced the store");
            }
        }
    }
    tasks.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// The first address that a name stands for.
async fn resolve(address: &Address) -> anyhow::Result<SocketAddr> {
    let authority = address.authority();
    tokio::net::lookup_host(&authority)
        .await
        .with_context(|| format!("look up {authority}"))?
        .next()
        .with_context(|| format!("{authority} has no address"))
}

fn settings(config: &Config) -> Arc<Settings> {
    let session = SessionConfig {
        heart_beat: HeartBeat {
            send_ms: HEART_BEAT_MS_MIN,
            ..SessionConfig::default().heart_beat
        },
        limits: FrameLimits {
            body_bytes_max: config.limits.frame_bytes_max,
            ..FrameLimits::default()
        },
        connect_ms_max: u64::try_from(config.limits.connect_timeout.as_millis())
            .expect("it is at most ten minutes"),
        ..SessionConfig::default()
    };
    Arc::new(Settings::new(session))
}

fn until_told_to_stop(
    stopper: watch::Sender<bool>,
) -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    // Once somebody listens, a file over a limit is an error for the store to tell, and no
    // longer the silent death of the process.
    drop(signal(SignalKind::from_raw(SIGXFSZ)).context("listen for SIGXFSZ")?);
    Ok(async move {
        // Both arms only wait for a signal.
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stopping: SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stopping: SIGINT"),
        }
        systemd::stopping();
        stopper.send_replace(true);
        stopper.closed().await;
    })
}
