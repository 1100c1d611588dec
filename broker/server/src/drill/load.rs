//! The load of a drill: producers and consumers that live through every round.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context, bail};
use replicamq_protocols::stomp::{Frame, Verb};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ledger::{Counts, Ledger};
use crate::client::{BrokerUri, Event, Opening, Session, Subscription};
use crate::clock;

/// Deliveries of each consumer that may wait for their acknowledgement.
const PREFETCH: u32 = 100;

/// What the load is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Send,
    /// Consumers go on, and producers wait for the receipts that are on their way.
    Pause,
    End,
}

/// What the load is made of.
#[derive(Debug, Clone)]
pub(super) struct LoadPlan {
    pub(super) broker: BrokerUri,
    pub(super) opening: Opening,
    pub(super) pairs: usize,
    pub(super) in_flight: usize,
    pub(super) size: usize,
    /// Makes this drill's queues and ids its own.
    pub(super) run: String,
}

impl LoadPlan {
    fn queue(&self, lane: usize) -> String {
        format!("/queue/{}", self.queue_name(lane))
    }

    /// As the nodes call it.
    fn queue_name(&self, lane: usize) -> String {
        format!("drill-{}-{}", self.run, lane + 1)
    }

    fn message(&self, lane: usize, sequence: u64) -> Frame {
        let mut body = format!("{} {lane} {sequence} ", self.run).into_bytes();
        body.resize(body.len().max(self.size), b'.');
        Frame::new(Verb::Send)
            .with("destination", &self.queue(lane))
            .with("persistent", "true")
            .with(
                "message-id",
                &format!("ID:drill-{}-{lane}-{sequence}", self.run),
            )
            .with_body(body)
    }

    /// The lane and the sequence number of a message of this drill.
    fn identify(&self, body: &[u8]) -> Option<(usize, u64)> {
        let text = std::str::from_utf8(body).ok()?;
        let mut words = text.split(' ');
        let ours = words.next()? == self.run;
        let lane = words.next()?.parse().ok()?;
        let sequence = words.next()?.parse().ok()?;
        ours.then_some((lane, sequence))
    }
}

/// When clients found the new master after the signal, on the clock of this process.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    /// The signal is about to be given: connections that are lost from here on count.
    armed: bool,
    /// When the old master acknowledged last.
    pub(super) last_old_ns: u64,
    /// The first acknowledged send of each producer on its new connection.
    pub(super) acknowledged_ns: BTreeMap<usize, u64>,
    /// The first delivery on a new connection.
    pub(super) delivered_ns: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    ledger: Ledger,
    timeline: Timeline,
    /// Sends that wait for their receipts, by lane.
    waiting: Vec<usize>,
    /// Deliveries that are not known to be acknowledged.
    unacknowledged: Vec<usize>,
}

type Board = Rc<RefCell<Shared>>;

/// The running load.
pub(super) struct Load {
    board: Board,
    gate: watch::Sender<Gate>,
    tasks: JoinSet<anyhow::Result<()>>,
    /// By their names on the nodes.
    queues: Vec<String>,
}

impl Load {
    /// Connects everybody; nothing is sent yet.
    pub(super) async fn start(plan: LoadPlan) -> anyhow::Result<Self> {
        let board = Rc::new(RefCell::new(Shared {
            ledger: Ledger::new(plan.pairs),
            timeline: Timeline::default(),
            waiting: vec![0; plan.pairs],
            unacknowledged: vec![0; plan.pairs],
        }));
        let gate = watch::Sender::new(Gate::Pause);
        let mut tasks = JoinSet::new();
        let plan = Rc::new(plan);
        for lane in 0..plan.pairs {
            let open = || Session::open(plan.broker.clone(), plan.opening.clone());
            let mut session = open().await?;
            session.subscribe(Subscription {
                id: "1".to_owned(),
                destination: plan.queue(lane),
                ack: "client-individual",
                prefetch: PREFETCH,
                browse: false,
                durable: None,
            });
            session.flush().await?;
            let consumer = Consumer {
                lane,
                plan: Rc::clone(&plan),
                board: Rc::clone(&board),
                session,
                held: None,
                acknowledging: BTreeMap::new(),
                moved: false,
            };
            tasks.spawn_local(consumer.run(gate.subscribe()));
            let producer = Producer {
                lane,
                plan: Rc::clone(&plan),
                board: Rc::clone(&board),
                session: open().await?,
                sending: BTreeMap::new(),
                moved: false,
            };
            tasks.spawn_local(producer.run(gate.subscribe()));
        }
        Ok(Self {
            board,
            gate,
            tasks,
            queues: (0..plan.pairs).map(|lane| plan.queue_name(lane)).collect(),
        })
    }

