//! `replicamq send`: messages from arguments, from stdin, or made up.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::num::NonZeroUsize;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{ArgAction, Args};
use replicamq_protocols::stomp::{Frame, Verb};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Split, Stdin};

use super::options::{destination, header};
use super::{ClientOptions, Event, Session};
use crate::terminal;

/// A single body is held in memory; it is as much as a broker can be configured to take.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// Without receipts, so much may wait for the socket.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// Send messages to a queue or a topic.
///
/// A send is done when the broker's receipt has come: on a cluster the message is then on the disks of more than half
/// of the nodes. When the master dies meanwhile, whatever has no receipt is sent again to the new one, which
/// recognises by the message-id what it has already.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
#[command(after_help = "\
Examples:
  replicamq send /queue/orders 'first order' 'second order'
  echo '{\"id\": 7}' | replicamq send /queue/orders --header content-type=application/json
  replicamq send /queue/lines --stdin-lines < access.log
  replicamq send /queue/load --count 100000 --size 1024 --in-flight 500
  replicamq send /queue/orders --transaction 10 --stdin-lines < orders.txt
  replicamq send /topic/news 'hello' --broker 'failover:(tcp://a:61613,tcp://b:61613,tcp://c:61613)'

Exit code 1 if it broke off; it then says how many messages were acknowledged.")]
pub(crate) struct SendArgs {
    /// Where to: /queue/NAME or /topic/NAME
    #[arg(value_parser = destination)]
    destination: String,

    /// The messages, one each; without any, stdin is the message
    #[arg(value_name = "BODY", conflicts_with_all = ["stdin_lines", "size"])]
    bodies: Vec<String>,

    /// Each line of stdin is a message
    #[arg(long, conflicts_with = "size")]
    stdin_lines: bool,

    /// Make up messages of this many bytes
    #[arg(long, value_name = "BYTES")]
    size: Option<u32>,

    /// Send everything so many times
    #[arg(
        long,
        default_value = "1",
        value_name = "N",
        conflicts_with = "stdin_lines"
    )]
    count: u64,

    /// A header of each message, as name=value; may be repeated
    #[arg(long = "header", short = 'H', value_parser = header, value_name = "NAME=VALUE")]
    headers: Vec<(String, String)>,

    /// Whether the messages must survive a crash of the broker
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    persistent: bool,

    /// Whether to wait for receipts; without them a lost message goes unnoticed
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    receipt: bool,

    /// Send so many messages in each transaction
    #[arg(long, value_name = "N")]
    transaction: Option<NonZeroUsize>,

    /// Messages (or transactions) that may wait for their receipts at a time
    #[arg(long, default_value = "100", value_name = "N")]
    in_flight: NonZeroUsize,

    /// Do not say how many were sent
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// What the commands that send take their messages from.
enum Bodies {
    /// Each so many times, in turn.
    Listed {
        bodies: Vec<Bytes>,
        next: usize,
        rounds: u64,
    },
    Lines(Box<Split<BufReader<Stdin>>>),
}

impl Bodies {
    async fn from(args: &SendArgs) -> anyhow::Result<Self> {
        if args.stdin_lines {
            let lines = BufReader::new(tokio::io::stdin()).split(b'\n');
            return Ok(Self::Lines(Box::new(lines)));
        }
        let bodies = if let Some(size) = args.size {
            vec![filler(size)]
        } else if args.bodies.is_empty() {
            vec![whole_stdin().await?]
        } else {
            args.bodies
                .iter()
                .map(|body| Bytes::from(body.clone()))
                .collect()
        };
        Ok(Self::Listed {
            bodies,
            next: 0,
            rounds: args.count,
        })
    }

    /// The next message; `None` after the last. May be dropped at any time.
    async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        match self {
            Self::Lines(lines) => {
                let line = lines.next_segment().await.context("read stdin")?;
                Ok(line.map(|mut line| {
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                    Bytes::from(line)
                }))
            }
            Self::Listed {
                bodies,
                next,
                rounds,
            } => {
                if *rounds == 0 {
                    return Ok(None);
                }
                let body = bodies[*next].clone();
                *next += 1;
                if *next == bodies.len() {
                    (*next, *rounds) = (0, *rounds - 1);
                }
                Ok(Some(body))
            }
        }
    }
}

