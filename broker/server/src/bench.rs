//! `replicamq bench`: how fast a STOMP broker is, ours or another.
//!
//! Everything runs on one thread and costs next to nothing for each message: one
//! task a connection, frames written in batches, no allocation but the decoder's.

mod consumer;
mod guard;
mod producer;
mod progress;
mod report;
mod stamp;
mod tally;

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgAction, Args, ValueEnum};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::{ClientOptions, Connection, Session};
use crate::clock;
use crate::config::Interval;
use crate::terminal;

use consumer::Consumer;
use producer::Producer;
use progress::Progress;
use report::Report;
use stamp::{STAMP_BYTES, Stamp};
use tally::Tally;

const CONNECTIONS_MAX: u32 = 10_000;
/// How often it is looked whether everything has arrived.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// Measure a STOMP broker: throughput, and latency of sends and deliveries.
///
/// Producers send with receipts and keep --in-flight messages on their way; consumers acknowledge what they get. The
/// latency of a send ends with its receipt, that of a delivery with its arrival at the consumer. Warm-up is not
/// measured. Everything that was sent is received again, and counted: lost and duplicated messages are shown.
///
/// A queue with messages of others is left alone, unless with --force.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq bench
  replicamq bench --producers 8 --consumers 8 --size 1024 --duration 30s
  replicamq bench --in-flight 500 --count 200000
  replicamq bench --broker tcp://127.0.0.1:61614 --label activemq --json > activemq.json
  replicamq bench --consumers 0 --count 1000000 --in-flight 500   # fill a queue

Exit code 1 if an acknowledged message did not arrive.")]
pub(crate) struct BenchArgs {
    /// Connections that send
    #[arg(long, default_value = "1", value_name = "N")]
    producers: NonZeroU32,

    /// Connections that receive; 0: nobody does
    #[arg(long, default_value_t = 1, value_name = "N")]
    consumers: u32,

    /// Bytes of each body
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    size: u32,

    /// Messages of each producer that may wait for their receipts at a time
    #[arg(long, default_value = "1", value_name = "N")]
    in_flight: NonZeroU32,

    /// Whether the messages must survive a crash of the broker
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    persistent: bool,

    /// How long to measure
    #[arg(long, default_value = "10s", value_name = "TIME")]
    duration: Interval,

    /// Measure so many messages, however long it takes
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    count: Option<u64>,

    /// How long to run before measuring
    #[arg(long, default_value = "2s", value_name = "TIME")]
    warmup: Interval,

    /// The queues' name; with several, they are numbered
    #[arg(long, default_value = "/queue/bench", value_parser = queue, value_name = "QUEUE")]
    destination: String,

    /// Spread the connections over so many queues [default: one for each pair of producer and consumer]
    #[arg(long, value_name = "N")]
    queues: Option<NonZeroU32>,

    /// Also take what no bench has sent out of the queues
    #[arg(long)]
    force: bool,

    /// How consumers acknowledge
    #[arg(long, value_enum, default_value_t = Ack::Individual)]
    ack: Ack,

    /// Deliveries of each consumer that may wait for their acknowledgement
    #[arg(long, default_value = "1000", value_name = "N")]
    prefetch: NonZeroU32,

    /// Give up on messages that do not come for so long
    #[arg(long, default_value = "10s", value_name = "TIME")]
    drain_timeout: Interval,

    /// A name for this run in the result
    #[arg(long, default_value = "", value_name = "TEXT")]
    label: String,

    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    /// By the broker, as soon as it has sent them
    Auto,
    /// One acknowledgement for everything that came together
    Client,
    /// One by one
    Individual,
}

impl Ack {
    fn header(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Client => "client",
            Self::Individual => "client-individual",
        }
    }
}

/// A topic would deliver each message to every consumer.
fn queue(text: &str) -> Result<String, String> {
    match text.strip_prefix("/queue/") {
        Some(name) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a queue: write /queue/NAME")),
    }
}

impl BenchArgs {
    fn queues(&self) -> u32 {
        let pairs = self.producers.get().min(self.consumers).max(1);
        self.queues.map_or(pairs, NonZeroU32::get)
    }

    fn queue(&self, index: u32) -> String {
        match self.queues() {
            1 => self.destination.clone(),
            queues => format!("{}-{}", self.destination, index % queues + 1),
        }
    }
}

pub(crate) async fn bench(args: BenchArgs) -> anyhow::Result<()> {
    if (args.size as usize) < STAMP_BYTES {
        bail!(
            "--size {} is too small: each body carries {STAMP_BYTES} bytes by which it is recognised",
            args.size
        );
    }
    if args.producers.get().saturating_add(args.consumers) > CONNECTIONS_MAX {
        bail!("more than {CONNECTIONS_MAX} connections: a bench opens at most so many");
    }
    if args.consumers > 0 && args.queues() > args.consumers {
        bail!(
            "--queues {} is more than --consumers {}: nobody would receive from some of them",
            args.queues(),
            args.consumers
        );
    }
    if args.consumers > 0 && !args.force {
        for index in 0..args.queues() {
            guard::look(&args, &args.queue(index)).await?;
        }
    }
    let report = LocalSet::new().run_until(measure(&args)).await?;
    let print = || {
        if args.json {
            return terminal::line(&serde_json::to_string(&report)?);
        }
        report
            .lines()
            .iter()
            .try_for_each(|line| terminal::line(line))
    };
    print().map_err(terminal::Output)?;
    match report.lost {
        0 => Ok(()),
        lost => bail!("{lost} acknowledged messages did not arrive"),
    }
}