    /// The queues that this load sends to, by their names on the nodes.
    pub(super) fn queues(&self) -> &[String] {
        &self.queues
    }

    pub(super) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    pub(super) fn counts(&self) -> Counts {
        self.board.borrow().ledger.counts()
    }

    /// Forgets the last round's times; the signal is about to be given.
    pub(super) fn arm(&self) {
        self.board.borrow_mut().timeline = Timeline {
            armed: true,
            ..Timeline::default()
        };
    }

    pub(super) fn timeline(&self) -> Timeline {
        self.board.borrow().timeline.clone()
    }

    /// Every producer and one consumer at least works with the new master.
    pub(super) fn has_moved(&self) -> bool {
        let board = self.board.borrow();
        board.timeline.acknowledged_ns.len() == self.queues.len()
            && board.timeline.delivered_ns.is_some()
    }

    /// Nothing waits for a receipt, and everything confirmed has arrived.
    pub(super) fn is_drained(&self) -> bool {
        let board = self.board.borrow();
        let mut waiting = board.waiting.iter().chain(&board.unacknowledged);
        waiting.all(|waiting| *waiting == 0) && board.ledger.counts().missing == 0
    }

    /// Fails when a producer or a consumer has; otherwise waits for ever.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("the load ended before the drill did"),
            Some(Err(panic)) => anyhow::Error::new(panic).context("the load broke down"),
        }
    }

    /// Says goodbye to the brokers.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.set(Gate::End);
        while let Some(task) = self.tasks.join_next().await {
            task.context("the load broke down")??;
        }
        Ok(())
    }
}

struct Producer {
    lane: usize,
    plan: Rc<LoadPlan>,
    board: Board,
    session: Session,
    /// Sequence numbers by the numbers of their receipts.
    sending: BTreeMap<u64, u64>,
    /// On a new connection, without an acknowledged send yet.
    moved: bool,
}

impl Producer {
    async fn run(mut self, mut gate: watch::Receiver<Gate>) -> anyhow::Result<()> {
        loop {
            let now = *gate.borrow_and_update();
            match now {
                Gate::Send => self.fill(),
                Gate::Pause => {}
                Gate::End => break,
            }
            tokio::select! {
                event = self.session.next() => {
                    let event = event.context("a producer gave up")?;
                    self.note(&event)?;
                }
                // Dropped, the session goes on where it was when it is asked again.
                _ = gate.changed() => {}
            }
        }
        self.session
            .close()
            .await
            .context("a producer could not say goodbye")
    }

    fn fill(&mut self) {
        while self.session.unsafe_len() < self.plan.in_flight {
            let sequence = self.board.borrow_mut().ledger.send(self.lane);
            let number = self
                .session
                .send_safely(self.plan.message(self.lane, sequence));
            self.sending.insert(number, sequence);
        }
        self.board.borrow_mut().waiting[self.lane] = self.session.unsafe_len();
    }

    fn note(&mut self, event: &Event) -> anyhow::Result<()> {
        let mut board = self.board.borrow_mut();
        match event {
            Event::Receipt(number) => {
                let now_ns = clock::monotonic_ns();
                // After a failover the same receipt may come twice.
                if let Some(sequence) = self.sending.remove(number) {
                    board.ledger.confirm(self.lane, sequence);
                }
                if self.moved {
                    self.moved = false;
                    board.timeline.acknowledged_ns.insert(self.lane, now_ns);
                } else if board.timeline.acknowledged_ns.is_empty() {
                    board.timeline.last_old_ns = now_ns;
                }
            }
            Event::Reconnected => self.moved = board.timeline.armed,
            Event::Message(_) => bail!("a producer got a message"),
        }
        board.waiting[self.lane] = self.session.unsafe_len();
        Ok(())
    }
}