async fn whole_stdin() -> anyhow::Result<Bytes> {
    if std::io::stdin().is_terminal() {
        terminal::remark("reading the message from stdin; end it with Ctrl-D");
    }
    let mut body = Vec::new();
    let mut stdin = tokio::io::stdin().take(BODY_BYTES_MAX + 1);
    stdin.read_to_end(&mut body).await.context("read stdin")?;
    if body.len() as u64 > BODY_BYTES_MAX {
        bail!(
            "stdin holds more than {BODY_BYTES_MAX} bytes, the most that a message can have: send it in parts, or line by line with --stdin-lines"
        );
    }
    Ok(Bytes::from(body))
}

/// Printable, and not the same byte over and over.
fn filler(size: u32) -> Bytes {
    (0..size)
        .map(|at| b'a' + u8::try_from(at % 26).expect("26 fits"))
        .collect()
}

/// Numbers the messages of one run so that no other run has the same ids.
struct Ids {
    run: String,
    last: u64,
}

impl Ids {
    fn new() -> Self {
        Self {
            run: format!("{:016x}", rand::random::<u64>()),
            last: 0,
        }
    }

    fn next(&mut self) -> String {
        self.last += 1;
        format!("ID:{}-{}", self.run, self.last)
    }
}

struct Sender<'a> {
    args: &'a SendArgs,
    session: Session,
    ids: Ids,
    /// Messages of the transaction that is being filled.
    open: Vec<Frame>,
    sent: u64,
    acknowledged: u64,
    /// How many messages each receipt that has not come will acknowledge.
    waiting: BTreeMap<u64, u64>,
}

pub(crate) async fn send(args: SendArgs) -> anyhow::Result<()> {
    let mut bodies = Bodies::from(&args).await?;
    let session = Session::open(args.client.broker.clone(), args.client.opening()).await?;
    let mut sender = Sender {
        args: &args,
        session,
        ids: Ids::new(),
        open: Vec::new(),
        sent: 0,
        acknowledged: 0,
        waiting: BTreeMap::new(),
    };
    tokio::select! {
        done = sender.run(&mut bodies) => done.with_context(|| sender.so_far())?,
        // What was sent is sent, what has no receipt is unknown.
        _ = tokio::signal::ctrl_c() => bail!("{}: interrupted", sender.so_far()),
    }
    let sent = sender.sent;
    sender.session.close().await?;
    if !args.quiet {
        let what = if args.receipt || args.transaction.is_some() {
            "sent and acknowledged"
        } else {
            "sent"
        };
        terminal::remark(&format!("{what}: {sent}"));
    }
    Ok(())
}

