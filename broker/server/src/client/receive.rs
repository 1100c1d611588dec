//! `replicamq receive` and `replicamq browse`: deliveries on stdout.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use replicamq_protocols::stomp::{Frame, Verb};
use tokio::time::timeout;

use super::options::destination;
use super::show::{Show, show};
use super::unconfirmed::Unconfirmed;
use super::{ClientOptions, Event, Session, Subscription};
use crate::config::Interval;
use crate::terminal;

const SUBSCRIPTION: &str = "1";
/// Deliveries that wait here for being printed.
const PREFETCH: u32 = 100;
/// Printed, and not known to be acknowledged: so many stop the printing.
const UNCONFIRMED_MAX: usize = 10_000;
/// How long the last receipts may take. After a failover, deliveries whose acknowledgements
/// were not made come again within this time.
const SETTLE: Duration = Duration::from_secs(5);

/// Receive messages from a queue or a topic, and print their bodies.
///
/// A message is acknowledged after it was printed, so that an interrupted command loses nothing. With --count it ends
/// after so many messages, with --timeout once nothing has come for so long; otherwise Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq receive /queue/orders --count 1
  replicamq receive /queue/orders --timeout 2s > orders.txt
  replicamq receive /queue/orders --json | jq .body
  replicamq receive /queue/images --count 1 --raw > image.png
  replicamq receive /queue/orders --count 100 --transaction 10
  replicamq receive /topic/news --durable reader --client-id kiosk-7
  replicamq receive /queue/orders --broker 'failover:(tcp://a:61613,tcp://b:61613,tcp://c:61613)'

Exit code 1 if --timeout passed before --count messages had come or while there was no broker, or if some were printed of which it is not known
whether their acknowledgements arrived: they may come again.")]
pub(crate) struct ReceiveArgs {
    /// Where from: /queue/NAME or /topic/NAME
    #[arg(value_parser = destination)]
    destination: String,

    /// End after so many messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<NonZeroU64>,

    /// End once nothing has come, or no broker was found, for so long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Interval>,

    /// How messages are acknowledged
    #[arg(long, value_enum, default_value_t = Ack::Individual)]
    ack: Ack,

    /// Acknowledge so many messages in each transaction, at most 10000
    #[arg(long, value_name = "N")]
    transaction: Option<NonZeroU64>,

    /// Name of a durable subscription to a topic; needs --client-id
    #[arg(long, value_name = "NAME", requires = "client_id")]
    durable: Option<String>,

    /// Deliveries that may wait here for being printed
    #[arg(long, default_value_t = NonZeroU32::new(PREFETCH).expect("it is not zero"), value_name = "N")]
    prefetch: NonZeroU32,

    #[command(flatten)]
    show: Show,

    #[command(flatten)]
    client: ClientOptions,
}

/// Look at the messages of a queue without taking them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  replicamq browse /queue/orders
  replicamq browse /queue/orders --count 10 --show-headers
  replicamq browse /queue/orders --json | jq -r .message_id")]
pub(crate) struct BrowseArgs {
    /// Which queue: /queue/NAME
    #[arg(value_parser = destination)]
    destination: String,

    /// End after so many messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<NonZeroU64>,

    /// End if nothing has come, or no broker was found, for so long
    #[arg(long, default_value = "10s", value_name = "TIME")]
    timeout: Interval,

    #[command(flatten)]
    show: Show,

    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    /// By the broker, as soon as it has sent them: what is on its way is lost with this command
    Auto,
    /// By this command; each acknowledgement covers all messages before it
    Client,
    /// By this command, one by one
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

struct Receiver<'a, P> {
    args: &'a ReceiveArgs,
    session: Session,
    print: P,
    printed: u64,
    unconfirmed: Unconfirmed,
    /// Came while no more could be printed. The broker keeps it at the prefetch.
    waiting: VecDeque<Frame>,
    /// The open transaction: its name, and how many it holds.
    transaction: Option<(String, u64)>,
    transactions: u64,
}