struct Consumer {
    lane: usize,
    plan: Rc<LoadPlan>,
    board: Board,
    session: Session,
    /// The latest delivery and its sequence number. While messages are sent it is
    /// acknowledged only after the next one has come, so that a master always dies with
    /// a delivery of which nobody has said anything: that one must come again.
    held: Option<(Frame, u64)>,
    /// Sequence numbers by the numbers of the receipts of their acknowledgements.
    acknowledging: BTreeMap<u64, u64>,
    /// On a new connection, without a delivery yet.
    moved: bool,
}

impl Consumer {
    async fn run(mut self, mut gate: watch::Receiver<Gate>) -> anyhow::Result<()> {
        loop {
            let now = *gate.borrow_and_update();
            match now {
                Gate::Send => {}
                Gate::Pause => self.acknowledge_held(),
                Gate::End => break,
            }
            let unknown = self.acknowledging.len() + usize::from(self.held.is_some());
            self.board.borrow_mut().unacknowledged[self.lane] = unknown;
            tokio::select! {
                event = self.session.next() => {
                    let event = event.context("a consumer gave up")?;
                    self.note(event);
                }
                // Dropped, the session goes on where it was when it is asked again.
                _ = gate.changed() => {}
            }
        }
        self.session
            .close()
            .await
            .context("a consumer could not say goodbye")
    }

    fn acknowledge_held(&mut self) {
        if let Some((message, sequence)) = self.held.take() {
            let number = self.session.acknowledge(&message, None);
            self.acknowledging.insert(number, sequence);
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.take(message),
            Event::Receipt(number) => {
                if let Some(sequence) = self.acknowledging.remove(&number) {
                    self.board.borrow_mut().ledger.consume(self.lane, sequence);
                }
            }
            Event::Reconnected => {
                self.acknowledging.clear();
                let mut board = self.board.borrow_mut();
                if let Some((_, sequence)) = self.held.take() {
                    board.ledger.return_unacknowledged(self.lane, sequence);
                }
                self.moved = board.timeline.armed;
            }
        }
    }

    fn take(&mut self, message: Frame) {
        self.acknowledge_held();
        let mut board = self.board.borrow_mut();
        if self.moved {
            self.moved = false;
            let now_ns = clock::monotonic_ns();
            board.timeline.delivered_ns.get_or_insert(now_ns);
        }
        let redelivered = message.header("redelivered") == Some("true");
        let known = self
            .plan
            .identify(&message.body)
            .filter(|(lane, sequence)| *lane == self.lane && board.ledger.knows(*lane, *sequence));
        if let Some((lane, sequence)) = known {
            board.ledger.deliver(lane, sequence, redelivered);
            self.held = Some((message, sequence));
        } else {
            board.ledger.deliver_unknown();
            self.session.acknowledge(&message, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_recognised_by_its_body() {
        let plan = LoadPlan {
            broker: "tcp://127.0.0.1:61613".parse().unwrap(),
            opening: Opening::default(),
            pairs: 2,
            in_flight: 1,
            size: 100,
            run: "1f".to_owned(),
        };
        let message = plan.message(1, 77);
        assert_eq!(message.header("destination"), Some("/queue/drill-1f-2"));
        assert_eq!(message.body.len(), 100);
        assert_eq!(plan.identify(&message.body), Some((1, 77)));
        assert_eq!(plan.identify(b"2f 1 77 ..."), None);
        assert_eq!(plan.identify(b"1f one"), None);
        let small = LoadPlan { size: 1, ..plan };
        assert_eq!(small.identify(&small.message(0, 3).body), Some((0, 3)));
    }
}