impl Sender<'_> {
    /// For one who must go on from here.
    fn so_far(&self) -> String {
        let sent = self.sent;
        if !self.args.receipt && self.args.transaction.is_none() {
            return format!("broke off after {sent} messages, without receipts for them");
        }
        let acknowledged = self.acknowledged;
        match sent - acknowledged {
            0 => format!("broke off after {sent} messages, all acknowledged"),
            unknown => format!(
                "broke off after {sent} messages: {acknowledged} were acknowledged, of {unknown} it is not known whether they arrived"
            ),
        }
    }

    async fn run(&mut self, bodies: &mut Bodies) -> anyhow::Result<()> {
        let in_flight = self.args.in_flight.get();
        let mut more = true;
        while more || self.session.unsafe_len() > 0 {
            if more && self.session.unsafe_len() < in_flight {
                tokio::select! {
                    biased;
                    body = bodies.next() => if let Some(body) = body? {
                        self.put(body).await?;
                    } else {
                        self.end_transaction();
                        more = false;
                    },
                    // While input is slow, receipts and heart-beats go on.
                    event = self.session.next() => self.note(&event?)?,
                }
            } else {
                let event = self.session.next().await?;
                self.note(&event)?;
            }
        }
        self.session.flush().await?;
        Ok(())
    }

    async fn put(&mut self, body: Bytes) -> anyhow::Result<()> {
        let frame = self.frame(body);
        self.sent += 1;
        match self.args.transaction {
            Some(size) => {
                self.open.push(frame);
                if self.open.len() == size.get() {
                    self.end_transaction();
                }
            }
            None if self.args.receipt => {
                let number = self.session.send_safely(frame);
                self.waiting.insert(number, 1);
            }
            None => {
                self.session.send_once(&frame);
                if self.session.unsent() > UNSENT_BYTES_MAX {
                    self.session.flush().await?;
                }
            }
        }
        Ok(())
    }

    fn end_transaction(&mut self) {
        if !self.open.is_empty() {
            let held = self.open.len() as u64;
            let open = std::mem::take(&mut self.open);
            let number = self.session.send_transaction(open);
            self.waiting.insert(number, held);
        }
    }

    fn frame(&mut self, body: Bytes) -> Frame {
        let mut frame = Frame::new(Verb::Send).with("destination", &self.args.destination);
        if self.args.persistent {
            frame.push("persistent", "true");
        }
        if !self
            .args
            .headers
            .iter()
            .any(|(name, _)| name == "message-id")
        {
            frame.push("message-id", &self.ids.next());
        }
        for (name, value) in &self.args.headers {
            frame.push(name, value);
        }
        frame.with_body(body)
    }

    fn note(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::Receipt(number) => {
                self.acknowledged += self.waiting.remove(number).unwrap_or(0);
                Ok(())
            }
            Event::Reconnected => {
                if !self.args.quiet {
                    let (address, again) = (self.session.address(), self.session.unsafe_len());
                    terminal::remark(&format!(
                        "connection lost; now at {address}, sending {again} again"
                    ));
                }
                Ok(())
            }
            Event::Message(_) => bail!("the broker delivered a message that nobody asked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;
    use crate::client::peer::Peer;

    #[test]
    fn ids_differ_between_messages_and_runs() {
        let (mut one, mut two) = (Ids::new(), Ids::new());
        assert_ne!(one.next(), one.next());
        assert_ne!(one.next(), two.next());
    }

    #[derive(Debug, Parser)]
    struct Send {
        #[command(flatten)]
        args: SendArgs,
    }

    #[tokio::test]
    async fn one_that_breaks_off_says_how_many_were_acknowledged() {
        let refused = |flags: &'static [&str], receipts: u32| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let uri = listener.local_addr().unwrap().to_string();
            let mut broker = JoinSet::new();
            broker.spawn(async move {
                let mut peer = Peer::accept(&listener).await;
                let mut left = receipts;
                while left > 0 {
                    let frame = peer.read().await;
                    if frame.header("receipt").is_some() {
                        peer.receipt(&frame).await;
                        left -= 1;
                    }
                }
                peer.read().await;
                peer.write(&Frame::new(Verb::Error).with("message", "no more"))
                    .await;
                // Until the client goes.
                while peer.try_read().await.is_some() {}
            });
            let program = ["send", "/queue/q", "--broker", &uri, "--size", "3"];
            let args = Send::try_parse_from(program.iter().chain(flags))
                .unwrap()
                .args;
            let sent = timeout(Duration::from_secs(10), send(args)).await;
            format!("{:#}", sent.expect("it ends").unwrap_err())
        };
        let said = refused(&["--count", "10", "--in-flight", "1"], 3).await;
        assert!(
            said.starts_with("broke off after 4 messages: 3 were acknowledged, of 1 it is not"),
            "{said}"
        );
        assert!(said.ends_with("the broker refused: no more"), "{said}");
        let flags = &["--count", "10", "--transaction", "4", "--in-flight", "1"];
        let said = refused(flags, 1).await;
        assert!(
            said.starts_with("broke off after 8 messages: 4 were acknowledged"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn listed_bodies_come_in_turn_as_often_as_asked() {
        let list = ["a", "b"].map(Bytes::from);
        let mut bodies = Bodies::Listed {
            bodies: list.to_vec(),
            next: 0,
            rounds: 2,
        };
        let mut seen = String::new();
        while let Some(body) = bodies.next().await.unwrap() {
            seen.push_str(std::str::from_utf8(&body).unwrap());
        }
        assert_eq!(seen, "abab");
    }
}
