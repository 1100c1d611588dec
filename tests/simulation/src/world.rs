//! The world: nodes, what lies between them, and one queue of happenings.
//!
//! It runs the real `replicamq_node::Node`, as the server does: it gives it events,
//! carries out its effects, and lets the checkers look after every step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use replicamq_node::{Config, Effect, Now};
use replicamq_quorum::{Epoch, Event, Message, NodeId};

use crate::calendar;
use crate::checkers::Checkers;
use crate::clients::{self, Clients};
use crate::disk::Disk;
use crate::keeper::{Claim, KeeperClient, KeeperService};
use crate::network::{End, Network, StreamId};
use crate::node::{Applier, Clock, Node, Process, Writer};
use crate::plan::{FAULTS, Plan};
use crate::random::Random;
use crate::trace::Trace;
use crate::traps::Trap;

/// Far more than any run needs.
const HAPPENINGS_MAX: u64 = 5_000_000;

/// When faults begin, and load with them.
pub const FAULTS_FROM_US: u64 = 1_200_000;

/// What will happen.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is explained where it is handled")]
pub enum Happening {
    Start {
        node: usize,
    },
    Tick {
        node: usize,
        life: u64,
    },
    Resume {
        node: usize,
        life: u64,
    },
    Turn {
        node: usize,
        life: u64,
    },
    Unary {
        from: usize,
        to: usize,
        message: Message,
    },
    StreamOpens {
        id: StreamId,
    },
    StreamArrives {
        id: StreamId,
        end: End,
    },
    StreamBreaks {
        id: StreamId,
        end: End,
    },
    Written {
        node: usize,
        life: u64,
    },
    Synced {
        node: usize,
        life: u64,
    },
    Applied {
        node: usize,
        life: u64,
    },
    Flush {
        node: usize,
        life: u64,
    },
    Report {
        node: usize,
        life: u64,
        event: Event,
    },
    InstallStarts {
        node: usize,
        life: u64,
        install: u64,
        master: usize,
    },
    InstallEnds {
        node: usize,
        life: u64,
        install: u64,
        from: (usize, u64),
        checkpoint: Box<crate::disk::Checkpoint>,
    },
    StoreFilled {
        node: usize,
        fillings: u64,
    },
    KeeperConnect {
        node: usize,
        life: u64,
    },
    KeeperRead {
        node: usize,
        life: u64,
    },
    KeeperSays {
        node: usize,
        life: u64,
        read: u64,
        event: Event,
    },
    KeeperLost {
        node: usize,
        life: u64,
    },
    SessionExpires {
        session: u64,
        since_us: u64,
    },
    Seal {
        node: usize,
        life: u64,
    },
    Client(clients::Happening),
    Claim(Claim),
    ClaimAnswered {
        claim: Claim,
        won: bool,
    },
    ClaimReread(Claim),
    Scrub {
        node: usize,
    },
    Damaged {
        node: usize,
        life: u64,
    },
    Fault,
    Trap(Trap),
    Replace {
        node: usize,
    },
    CutEnds {
        from: usize,
        to: usize,
    },
    KeeperCutEnds {
        node: usize,
    },
    Heal,
    Look,
}

impl From<clients::Happening> for Happening {
    fn from(happening: clients::Happening) -> Self {
        Self::Client(happening)
    }
}

struct Scheduled {
    at_us: u64,
    order: u64,
    happening: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at_us, self.order) == (other.at_us, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}

/// What the run must do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Faults come.
    Faulty,
    /// They stopped: a master must come, and commit.
    Healing {
        /// Since when.
        since_us: u64,
    },
    /// The client is done: all nodes must come to the same log.
    Joining {
        /// When the faults stopped.
        since_us: u64,
    },
    /// It is over.
    Done,
}

/// Figures of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Steps of state machines.
    pub steps: u64,
    /// Messages whose producers have a receipt.
    pub sends: u64,
    /// Messages whose consumers have a receipt.
    pub consumes: u64,
    /// Faults, by kind.
    pub faults: [u64; FAULTS.len()],
    /// Masters.
    pub masters: u64,
    /// Checkpoints installed.
    pub installs: u64,
    /// A failover lost what it may, where no replica is waited for.
    pub parted: bool,
    /// From the end of the faults to the next acknowledgement.
    pub served_us: u64,
    /// From the end of the faults to the same log everywhere.
    pub recovered_us: u64,
    /// The longest time from a master's death to the next acknowledgement.
    pub outage_us_max: u64,
}

