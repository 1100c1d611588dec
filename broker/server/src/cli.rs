//! The command line: its subcommands, and the runtime that each one needs.
#![expect(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{bench, client, cluster, config, drill, logging, run, status, terminal};

/// A message broker whose messages survive the loss of a node.
#[derive(Debug, Parser)]
#[command(name = "replicamq", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  replicamq serve                                   # a broker on 127.0.0.1:61613
  replicamq send /queue/orders 'first order'        # one message to it
  replicamq receive /queue/orders                   # and back
  replicamq serve --config /etc/replicamq/node.toml # a node of a cluster
  replicamq status --node 127.0.0.1:8161            # who is master, how far the others are

Each command explains itself: replicamq send --help";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<ServeArgs>),
    Send(client::SendArgs),
    Receive(client::ReceiveArgs),
    Browse(client::BrowseArgs),
    Status(status::StatusArgs),
    Cluster(cluster::ClusterArgs),
    Bench(bench::BenchArgs),
    Drill(drill::DrillArgs),
}

/// Run a broker: alone, or as a node of a cluster.
///
/// Without arguments it is a standalone broker on 127.0.0.1. With zk_address it is a node of a cluster: the nodes
/// elect a master through ZooKeeper, and a send is acknowledged once more than half of them have it on disk.
///
/// Each key may stand in the file, be a flag, or be a variable: zk_address in the file, --zk-address, or
/// REPLICAMQ_ZK_ADDRESS. A flag goes before a variable, a variable before the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq serve
  replicamq serve --stomp tcp://0.0.0.0:61613 --directory /var/lib/replicamq
  replicamq serve --config /etc/replicamq/node.toml
  replicamq serve --config /etc/replicamq/node.toml --check-config

A node of a cluster of three, as a file:
  node = \"broker-1\"
  hostname = \"broker-1.example.com\"
  zk_address = \"zk1:2181,zk2:2181,zk3:2181\"
  stomp = \"tcp://0.0.0.0:61613\"
  directory = \"/var/lib/replicamq\"
  security_token_file = \"/etc/replicamq/token\"

Clients name all nodes and find the master: failover:(tcp://broker-1:61613,tcp://broker-2:61613,tcp://broker-3:61613)")]
struct ServeArgs {
    /// A TOML file with keys as below
    #[arg(long, env = "REPLICAMQ_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the effective configuration, with secrets hidden, and exit
    #[arg(long)]
    check_config: bool,

    #[command(flatten)]
    keys: config::Keys,
}

/// Reads the command line and does what it says.
pub(crate) fn dispatch() -> anyhow::Result<ExitCode> {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let (_, matches) = matches.subcommand().expect("clap requires one");
    match cli.command {
        Command::Serve(args) => serve(*args, matches),
        Command::Send(args) => on_one_thread(client::send(args)),
        Command::Receive(args) => on_one_thread(client::receive(args)),
        Command::Browse(args) => on_one_thread(client::browse(args)),
        Command::Status(args) => on_one_thread(status::status(args)),
        Command::Cluster(args) => on_one_thread(cluster::cluster(args)),
        Command::Bench(args) => on_one_thread(bench::bench(args)),
        Command::Drill(args) => on_one_thread(drill::drill(args)),
    }
}

fn on_one_thread(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let done = runtime.block_on(command);
    // A thread that waits for stdin must not keep the process alive.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

fn serve(args: ServeArgs, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let loaded = config::load(args.keys, matches, args.config.as_deref())?;
    if args.check_config {
        terminal::line(loaded.to_toml().trim_end()).map_err(terminal::Output)?;
        for warning in &loaded.warnings {
            terminal::remark(&format!("warning: {warning}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&loaded.config.log, loaded.config.log_format)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    runtime()?.block_on(run::serve(loaded.config))?;
    Ok(ExitCode::SUCCESS)
}

/// One thread for the node loop, the sockets and the links: handing work
/// between threads costs more than the work. The disk has threads of its own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_variable_that_a_command_hears_is_known() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                let Some(name) = argument.get_env().and_then(|name| name.to_str()) else {
                    continue;
                };
                let known = config::KEYS.iter().any(|(_, variable)| *variable == name);
                assert!(known || config::OTHER_VARIABLES.contains(&name), "{name}");
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn every_subcommand_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let shown = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let example = format!("  replicamq {}", command.get_name());
            assert!(shown.contains(&example), "{}", command.get_name());
        }
    }
}
