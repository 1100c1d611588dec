//! What runs the nodes, and so can break and mend them.

mod compose;
mod local;
mod systemd;

use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::{DrillNode, Fault, KillMasterArgs, TargetKind};

use compose::Compose;
use local::Local;
use systemd::Systemd;

/// What runs the nodes.
pub(super) enum Target {
    Local(Local),
    Compose(Compose),
    Systemd(Systemd),
}

impl Target {
    pub(super) async fn new(args: &KillMasterArgs) -> anyhow::Result<Self> {
        Ok(match args.target {
            TargetKind::Local => Self::Local(Local::new(&args.local_dir)?),
            TargetKind::Compose => {
                Self::Compose(Compose::new(&args.compose_file, &args.services).await?)
            }
            TargetKind::Systemd => Self::Systemd(Systemd::new(&args.systemd_dir)?),
        })
    }

    /// The nodes, and how each is reached.
    pub(super) async fn nodes(&mut self, args: &KillMasterArgs) -> anyhow::Result<Vec<DrillNode>> {
        let token = args.token.token()?;
        let mut nodes = match self {
            Self::Local(local) => local.nodes(),
            Self::Compose(compose) => compose.nodes().await?,
            Self::Systemd(systemd) => systemd.nodes(),
        };
        if let Some(token) = token {
            for node in &mut nodes {
                node.admin.token = Some(token.clone());
            }
        }
        if nodes.len() < 2 {
            bail!(
                "{} node: a master can only be replaced where there are others",
                nodes.len()
            );
        }
        Ok(nodes)
    }

    /// Starts every node that does not run.
    pub(super) async fn start_missing(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Local(local) => local.start_missing(),
            Self::Compose(compose) => compose.start_all().await,
            Self::Systemd(systemd) => systemd.start_all().await,
        }
    }

    /// Breaks a node. `true`: at once; `false`: somewhat later, when the command took effect.
    pub(super) async fn fault(&mut self, node: &str, fault: Fault) -> anyhow::Result<bool> {
        match self {
            Self::Local(local) => local.fault(node, fault).await.map(|()| true),
            Self::Compose(compose) => compose.fault(node, fault).await.map(|()| false),
            Self::Systemd(systemd) => systemd.fault(node, fault).await.map(|()| false),
        }
    }

    /// Mends it again, without waiting until it is ready.
    pub(super) async fn heal(&mut self, node: &str, fault: Fault) -> anyhow::Result<()> {
        match self {
            Self::Local(local) => local.heal(node, fault),
            Self::Compose(compose) => compose.heal(node, fault).await,
            Self::Systemd(systemd) => systemd.heal(node, fault).await,
        }
    }
}

/// Runs a command and gives what it printed; fails with what it complained of.
async fn output(mut command: Command) -> anyhow::Result<String> {
    let shown = format!("{:?}", command.as_std());
    let done = command
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("run {shown}"))?;
    if !done.status.success() {
        let complaint = String::from_utf8_lossy(&done.stderr);
        bail!("{shown} failed with {}: {}", done.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