/// A whole cluster.
pub struct World {
    /// What the seed means.
    pub plan: Plan,
    /// Chance.
    pub random: Random,
    /// The time.
    pub now_us: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    /// The machines.
    pub nodes: Vec<Node>,
    /// What lies between them.
    pub network: Network,
    /// ZooKeeper.
    pub keeper: KeeperService,
    /// Who sends and consumes.
    pub clients: Clients,
    /// Who looks.
    pub checkers: Checkers,
    /// What happened.
    pub trace: Trace,
    /// Where we are.
    pub phase: Phase,
    /// How it went.
    pub figures: Figures,
    /// Names processes, stores, batches and checkpoints.
    names: u64,
    /// When a serving master died, was cut off or was to go, and its epoch, while nothing
    /// was acknowledged in a later one.
    pub orphaned: Option<(u64, Epoch)>,
    /// When a consumer last learned that a message is done with.
    pub consumed_us: u64,
    /// So far nobody learned of a death, or forgot a master, but by silence.
    pub silent: bool,
    /// The wiped node, and its master, which dies once that has its checkpoint.
    pub trapped: Option<(usize, usize)>,
    /// A node is being replaced, or was.
    pub replaced: bool,
    /// The next effect at which a process dies.
    pub ambush: Option<crate::faults::Ambush>,
    /// Where each node's name is found.
    by_name: BTreeMap<NodeId, usize>,
    /// Made once, used by each turn.
    pub(crate) effects: Vec<Effect>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("now_us", &self.now_us)
            .field("phase", &self.phase)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

impl World {
    /// The cluster of this seed, every node about to start for the first time.
    #[must_use]
    pub fn new(seed: u64, text: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        Self::with_plan(plan, random, text)
    }

    /// The cluster of this plan.
    #[must_use]
    pub fn with_plan(plan: Plan, random: Random, text: bool) -> Self {
        let mut world = Self {
            network: Network::new(plan.machines()),
            keeper: KeeperService::new(plan.machines()),
            clients: Clients::default(),
            checkers: Checkers::new(plan.machines(), plan.clients.durables, plan.may_part()),
            trace: Trace::new(text),
            now_us: 0,
            queue: BinaryHeap::new(),
            order: 0,
            nodes: Vec::new(),
            phase: Phase::Faulty,
            figures: Figures::default(),
            names: 0,
            orphaned: None,
            consumed_us: 0,
            silent: plan.silent(),
            trapped: None,
            replaced: false,
            ambush: None,
            by_name: BTreeMap::new(),
            effects: Vec::new(),
            plan,
            random,
        };
        let plan = format!("{:?}", world.plan);
        world.trace.line(0, || plan);
        for node in 0..world.plan.machines() {
            world.add_machine(node);
        }
        world.hire_clients();
        world.after(FAULTS_FROM_US, Happening::Fault);
        world.after(FAULTS_FROM_US + world.plan.faults_us, Happening::Heal);
        world
    }

    fn add_machine(&mut self, node: usize) {
        let name = NodeId::new(&format!("n{}", node + 1));
        let (store_id, seed) = (self.name(), self.random.number());
        self.by_name.insert(name.clone(), node);
        let weight = self.random.pick(&[1, 1, 1, 5]);
        self.nodes.push(Node {
            name,
            weight,
            place: node < self.plan.replicas,
            disk: Disk::new(store_id, seed, self.plan.setup()),
            process: None,
            powerless: false,
            slow_disk_until_us: 0,
            hung_disk_until_us: 0,
            full_disk_until_us: 0,
            sync_fails: false,
            calendar_off_ms: 0,
        });
        let at = self.random.between((0, 400_000));
        self.after(at, Happening::Start { node });
    }

    /// A number that nothing else has.
    pub fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// Schedules.
    pub fn at(&mut self, at_us: u64, happening: impl Into<Happening>) {
        let happening = happening.into();
        let order = self.order;
        self.order += 1;
        self.queue.push(Reverse(Scheduled {
            at_us: at_us.max(self.now_us),
            order,
            happening,
        }));
    }

    /// Schedules, from now.
    pub fn after(&mut self, us: u64, happening: impl Into<Happening>) {
        self.at(self.now_us + us, happening);
    }

