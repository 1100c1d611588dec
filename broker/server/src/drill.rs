//! `replicamq drill`: faults on purpose, under load, with every message counted.

mod ledger;
mod load;
mod rounds;
mod summary;
mod target;

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::{Address, Interval};
use crate::status::TokenArgs;

/// Break a cluster on purpose and count what that costs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq drill kill-master --rounds 10 --local-dir .demo
  replicamq drill kill-master --signal stop --target compose
  replicamq drill kill-master --help")]
pub(crate) struct DrillArgs {
    #[command(subcommand)]
    drill: Drill,
}

#[derive(Debug, Subcommand)]
enum Drill {
    KillMaster(KillMasterArgs),
}

/// Kill the master under load, again and again.
///
/// Each round: producers and consumers work; the master gets the signal; the time is taken until a new master has
/// acknowledged a send and until one has delivered a message; the old master is started again; the load stops, and
/// everything acknowledged must have arrived, once and in order; the round ends when every node has caught up and the
/// queues are empty.
///
/// A message counts as lost if its send was acknowledged and it never arrived; as duplicated if it came twice without
/// the redelivered mark, or again after its acknowledgement was confirmed; as reordered if it came first after a later
/// one of the same producer; as unknown if nobody sent it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq drill kill-master --rounds 50 --local-dir .demo       # a cluster by deploy/local-cluster
  replicamq drill kill-master --rounds 10 --signal stop --local-dir .demo
  replicamq drill kill-master --rounds 10 --target compose --compose-file deploy/docker/docker-compose.yml
  sudo replicamq drill kill-master --rounds 10 --target systemd

Exit code 1 if anything was lost, duplicated, reordered or unknown, or if a round did not end.")]
struct KillMasterArgs {
    /// How often
    #[arg(long, default_value = "10", value_name = "N")]
    rounds: NonZeroU32,

    /// What the master gets
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    signal: Fault,

    /// With --signal stop: how long the master hangs before it goes on
    #[arg(long, default_value = "5s", value_name = "TIME")]
    stop_for: Interval,

    /// What runs the cluster
    #[arg(long, value_enum, default_value_t = TargetKind::Local)]
    target: TargetKind,

    /// local: the folder of a cluster by deploy/local-cluster
    #[arg(
        long,
        default_value = ".demo",
        value_name = "DIR",
        help_heading = "Target"
    )]
    local_dir: PathBuf,

    /// compose: its file
    #[arg(
        long,
        default_value = "deploy/docker/docker-compose.yml",
        value_name = "FILE",
        help_heading = "Target"
    )]
    compose_file: PathBuf,

    /// compose: the services that are brokers; each is also the name of its node
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "broker-1,broker-2,broker-3",
        value_name = "NAME,…",
        help_heading = "Target"
    )]
    services: Vec<String>,

    /// systemd: the folder of the units' configurations, NODE.toml each
    #[arg(
        long,
        default_value = "/etc/replicamq",
        value_name = "DIR",
        help_heading = "Target"
    )]
    systemd_dir: PathBuf,

    #[command(flatten)]
    token: TokenArgs,

    /// Queues, each with one producer and one consumer
    #[arg(long, default_value = "2", value_name = "N", help_heading = "Load")]
    pairs: NonZeroU32,

    /// Messages of each producer that may wait for their receipts at a time
    #[arg(long, default_value = "8", value_name = "N", help_heading = "Load")]
    in_flight: NonZeroUsize,

    /// Bytes of each body
    #[arg(
        long,
        default_value_t = 1024,
        value_name = "BYTES",
        help_heading = "Load"
    )]
    size: u32,

    /// How long the load runs before the signal, and again before the old master is started
    #[arg(long, default_value = "1s", value_name = "TIME", help_heading = "Load")]
    load: Interval,

    /// Signs of life between clients and broker: how soon clients see a master that hangs
    #[arg(
        long,
        default_value = "250ms",
        value_name = "TIME",
        help_heading = "Load"
    )]
    heart_beat: Interval,

    /// Fail if there is no new master, or not every message, after this
    #[arg(long, default_value = "30s", value_name = "TIME")]
    timeout: Interval,

    /// Fail if the nodes have not caught up after this
    #[arg(long, default_value = "2m", value_name = "TIME")]
    catch_up_timeout: Interval,

    /// A JSON object for each round and one for the summary
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// SIGKILL: it is gone at once
    Kill,
    /// SIGSTOP, later SIGCONT: it hangs, keeps its connections, and wakes up as if nothing had been
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TargetKind {
    /// Processes of this machine
    Local,
    /// Containers, through docker compose
    Compose,
    /// Units replicamq@NODE, through systemctl
    Systemd,
}

/// A node, as the drill reaches it.
#[derive(Debug, Clone)]
struct DrillNode {
    name: String,
    admin: crate::status::Access,
    stomp: Address,
}

pub(crate) async fn drill(args: DrillArgs) -> anyhow::Result<()> {
    match args.drill {
        Drill::KillMaster(args) => {
            tokio::task::LocalSet::new()
                .run_until(rounds::run(args))
                .await
        }
    }
}
