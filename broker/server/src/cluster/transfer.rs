//! `replicamq cluster transfer`: another node is to be master.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use replicamq_proto::admin::v1::{StatusResponse, TransferRequest};
use tokio::time::sleep;

use super::print;
use crate::clock;
use crate::status::{NodeArgs, ask, transfer as begin};

/// The successor takes over in a small part of this, or the old master stays.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at who is master.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Make another node master, for instance before the machine of this one is restarted.
///
/// The master takes no more messages, waits until the other one has everything, and leaves its place to it: nothing is
/// lost, and clients with failover: are out for a fraction of a second. If the other one does not take over within a
/// second, the master goes on. A master that is stopped with SIGTERM does the same by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq cluster transfer --config /etc/replicamq/node.toml --dry-run
  replicamq cluster transfer broker-2 --config /etc/replicamq/node.toml
  replicamq cluster transfer broker-2 --node broker-1:8161 --security-token-file /etc/replicamq/token")]
pub(super) struct TransferArgs {
    /// The node that is to be master [default: the one that is furthest on]
    to: Option<String>,

    #[command(flatten)]
    node: NodeArgs,

    /// Only say who would take over
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn transfer(args: &TransferArgs) -> anyhow::Result<()> {
    let access = args.node.access()?;
    let request = TransferRequest {
        to: args.to.clone().unwrap_or_default(),
        local: false,
        dry_run: args.dry_run,
    };
    let begun = begin(&access, request).await?;
    if args.dry_run {
        return print(&[
            format!("{} would hand over to {}.", begun.from, begun.to),
            "Nothing was changed: --dry-run.".to_owned(),
        ]);
    }
    let since = clock::now();
    while since.elapsed() < PATIENCE {
        // A node whose role changes may not answer at this moment.
        if let Ok(status) = ask(&access, true).await
            && let Some(master) = master_after(&status, begun.epoch)
        {
            if master != begun.to {
                bail!(
                    "{master} is master now, in epoch {}, and not {}: see the log of {}",
                    status.epoch,
                    begun.to,
                    begun.to
                );
            }
            return print(&[format!(
                "{master} is master in epoch {}, after {} ms.",
                status.epoch,
                since.elapsed().as_millis()
            )]);
        }
        sleep(LOOK_EVERY).await;
    }
    bail!(
        "{} did not take over: {} stays master; see the log of {}",
        begun.to,
        begun.from,
        begun.to
    )
}

/// Who leads a later epoch, once it serves or is heard to.
fn master_after(status: &StatusResponse, epoch: u64) -> Option<&str> {
    let led = |one: &&replicamq_proto::admin::v1::MemberStatus| {
        one.node == status.node && matches!(one.role.as_str(), "master" | "replica")
    };
    let follows = status.epoch > epoch && status.members.iter().any(|one| led(&one));
    (follows && !status.master.is_empty()).then_some(status.master.as_str())
}