    /// Runs until it is over or a checker objects.
    pub fn run(&mut self) {
        let mut left = HAPPENINGS_MAX;
        while self.phase != Phase::Done && self.checkers.violation().is_none() {
            left -= 1;
            if left == 0 {
                self.checkers.fail("liveness", "the run does not end");
                return;
            }
            let Some(Reverse(next)) = self.queue.pop() else {
                self.checkers.fail("liveness", "nothing is left to happen");
                return;
            };
            self.now_us = next.at_us;
            self.happen(next.happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start { node } => self.start(node),
            Happening::Tick { node, life } => self.tick(node, life),
            Happening::Resume { node, life } => self.resume(node, life),
            Happening::Turn { node, life } => self.turn(node, life),
            Happening::Unary { from, to, message } => self.unary_arrives(from, to, message),
            Happening::StreamOpens { id } => self.stream_opens(id),
            Happening::StreamArrives { id, end } => self.stream_arrives(id, end),
            Happening::StreamBreaks { id, end } => self.stream_breaks(id, end),
            Happening::Written { node, life } => self.written(node, life),
            Happening::Synced { node, life } => self.synced(node, life),
            Happening::Applied { node, life } => self.applied(node, life),
            Happening::Flush { node, life } => self.flush(node, life),
            Happening::Report { node, life, event } => {
                if self.life(node) == Some(life) {
                    self.deliver(node, event);
                }
            }
            Happening::InstallStarts {
                node,
                life,
                install,
                master,
            } => {
                self.install_starts(node, life, install, master);
            }
            Happening::InstallEnds {
                node,
                life,
                install,
                from,
                checkpoint,
            } => {
                self.install_ends((node, life, install), from, &checkpoint);
            }
            Happening::StoreFilled { node, fillings } => self.store_filled(node, fillings),
            Happening::KeeperConnect { node, life } => self.keeper_connect(node, life),
            Happening::KeeperRead { node, life } => self.keeper_read(node, life),
            Happening::KeeperSays {
                node,
                life,
                read,
                event,
            } => self.keeper_says((node, life), read, event),
            Happening::KeeperLost { node, life } => self.keeper_lost(node, life),
            Happening::SessionExpires { session, since_us } => {
                self.session_expires(session, since_us);
            }
            Happening::Claim(claim) => self.claim_arrives(claim),
            Happening::ClaimAnswered { claim, won } => self.claim_answered(claim, won),
            Happening::ClaimReread(claim) => self.claim_reread(claim),
            Happening::Seal { node, life } => self.seal(node, life),
            Happening::Client(happening) => self.client_happens(happening),
            Happening::Scrub { node } => self.scrub(node),
            Happening::Damaged { node, life } => self.damaged(node, life),
            Happening::Fault => self.fault_round(),
            Happening::Trap(trap) => self.trap(trap),
            Happening::Replace { node } => self.replace(node),
            Happening::CutEnds { from, to } => self.set_cut(from, to, false),
            Happening::KeeperCutEnds { node } => self.set_keeper_cut(node, false),
            Happening::Heal => self.heal(),
            Happening::Look => self.look(),
        }
    }

    /// The process that lives there.
    pub fn life(&self, node: usize) -> Option<u64> {
        self.nodes[node]
            .process
            .as_ref()
            .map(|process| process.life)
    }

    /// Where a name is found.
    pub fn index(&self, name: &NodeId) -> usize {
        self.by_name[name]
    }

    /// A process starts from what its disk holds.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].process.is_some() || self.nodes[node].is_out() {
            return;
        }
        self.nodes[node].powerless = false;
        let life = self.name();
        let rate_ppm =
            1_000_000 - self.plan.skew_ppm + self.random.between((0, 2 * self.plan.skew_ppm));
        let clock = Clock {
            started_us: self.now_us,
            rate_ppm,
        };
        let machine = &self.nodes[node];
        let recovered = machine.disk.recovered();
        let quorum = replicamq_quorum::Config {
            node: machine.name.clone(),
            replicas: self.plan.replicas,
            weight: machine.weight,
            sync: self.plan.sync,
            limits: self.plan.limits,
        };
        let limits = self.plan.broker.clone();
        let config = Config { quorum, limits };
        let now = Now {
            monotonic_ms: 0,
            unix_ms: calendar::unix_ms(self.now_us, machine.calendar_off_ms),
        };
        self.trace.line(self.now_us, || {
            format!("{} starts: {recovered:?}", machine.name)
        });
        let process = Process {
            life,
            node: replicamq_node::Node::new(config, &recovered, now),
            clock,
            inbox: None,
            turn: None,
            given: machine.disk.durable.log.clone(),
            writer: Writer::default(),
            applier: Applier::default(),
            upstream: None,
            downstreams: BTreeMap::new(),
            keeper: KeeperClient::default(),
            serves: None,
            links: BTreeSet::new(),
            commands: VecDeque::new(),
            outbox: Vec::new(),
            seal_due_ms: None,
            install: 0,
        };
        self.nodes[node].process = Some(process);
        self.checkers.started(node, &self.nodes[node]);
        let at = self.random.between(self.plan.tick_us);
        self.after(at, Happening::Tick { node, life });
        let at = self.random.between((1_000, 30_000));
        self.after(at, Happening::KeeperConnect { node, life });
        let at = self.random.between(self.plan.flush_every_us);
        self.after(at, Happening::Flush { node, life });
    }
}
