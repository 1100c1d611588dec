//! `replicamq status`: what any node knows of its cluster.

mod ask;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

pub(crate) use ask::{Access, ask, transfer};
pub(crate) use report::{Destination, Report};

use crate::config::{self, Address, Interval};
use crate::terminal;

/// Show the cluster as any of its nodes sees it.
///
/// Who is master and in which epoch, how far each replica is behind, and what waits in the queues. Any node answers; a
/// replica asks the master for what only the master knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq status
  replicamq status --node broker-2:8161
  replicamq status --config /etc/replicamq/node.toml   # address and token from a node's own file
  replicamq status --watch
  replicamq status --json | jq '.members[] | {node, role, lag_ms}'

LAG is what the master has in its log, committed or not, and the node does not yet have on disk.")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    node: NodeArgs,

    /// What the node knows by itself, without asking the master
    #[arg(long)]
    local: bool,

    /// One JSON object
    #[arg(long)]
    json: bool,

    /// Show it again and again
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "1s"
    )]
    watch: Option<Interval>,
}

/// Which node to ask.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArgs {
    /// The admin connector of any node
    #[arg(
        long,
        env = "REPLICAMQ_NODE_ADMIN",
        default_value = "127.0.0.1:8161",
        value_name = "HOST:PORT"
    )]
    node: Address,

    /// Take the node's address and its token from its configuration file, not from --node
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    token: TokenArgs,
}

impl NodeArgs {
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        match &self.config {
            Some(path) => Access::from_config(path),
            None => Ok(Access {
                address: self.node.clone(),
                token: self.token.token()?,
            }),
        }
    }
}

/// What the node wants to be shown before it answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenArgs {
    /// The cluster's security token
    #[arg(
        long,
        env = "REPLICAMQ_SECURITY_TOKEN",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    security_token: Option<config::Secret>,

    /// A file that holds the security token
    #[arg(
        long,
        env = "REPLICAMQ_SECURITY_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "security_token"
    )]
    security_token_file: Option<PathBuf>,
}

impl TokenArgs {
    pub(crate) fn token(&self) -> anyhow::Result<Option<config::Secret>> {
        match (&self.security_token, &self.security_token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(path)) => Ok(Some(config::read_secret_file(path)?)),
            (None, None) => Ok(None),
        }
    }
}

/// The least pause of `--watch`: asking is work for the node.
const WATCH_MIN: Duration = Duration::from_millis(100);

pub(crate) async fn status(args: StatusArgs) -> anyhow::Result<()> {
    let access = args.node.access()?;
    loop {
        let report = Report::from(ask(&access, args.local).await?);
        let print = || {
            if args.json {
                return terminal::line(&serde_json::to_string(&report)?);
            }
            if args.watch.is_some() && terminal::stdout_is_watched() {
                terminal::clear()?;
            }
            report
                .lines()
                .iter()
                .try_for_each(|line| terminal::line(line))
        };
        print().map_err(terminal::Output)?;
        let Some(Interval(pause)) = args.watch else {
            return Ok(());
        };
        tokio::select! {
            () = sleep(pause.max(WATCH_MIN)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}
