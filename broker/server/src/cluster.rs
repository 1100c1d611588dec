//! `replicamq cluster`: what an operator decides about a cluster's nodes.
#![expect(clippy::doc_markdown, reason = "these comments are what --help prints")]

mod loss;
mod transfer;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use replicamq_cluster::{ClusterView, KeeperAccess, Operator, Place};
use replicamq_quorum::{NodeId, majority};

use crate::config::{self, Address, Cluster, Config, Secret};
use crate::terminal;

/// ZooKeeper's answers; it may elect a leader of its own in the meantime.
const KEEPER_TIMEOUT: Duration = Duration::from_secs(10);

/// Look at the nodes of a cluster, replace one, make another one master, or accept a loss.
///
/// All but transfer work on ZooKeeper and on a node's directory, not through a node: they help where no node leads.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq cluster nodes --config /etc/replicamq/node.toml
  replicamq cluster nodes --zk-address zk1:2181,zk2:2181 --zk-path /replicamq
  replicamq cluster replace broker-3 broker-4 --config /etc/replicamq/node.toml --dry-run
  replicamq cluster transfer broker-2 --config /etc/replicamq/node.toml
  replicamq cluster accept-loss --config /etc/replicamq/node.toml --dry-run")]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Nodes(NodesArgs),
    Replace(ReplaceArgs),
    Transfer(transfer::TransferArgs),
    AcceptLoss(loss::AcceptLossArgs),
}

/// Which cluster.
#[derive(Debug, Args)]
struct KeeperArgs {
    /// Take zk_address, zk_path and zk_password from a node's configuration file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["zk_address", "zk_path", "zk_password_file"])]
    config: Option<PathBuf>,

    /// Where ZooKeeper is
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "HOST:PORT,…")]
    zk_address: String,

    /// Where the cluster lives in it
    #[arg(long, default_value = config::ZK_PATH_DEFAULT, value_name = "PATH")]
    zk_path: String,

    /// A file that holds the password of the cluster's znodes
    #[arg(long, value_name = "FILE")]
    zk_password_file: Option<PathBuf>,
}

/// Show who has a place in the cluster, who of them is alive, and who holds the messages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq cluster nodes --config /etc/replicamq/node.toml
  replicamq cluster nodes --zk-address zk1:2181 --json

FILLED says whether the node holds what it acknowledged; one that does not is filled by the master before it counts.
HELD is what it last told ZooKeeper to hold for good, as epoch/sequence: a directory that ends before it is an older copy.")]
struct NodesArgs {
    #[command(flatten)]
    keeper: KeeperArgs,

    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Give the place of a dead node to a new one.
///
/// Stop the old process first, and see to it that it does not come back: dead means only that ZooKeeper does not hear
/// it. From then on the others refuse it and count nothing that it says. The new node starts with an empty directory
/// and is filled by the master; until then it does not count. Refused while the old node is alive, and if too few of
/// the others hold the messages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq cluster replace broker-3 broker-4 --config /etc/replicamq/node.toml --dry-run
  replicamq cluster replace broker-3 broker-4 --config /etc/replicamq/node.toml")]
struct ReplaceArgs {
    /// The node that will not come back
    old: String,

    /// The id of the node that takes its place
    new: String,

