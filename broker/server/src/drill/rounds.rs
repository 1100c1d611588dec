//! The rounds of `drill kill-master`.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::sleep;

use super::load::{Gate, Load, LoadPlan};
use super::summary::{Row, Summary, heading};
use super::target::Target;
use super::{DrillNode, Fault, KillMasterArgs};
use crate::client::{BrokerUri, Failover, Opening};
use crate::clock;
use crate::status::{Destination, Report, ask};
use crate::terminal;

/// How often a condition is looked at; what is measured does not depend on it.
const POLL: Duration = Duration::from_millis(10);
/// How often nodes are asked how far they are.
const ASK: Duration = Duration::from_millis(50);
/// A broker that hangs is not waited for longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

struct Rounds<'a> {
    args: &'a KillMasterArgs,
    target: Target,
    nodes: Vec<DrillNode>,
    load: Load,
    rows: Vec<Row>,
    /// The node that is down or hangs because of us.
    victim: Option<String>,
}

pub(super) async fn run(args: KillMasterArgs) -> anyhow::Result<()> {
    let mut target = Target::new(&args).await?;
    target.start_missing().await?;
    let nodes = target.nodes(&args).await?;
    terminal::remark(&format!(
        "waiting until {} nodes follow one master",
        nodes.len()
    ));
    caught_up(&nodes, args.catch_up_timeout.0)
        .await
        .context("the cluster is not complete")?;
    let plan = LoadPlan {
        broker: BrokerUri {
            addresses: nodes.iter().map(|node| node.stomp.clone()).collect(),
            failover: Some(Failover {
                timeout: Some(args.timeout.0),
                ..Failover::default()
            }),
        },
        opening: Opening {
            heart_beat: args.heart_beat.0,
            timeout: CONNECT_TIMEOUT,
            ..Opening::default()
        },
        pairs: args.pairs.get() as usize,
        in_flight: args.in_flight.get(),
        size: args.size as usize,
        run: format!("{:08x}", rand::random::<u32>()),
    };
    let load = Load::start(plan).await.context("start the load")?;
    let mut rounds = Rounds {
        args: &args,
        target,
        nodes,
        load,
        rows: Vec::new(),
        victim: None,
    };
    let done = tokio::select! {
        done = rounds.all() => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    rounds.finish(done).await
}

impl Rounds<'_> {
    async fn all(&mut self) -> anyhow::Result<()> {
        if !self.args.json {
            terminal::line(&heading()).map_err(terminal::Output)?;
        }
        for round in 1..=self.args.rounds.get() {
            let row = self
                .round(round)
                .await
                .with_context(|| format!("round {round}"))?;
            let text = if self.args.json {
                serde_json::to_string(&row).context("write a row as JSON")?
            } else {
                row.line()
            };
            terminal::line(&text).map_err(terminal::Output)?;
            terminal::flush().map_err(terminal::Output)?;
            self.rows.push(row);
        }
        Ok(())
    }

    async fn round(&mut self, round: u32) -> anyhow::Result<Row> {
        let before = self.load.counts();
        self.load.set(Gate::Send);
        self.work(self.args.load.0).await?;
        let (old_master, _) = master(&self.nodes).await.context("find the master")?;
        self.load.arm();
        let began_ns = clock::monotonic_ns();
        self.victim = Some(old_master.clone());
        let exact = self.target.fault(&old_master, self.args.signal).await?;
        self.wait("a new master serves every client", Load::has_moved)
            .await?;
        let timeline = self.load.timeline();
        // Where the signal takes its time to arrive, the old master's last answer tells when it did.
        let signal_ns = if exact {
            began_ns
        } else {
            began_ns.max(timeline.last_old_ns)
        };
        let (new_master, epoch) = master(&self.nodes).await.context("find the new master")?;
        self.work(self.args.load.0).await?;
        if self.args.signal == Fault::Stop {
            let hung = Duration::from_nanos(clock::monotonic_ns() - began_ns);
            self.work(self.args.stop_for.0.saturating_sub(hung)).await?;
        }
        self.target.heal(&old_master, self.args.signal).await?;
        let healed_ns = clock::monotonic_ns();
        self.victim = None;
        self.work(self.args.load.0).await?;
        self.load.set(Gate::Pause);
        let drained = self
            .wait("everything acknowledged has arrived", Load::is_drained)
            .await;
        caught_up(&self.nodes, self.args.catch_up_timeout.0).await?;
        let caught_up_ms = (clock::monotonic_ns() - healed_ns) / 1_000_000;
        let counts = self.load.counts().since(before);
        if counts.missing == 0 {
            drained?;
            self.emptied().await?;
        }
        let since = |ns: u64| ns.saturating_sub(signal_ns) / 1_000_000;
        let acknowledged = || timeline.acknowledged_ns.values().copied();
        Ok(Row {
            round,
            old_master,
            new_master,
            epoch,
            acknowledged_ms: since(acknowledged().min().unwrap_or(0)),
            all_acknowledged_ms: since(acknowledged().max().unwrap_or(0)),
            delivered_ms: since(timeline.delivered_ns.unwrap_or(0)),
            caught_up_ms,
            sent: counts.sent,
            lost: counts.missing,
            duplicated: counts.duplicated,
            redelivered: counts.redelivered,
            reordered: counts.reordered,
            unknown: counts.unknown,
        })
    }

    /// Waits until the queues hold nothing, not even with a consumer: what was acknowledged
    /// is gone, and nothing is left that should have come.
    async fn emptied(&mut self) -> anyhow::Result<()> {
        let began_ms = clock::monotonic_ms();
        loop {
            let complete =
                |report: &Report| !report.master.is_empty() && report.incomplete.is_empty();
            let told = report(&self.nodes, complete).await;
            let left = told.map(|report| left(&report, self.load.queues()));
            if left.as_ref().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            if clock::monotonic_ms() - began_ms > self.args.timeout.as_ms() {
                let left = left.map_or("no master tells".to_owned(), |left| left.join("; "));
                bail!(
                    "not within {}: the queues are empty ({left})",
                    self.args.timeout
                );
            }
            self.work(ASK).await?;
        }
    }

    /// Lets the load go on for a while.
    async fn work(&mut self, time: Duration) -> anyhow::Result<()> {
        tokio::select! {
            () = sleep(time) => Ok(()),
            error = self.load.failure() => Err(error),
        }
    }

    async fn wait(&mut self, what: &str, reached: fn(&Load) -> bool) -> anyhow::Result<()> {
        let began_ms = clock::monotonic_ms();
        while !reached(&self.load) {
            self.work(POLL).await?;
            if clock::monotonic_ms() - began_ms > self.args.timeout.as_ms() {
                let counts = self.load.counts();
                bail!(
                    "not within {}: {what} (sent {}, acknowledged {}, received {}, missing {})",
                    self.args.timeout,
                    counts.sent,
                    counts.confirmed,
                    counts.delivered,
                    counts.missing
                );
            }
        }
        Ok(())
    }

    /// Whatever happened: the victim lives again, and what is known is told.
    async fn finish(mut self, done: anyhow::Result<()>) -> anyhow::Result<()> {
        if let Some(victim) = self.victim.take() {
            let healed = self.target.heal(&victim, self.args.signal).await;
            if let Err(error) = healed {
                terminal::remark(&format!("{victim} is still down: {error:#}"));
            }
        }
        let counts = self.load.counts();
        let summary = Summary::of(&self.rows, counts);
        let text = if self.args.json {
            serde_json::to_string(&summary).context("write the summary as JSON")?
        } else {
            format!("\n{}", summary.lines().join("\n"))
        };
        terminal::line(&text).map_err(terminal::Output)?;
        done?;
        self.load.end().await?;
        if counts.is_clean() {
            return Ok(());
        }
        bail!(
            "promises were broken: {} lost, {} duplicated, {} reordered, {} unknown",
            counts.missing,
            counts.duplicated,
            counts.reordered,
            counts.unknown
        )
    }
}

