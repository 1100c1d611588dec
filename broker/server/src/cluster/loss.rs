//! `replicamq cluster accept-loss`: the last resort, when no quorum of whole nodes is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use replicamq_cluster::Operator;
use replicamq_quorum::{NodeId, Position, majority};
use replicamq_store::{Fill, Options, Seen, Store, look};

use super::{access, print};
use crate::config;

/// Let a damaged or emptied node count again with what it holds.
///
/// A node that lost something neither votes nor leads until a master has filled it. If so many nodes lost something
/// that no master can be elected any more, and none of them can be repaired, this declares what a node still holds to
/// be all there is. Messages that only the lost part held are gone for good.
///
/// First stop all nodes and look at each with --dry-run. Accept the loss on the one whose log ends furthest, and on
/// as many others as make a quorum. The rest is filled by the new master. A broker that stands alone needs only itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq cluster accept-loss --config /etc/replicamq/node.toml --dry-run
  replicamq cluster accept-loss --config /etc/replicamq/node.toml
  replicamq cluster accept-loss --directory /var/lib/replicamq      # a broker that stands alone")]
pub(super) struct AcceptLossArgs {
    /// The configuration of the node, which must not run
    #[arg(long, value_name = "FILE", required_unless_present = "directory")]
    config: Option<PathBuf>,

    /// The data of a broker that stands alone and has no configuration
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    directory: Option<PathBuf>,

    /// Only show what the node holds and misses; changes nothing in its directory
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn accept_loss(args: &AcceptLossArgs) -> anyhow::Result<()> {
    let config = match (&args.config, &args.directory) {
        (Some(file), _) => config::load_file(file)?,
        (None, Some(directory)) => config::load_directory(directory)?,
        (None, None) => bail!("give --config or --directory"),
    };
    let directory = &config.directory;
    let node = NodeId::new(&config.node);
    let options = Options {
        segment_bytes: config.limits.log_segment_bytes,
        retention_bytes: config.limits.log_retention_bytes,
        retention_age: config.limits.log_retention_age,
        ..Options::new(directory, &config.node)
    };
    let Some(seen) = look(&options)? else {
        bail!(
            "there is no store in {}: start the node once, so that one is made, and stop it",
            directory.display()
        );
    };
    print(&report(&seen, directory, &node))?;
    let operator = match &config.cluster {
        Some(cluster) => Some(Operator::connect(access(cluster)).await?),
        None => None,
    };
    let outdated = match &operator {
        Some(operator) => outdated(operator, &node, &seen).await?,
        None => None,
    };
    if let Some(held) = outdated {
        print(&[format!(
            "  older copy   this node once held entries up to {held}"
        )])?;
    }
    if seen.fill == Fill::Filled && outdated.is_none() {
        return print(&[format!(
            "{node} counts: it misses nothing that it knows of. Nothing to accept."
        )]);
    }
    if args.dry_run {
        return print(&["Nothing was accepted: --dry-run.".to_owned()]);
    }
    // Nothing is asked of the store that it could report.
    let opened = Store::open(options, Arc::new(drop))?;
    let mut said = vec![format!(
        "Accepted: {node} counts from its next start, with what it holds."
    )];
    opened
        .store
        .mark_filled()
        .context("mark the store as filled")?;
    if let (Some(operator), Some(cluster)) = (operator, &config.cluster) {
        let store = opened.store.identity().store;
        operator.adopt(&node, &store).await?;
        said.push(format!(
            "{} of {} nodes must count before a master can be elected.",
            majority(cluster.replicas as usize),
            cluster.replicas
        ));
    }
    print(&said)
}

/// What ZooKeeper knows this very store to have held, if that is more than it holds.
async fn outdated(
    operator: &Operator,
    node: &NodeId,
    seen: &Seen,
) -> anyhow::Result<Option<Position>> {
    let view = operator.view().await?;
    let place = view.places.into_iter().find(|place| place.node == *node);
    let held = place.and_then(|place| place.held);
    Ok(held.filter(|held| *held > seen.last))
}

fn report(seen: &Seen, directory: &Path, node: &NodeId) -> Vec<String> {
    let state = match seen.fill {
        Fill::Filling => "being filled: it neither votes nor leads",
        Fill::Unfilled => "unfilled: it neither votes nor leads",
        Fill::Filled => "filled: it counts",
    };
    let cluster = seen.identity.cluster.as_deref();
    let mut lines = vec![
        format!("node {node} in {}", directory.display()),
        format!("  cluster      {}", cluster.unwrap_or("none yet")),
        format!("  state        {state}"),
        format!("  promised     epoch {}", seen.promised),
        format!("  log ends at  {}", seen.last),
        format!("  store holds  entries up to {}", seen.applied),
    ];
    if let Some(damage) = &seen.damage {
        lines.push(format!("  damage       {damage}"));
    }
    let aside = directory.join("damaged");
    if aside.exists() {
        lines.push(format!(
            "  put aside    {} (what could not be opened)",
            aside.display()
        ));
    }
    lines
}