type Tasks = JoinSet<anyhow::Result<()>>;

async fn measure(args: &BenchArgs) -> anyhow::Result<Report> {
    let tally = Rc::new(Tally::new(rand::random(), args.producers.get()));
    let mut sending = connect(args).await?;
    let broker = sending[0].address.to_string();
    let version = sending[0].version();
    let receiving = sending.split_off(args.producers.get() as usize);
    let drained = CancellationToken::new();
    let consumers = start_consumers(args, receiving, &tally, &drained).await?;
    let measured_ms = args.count.is_none().then(|| args.duration.as_ms());
    tally.start(args.warmup.as_ms(), measured_ms, args.count);
    let producers = start_producers(args, sending, &tally);
    let mut progress = Progress::new(args, Rc::clone(&tally));
    tokio::select! {
        done = finish(args, &tally, (producers, consumers), drained) => done?,
        () = progress.show() => {}
        _ = tokio::signal::ctrl_c() => {
            bail!("interrupted: a part of the messages may still be in {}", args.destination)
        }
    }
    progress.finish();
    Ok(Report::new(args, &broker, version, &tally))
}

async fn start_consumers(
    args: &BenchArgs,
    connections: Vec<Connection>,
    tally: &Rc<Tally>,
    drained: &CancellationToken,
) -> anyhow::Result<Tasks> {
    let mut tasks = JoinSet::new();
    for (index, connection) in (0..).zip(connections) {
        let mut consumer = Consumer::new(connection, args.ack, args.force, Rc::clone(tally));
        let queue = args.queue(index);
        let subscribed = consumer.subscribe(&queue, args.prefetch.get());
        subscribed.await.context("subscribe")?;
        tasks.spawn_local(consumer.run(drained.clone()));
    }
    Ok(tasks)
}

fn start_producers(args: &BenchArgs, connections: Vec<Connection>, tally: &Rc<Tally>) -> Tasks {
    let mut tasks = JoinSet::new();
    for (index, connection) in (0..).zip(connections) {
        let stamp = Stamp {
            run: tally.run(),
            producer: index,
            sequence: 0,
            sent_ns: 0,
        };
        let frame = producer::template(&args.queue(index), args.persistent, args.size);
        let tally = Rc::clone(tally);
        let producer = Producer::new(connection, frame, stamp, args.in_flight.get(), tally);
        tasks.spawn_local(producer.run());
    }
    tasks
}

async fn finish(
    args: &BenchArgs,
    tally: &Tally,
    (mut producers, mut consumers): (Tasks, Tasks),
    drained: CancellationToken,
) -> anyhow::Result<()> {
    while let Some(done) = producers.join_next().await {
        done.context("a producer broke down")?.context("send")?;
    }
    drain(args, tally, &mut consumers).await?;
    drained.cancel();
    while let Some(done) = consumers.join_next().await {
        done.context("a consumer broke down")?.context("receive")?;
    }
    Ok(())
}

/// One connection finds the broker; the others go where it went.
async fn connect(args: &BenchArgs) -> anyhow::Result<Vec<Connection>> {
    let opening = args.client.opening();
    let first = Session::open(args.client.broker.clone(), opening.clone()).await?;
    let first = first.into_connection();
    let address = first.address.clone();
    let count = args.producers.get() + args.consumers;
    let mut connections = vec![first];
    for number in 2..=count {
        let next = Connection::open(&address, &opening).await;
        connections.push(
            next.with_context(|| format!("open connection {number} of {count} to {address}"))?,
        );
    }
    Ok(connections)
}

/// Waits until what was acknowledged has arrived, or nothing comes any more.
async fn drain(args: &BenchArgs, tally: &Tally, consumers: &mut Tasks) -> anyhow::Result<()> {
    if args.consumers == 0 {
        return Ok(());
    }
    let mut received = tally.received();
    let mut progressed_ms = clock::monotonic_ms();
    while tally.missing() > 0 {
        tokio::select! {
            () = sleep(DRAIN_CHECK) => {}
            Some(done) = consumers.join_next() => {
                done.context("a consumer broke down")?.context("receive")?;
                bail!("a consumer ended before everything had arrived");
            }
        }
        let now_ms = clock::monotonic_ms();
        if tally.received() > received {
            (received, progressed_ms) = (tally.received(), now_ms);
        }
        if now_ms - progressed_ms > args.drain_timeout.as_ms() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "bench_test.rs"]
mod tests;