/// What the queues still hold, in words; one that nobody knows holds nothing.
fn left(report: &Report, queues: &[String]) -> Vec<String> {
    let of_load = |queue: &&Destination| queue.kind == "queue" && queues.contains(&queue.name);
    let holds = |queue: &&Destination| queue.depth > 0 || queue.in_flight > 0;
    let found = report.destinations.iter().filter(of_load).filter(holds);
    found
        .map(|queue| {
            let Destination {
                name,
                depth,
                in_flight,
                ..
            } = queue;
            format!("{name}: depth {depth}, in flight {in_flight}")
        })
        .collect()
}

/// What the first node says that answers.
async fn report(nodes: &[DrillNode], accept: impl Fn(&Report) -> bool) -> Option<Report> {
    for node in nodes {
        if let Ok(answer) = ask(&node.admin, false).await {
            let report = Report::from(answer);
            if accept(&report) {
                return Some(report);
            }
        }
    }
    None
}

/// Who is master, and in which epoch: the one that says so of itself in the highest epoch.
async fn master(nodes: &[DrillNode]) -> anyhow::Result<(String, u64)> {
    let mut found: Option<(String, u64)> = None;
    for node in nodes {
        let Ok(answer) = ask(&node.admin, true).await else {
            continue;
        };
        let report = Report::from(answer);
        let leads = report
            .members
            .iter()
            .any(|member| member.node == report.node && member.role == "master");
        if leads
            && found
                .as_ref()
                .is_none_or(|(_, epoch)| report.epoch > *epoch)
        {
            found = Some((node.name.clone(), report.epoch));
        }
    }
    found.context("no node says that it is master")
}

/// Waits until every node follows one master and misses nothing.
async fn caught_up(nodes: &[DrillNode], limit: Duration) -> anyhow::Result<()> {
    let began_ms = clock::monotonic_ms();
    loop {
        if report(nodes, Report::is_caught_up).await.is_some() {
            return Ok(());
        }
        if u128::from(clock::monotonic_ms() - began_ms) > limit.as_millis() {
            let Some(last) = report(nodes, |_| true).await else {
                let reason = match ask(&nodes[0].admin, false).await {
                    Ok(_) => "it answers now".to_owned(),
                    Err(error) => error.to_string(),
                };
                bail!("no node answers, the first one because: {reason}");
            };
            bail!(
                "not every node has caught up after {} s:\n{}",
                limit.as_secs(),
                last.lines().join("\n")
            );
        }
        sleep(ASK).await;
    }
}

#[cfg(test)]
mod tests {
    use replicamq_proto::admin::v1::{DestinationStatus, StatusResponse};

    use super::*;

    #[test]
    fn what_is_left_in_a_queue_of_the_drill_is_told() {
        let queue = |name: &str, depth, in_flight| DestinationStatus {
            kind: "queue".to_owned(),
            name: name.to_owned(),
            depth,
            in_flight,
            ..DestinationStatus::default()
        };
        let report = Report::from(StatusResponse {
            destinations: vec![
                queue("drill-1", 0, 0),
                queue("drill-2", 3, 1),
                queue("other", 7, 0),
            ],
            ..StatusResponse::default()
        });
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let queues = names(&["drill-1", "drill-2", "drill-3"]);
        assert_eq!(left(&report, &queues), ["drill-2: depth 3, in flight 1"]);
        assert!(left(&report, &names(&["drill-1"])).is_empty());
    }
}