    #[command(flatten)]
    keeper: KeeperArgs,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn cluster(args: ClusterArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Nodes(args) => nodes(&args).await,
        Command::Replace(args) => replace(&args).await,
        Command::Transfer(args) => transfer::transfer(&args).await,
        Command::AcceptLoss(args) => loss::accept_loss(&args).await,
    }
}

impl KeeperArgs {
    fn access(&self) -> anyhow::Result<KeeperAccess> {
        if let Some(path) = &self.config {
            return Ok(access(&clustered(config::load_file(path)?)?.1));
        }
        let password = self.zk_password_file.as_deref();
        let password = password.map(config::read_secret_file).transpose()?;
        Ok(KeeperAccess {
            address: self.zk_address.clone(),
            path: self.zk_path.clone(),
            password: password.as_ref().map(|one| one.reveal().to_owned()),
            timeout: KEEPER_TIMEOUT,
        })
    }
}

/// A configuration that is a cluster node's.
fn clustered(config: Config) -> anyhow::Result<(Config, Cluster)> {
    match config.cluster.clone() {
        Some(cluster) => Ok((config, cluster)),
        None => bail!("this configuration is that of a standalone broker: it has no zk_address"),
    }
}

fn access(cluster: &Cluster) -> KeeperAccess {
    let servers: Vec<String> = cluster.zk_servers.iter().map(Address::authority).collect();
    let password = cluster.zk_password.as_ref().map(Secret::reveal);
    KeeperAccess {
        address: servers.join(","),
        path: cluster.zk_path.clone(),
        password: password.map(str::to_owned),
        timeout: KEEPER_TIMEOUT,
    }
}

async fn nodes(args: &NodesArgs) -> anyhow::Result<()> {
    let view = Operator::connect(args.keeper.access()?)
        .await?
        .view()
        .await?;
    if args.json {
        return Ok(terminal::line(&json(&view).to_string()).map_err(terminal::Output)?);
    }
    let master = view.master.as_ref().map_or("nobody yet", NodeId::as_str);
    let mut lines = vec![
        format!("cluster {}, replicas = {}", view.cluster, view.replicas),
        format!("epoch {}, claimed by {master}", view.epoch),
        String::new(),
    ];
    let rows: Vec<Vec<String>> = view.places.iter().map(row).collect();
    lines.extend(terminal::table(
        &["NODE", "STATE", "FILLED", "HELD", "REPLICATION"],
        &rows,
    ));
    let free = view.replicas.saturating_sub(view.places.len());
    if free > 0 {
        lines.push(format!("{free} of {} places are free", view.replicas));
    }
    print(&lines)
}

fn row(place: &Place) -> Vec<String> {
    let state = place.role.as_deref().unwrap_or("dead");
    let filled = if place.filled { "yes" } else { "no" };
    let address = match place.replication_address.as_str() {
        "" => "has not come yet",
        address => address,
    };
    let held = place
        .held
        .map_or_else(|| "-".to_owned(), |held| held.to_string());
    [place.node.as_str(), state, filled, &held, address]
        .map(str::to_owned)
        .to_vec()
}

fn json(view: &ClusterView) -> serde_json::Value {
    let place = |place: &Place| {
        serde_json::json!({
            "node": place.node.as_str(),
            "alive": place.role.is_some(),
            "role": place.role,
            "filled": place.filled,
            "held": place.held.map(|held| serde_json::json!({
                "epoch": held.epoch.0,
                "sequence": held.sequence.0,
            })),
            "replication_address": place.replication_address,
        })
    };
    serde_json::json!({
        "cluster": view.cluster,
        "replicas": view.replicas,
        "epoch": view.epoch.0,
        "master": view.master.as_ref().map(NodeId::as_str),
        "nodes": view.places.iter().map(place).collect::<Vec<_>>(),
    })
}

async fn replace(args: &ReplaceArgs) -> anyhow::Result<()> {
    let (old, new) = (NodeId::new(&args.old), NodeId::new(&args.new));
    let operator = Operator::connect(args.keeper.access()?).await?;
    if args.dry_run {
        let view = operator.view().await?;
        view.may_replace(&old, &new)?;
        let holders = view
            .places
            .iter()
            .filter(|one| one.filled && one.node != old);
        return print(&[
            format!("Would give the place of {old} to {new}."),
            format!(
                "{} of {} nodes hold the messages without {old}; a quorum is {}.",
                holders.count(),
                view.replicas,
                majority(view.replicas)
            ),
            "Nothing was changed: --dry-run.".to_owned(),
        ]);
    }
    operator.replace(&old, &new).await?;
    print(&[
        format!("{new} has the place of {old}, which is refused from now on."),
        format!(
            "Start {new} with node = \"{new}\" and an empty directory: the master will fill it."
        ),
    ])
}

fn print(lines: &[String]) -> anyhow::Result<()> {
    for line in lines {
        terminal::line(line).map_err(terminal::Output)?;
    }
    Ok(())
}