pub(crate) async fn receive(args: ReceiveArgs) -> anyhow::Result<()> {
    let topic = args.destination.starts_with("/topic/") && args.durable.is_none();
    if args.ack == Ack::Auto && args.count.is_some() && !topic {
        bail!(
            "--ack auto with --count would lose the messages that the broker sends beyond the count: leave --ack out"
        );
    }
    if args.ack == Ack::Auto && args.transaction.is_some() {
        bail!("--ack auto leaves nothing to acknowledge in a --transaction: leave --ack out");
    }
    let limit = args.timeout.map(|Interval(limit)| limit);
    let (broker, opening) = (args.client.broker.clone(), args.client.opening());
    let mut session = Session::open_within(broker, opening, limit).await?;
    let count = args.count.map_or(u64::MAX, NonZeroU64::get);
    let prefetch = u64::from(args.prefetch.get()).min(count);
    session.subscribe(Subscription {
        id: SUBSCRIPTION.to_owned(),
        destination: args.destination.clone(),
        ack: args.ack.header(),
        prefetch: u32::try_from(prefetch).expect("it is at most what was given"),
        browse: false,
        durable: args.durable.clone(),
    });
    let print = |message: &Frame| show(message, args.show);
    let mut receiver = Receiver::new(&args, session, print);
    let mut lost = false;
    tokio::select! {
        done = receiver.run(count) => {
            done?;
            lost = !receiver.session.is_connected();
        }
        // What was printed and not acknowledged will be acknowledged below.
        _ = tokio::signal::ctrl_c() => {}
    }
    terminal::flush().map_err(terminal::Output)?;
    receiver.settle().await?;
    let (printed, unknown) = (receiver.printed, receiver.unconfirmed.len());
    receiver.session.close().await?;
    if unknown > 0 {
        bail!(
            "{printed} messages were printed, and of {unknown} it is not known whether their acknowledgements arrived: they may come again"
        );
    }
    if lost {
        bail!(
            "the connection was lost, and no broker was found at {} before the timeout; {printed} messages had been printed",
            args.client.broker
        );
    }
    match args.count {
        Some(count) if args.timeout.is_some() && printed < count.get() => {
            bail!("received {printed} of {count} messages before the timeout")
        }
        _ => Ok(()),
    }
}

impl<'a, P: FnMut(&Frame) -> anyhow::Result<()>> Receiver<'a, P> {
    fn new(args: &'a ReceiveArgs, session: Session, print: P) -> Self {
        Self {
            args,
            session,
            print,
            printed: 0,
            unconfirmed: Unconfirmed::default(),
            waiting: VecDeque::new(),
            transaction: None,
            transactions: 0,
        }
    }

    async fn run(&mut self, count: u64) -> anyhow::Result<()> {
        while self.printed < count {
            let full = self.unconfirmed.len() >= UNCONFIRMED_MAX;
            if full {
                // However large it was to be: nothing else brings receipts.
                self.commit();
            } else if let Some(message) = self.waiting.pop_front() {
                self.take(&message)?;
                continue;
            }
            let event = match self.args.timeout {
                None => self.session.next().await?,
                Some(Interval(limit)) => match timeout(limit, self.session.next()).await {
                    Ok(event) => event?,
                    Err(_nothing_came) => return Ok(()),
                },
            };
            match event {
                Event::Message(message) if full => self.keep(message)?,
                Event::Message(message) => self.take(&message)?,
                Event::Receipt(number) => self.unconfirmed.confirm(number),
                Event::Reconnected => self.reconnected(),
            }
        }
        Ok(())
    }

    /// Prints a message unless it was printed before, then acknowledges it.
    fn take(&mut self, message: &Frame) -> anyhow::Result<()> {
        let id = message.header("message-id").unwrap_or_default();
        if !self.unconfirmed.contains(id) {
            (self.print)(message)?;
            self.printed += 1;
        }
        match (self.args.ack, self.args.transaction) {
            (Ack::Auto, _) => {}
            (Ack::Client | Ack::Individual, None) => {
                let receipt = self.session.acknowledge(message, None);
                self.unconfirmed.expect(id, receipt);
            }
            (Ack::Client | Ack::Individual, Some(size)) => {
                self.acknowledge_in_transaction(message, size.get());
            }
        }
        Ok(())
    }

    fn acknowledge_in_transaction(&mut self, message: &Frame, size: u64) {
        if self.transaction.is_none() {
            self.transactions += 1;
            let name = format!("tx-{}", self.transactions);
            let begin = Frame::new(Verb::Begin).with("transaction", &name);
            self.session.send_once(&begin);
            self.transaction = Some((name, 0));
        }
        let (name, held) = self.transaction.as_mut().expect("it was just begun");
        *held += 1;
        let full = *held >= size;
        self.session.acknowledge(message, Some(name));
        let id = message.header("message-id").unwrap_or_default();
        self.unconfirmed.hold(id);
        if full {
            self.commit();
        }
    }

    fn commit(&mut self) {
        if let Some((name, _)) = self.transaction.take() {
            let commit = Frame::new(Verb::Commit).with("transaction", &name);
            let receipt = self.session.send_once_with_receipt(commit);
            self.unconfirmed.commit(receipt);
        }
    }

    /// Takes a message later.
    fn keep(&mut self, message: Frame) -> anyhow::Result<()> {
        let prefetch = self.args.prefetch.get();
        if self.waiting.len() >= prefetch as usize {
            bail!(
                "the broker sends more than the {prefetch} unacknowledged messages of --prefetch"
            );
        }
        self.waiting.push_back(message);
        Ok(())
    }

    /// What was not acknowledged comes again on the new connection.
    fn reconnected(&mut self) {
        self.transaction = None;
        self.waiting.clear();
        self.unconfirmed.disconnected();
        let address = self.session.address();
        terminal::remark(&format!("connection lost; now at {address}"));
    }

    /// Waits until everything printed is known to be acknowledged, or no more is heard of it.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.commit();
        while !self.unconfirmed.is_empty() {
            let Ok(event) = timeout(SETTLE, self.session.next()).await else {
                return Ok(());
            };
            match event? {
                Event::Message(message) => {
                    let id = message.header("message-id").unwrap_or_default();
                    if self.unconfirmed.contains(id) {
                        let receipt = self.session.acknowledge(&message, None);
                        self.unconfirmed.expect(id, receipt);
                    }
                }
                Event::Receipt(number) => self.unconfirmed.confirm(number),
                Event::Reconnected => self.reconnected(),
            }
        }
        Ok(())
    }
}

pub(crate) async fn browse(args: BrowseArgs) -> anyhow::Result<()> {
    if !args.destination.starts_with("/queue/") {
        bail!("only a queue can be browsed: a topic keeps nothing to look at");
    }
    let (broker, opening) = (args.client.broker.clone(), args.client.opening());
    let mut session = Session::open_within(broker, opening, Some(args.timeout.0)).await?;
    session.subscribe(Subscription {
        id: SUBSCRIPTION.to_owned(),
        destination: args.destination.clone(),
        ack: "auto",
        prefetch: PREFETCH,
        browse: true,
        durable: None,
    });
    let count = args.count.map_or(u64::MAX, NonZeroU64::get);
    let mut printed = 0;
    while printed < count {
        let Ok(event) = timeout(args.timeout.0, session.next()).await else {
            bail!(
                "the broker did not say that this was all, and nothing came for {}",
                args.timeout
            );
        };
        match event? {
            Event::Message(message) if message.header("browser") == Some("end") => break,
            Event::Message(message) => {
                show(&message, args.show)?;
                printed += 1;
            }
            Event::Reconnected if printed > 0 => {
                bail!("the connection was lost while browsing; {printed} messages had been shown");
            }
            Event::Reconnected | Event::Receipt(_) => {}
        }
    }
    terminal::flush().map_err(terminal::Output)?;
    session.close().await?;
    Ok(())
}

#[cfg(test)]
#[path = "receive_test.rs"]
mod tests;
