//! What a seed means: the cluster's shape and which faults it meets.
//!
//! Each seed switches on a subset of the faults (swarm testing): a bug that
//! needs one kind often hides where all kinds come at once.

use replicamq_quorum::{Copy, Limits, SyncMode};

use crate::ground::Setup;
use crate::random::Random;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9: what was written survives.
    Kill,
    /// kill -9 of a master that serves, and of nobody else.
    KillMaster,
    /// kill -9 of a node that follows a master.
    KillReplica,
    /// A master that serves is cut from everything, and nobody is told.
    CutMaster,
    /// A replica and its master are cut from each other, and from nobody else.
    CutReplica,
    /// Power loss: what was not synced may be lost.
    PowerLoss,
    /// Power loss of every node at once.
    Blackout,
    /// SIGSTOP, and SIGCONT later.
    Pause,
    /// A node is cut from some others, both ways.
    Partition,
    /// A node does not reach another, but is reached.
    OneWay,
    /// A node does not reach ZooKeeper.
    KeeperCut,
    /// Nobody reaches ZooKeeper.
    KeeperOutage,
    /// ZooKeeper forgets a session that lives.
    SessionExpired,
    /// A stream breaks, for no reason.
    StreamBreak,
    /// A disk becomes slow.
    SlowDisk,
    /// A disk hangs: no answer, no error, for seconds.
    HungDisk,
    /// The disk of a master that serves hangs for longer than clients may wait.
    HungMaster,
    /// As does the disk of a replica, whose master dies and comes back.
    HungReplica,
    /// A replica does not reach `ZooKeeper`, and its master dies: it should stand, and cannot.
    DeafReplica,
    /// A store is emptied or damaged, and the node restarted.
    Wipe,
    /// ZooKeeper loses all that it held.
    KeeperWipe,
    /// ZooKeeper is set back to what it held before.
    KeeperRestore,
    /// See `operator.rs`.
    Replace,
    /// A master that serves is to hand over.
    Transfer,
    /// See `traps.rs`.
    FillTrap,
    /// See `traps.rs`.
    FenceTrap,
    /// The process dies right at a certain effect.
    Ambush,
    /// A machine's calendar jumps, by hours.
    ClockJump,
    /// A sync fails: the process stops.
    SyncError,
    /// The disk is full: the next write fails, and the process stops. Space comes back.
    DiskFull,
    /// See `rot.rs`.
    Rot,
    /// See `rot.rs`.
    Unreadable,
}

/// All that a seed may meet; the others are for drills alone.
pub const FAULTS: [Fault; 28] = [
    Fault::Kill,
    Fault::KillMaster,
    Fault::KillReplica,
    Fault::CutMaster,
    Fault::PowerLoss,
    Fault::Blackout,
    Fault::Pause,
    Fault::Partition,
    Fault::OneWay,
    Fault::KeeperCut,
    Fault::KeeperOutage,
    Fault::SessionExpired,
    Fault::StreamBreak,
    Fault::SlowDisk,
    Fault::HungDisk,
    Fault::Wipe,
    Fault::KeeperWipe,
    Fault::KeeperRestore,
    Fault::Replace,
    Fault::Transfer,
    Fault::FillTrap,
    Fault::FenceTrap,
    Fault::Ambush,
    Fault::ClockJump,
    Fault::SyncError,
    Fault::DiskFull,
    Fault::Rot,
    Fault::Unreadable,
];

/// Those that break no stream.
const SILENT: [Fault; 6] = [
    Fault::Pause,
    Fault::Partition,
    Fault::OneWay,
    Fault::KeeperCut,
    Fault::SlowDisk,
    Fault::ClockJump,
];

/// Runs in a mode that waits for less than `quorum_disk`, in a million…
const WEAKER_PPM: u32 = 150_000;
/// …and these, of the master and of replicas: `quorum_mem` more often, `remote_disk`,
/// `remote_mem`, the two that wait for disks on one side, `local_disk` and `local_mem`.
const WEAKER: [(Copy, Copy); 8] = [
    (Copy::Memory, Copy::Memory),
    (Copy::Memory, Copy::Memory),
    (Copy::None, Copy::Disk),
    (Copy::None, Copy::Memory),
    (Copy::Memory, Copy::Disk),
    (Copy::Disk, Copy::Memory),
    (Copy::Disk, Copy::None),
    (Copy::Memory, Copy::None),
];

/// A delay: mostly in `usual_us`, sometimes in `slow_us`.
#[derive(Debug, Clone, Copy)]
pub struct Delay {
    /// Mostly.
    pub usual_us: (u64, u64),
    /// So often in a million it is slow.
    pub slow_ppm: u32,
    /// Sometimes.
    pub slow_us: (u64, u64),
}

impl Delay {
    /// One of them.
    pub fn draw(&self, random: &mut Random) -> u64 {
        if random.chance(self.slow_ppm) {
            random.between(self.slow_us)
        } else {
            random.between(self.usual_us)
        }
    }
}

/// What a seed means.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Voters.
    pub replicas: usize,
    /// What a commit waits for.
    pub sync: SyncMode,
    /// Small, so that every bound is met.
    pub limits: Limits,
    /// How long faults come.
    pub faults_us: u64,
    /// Which.
    pub faults: Vec<Fault>,
    /// The time between two.
    pub fault_every_us: (u64, u64),
    /// How long one lasts.
    pub fault_lasts_us: (u64, u64),
    /// `Ask` and `Promise`, each way.
    pub unary: Delay,
    /// Lost, in a million.
    pub unary_loss_ppm: u32,
    /// Delivered twice, in a million.
    pub unary_twice_ppm: u32,
    /// A message on a stream.
    pub stream: Delay,
    /// To ZooKeeper, or back.
    pub keeper: Delay,
    /// An answer of ZooKeeper to a claim is lost, in a million.
    pub claim_answer_loss_ppm: u32,
    /// ZooKeeper's session timeout.
    pub session_us: u64,
    /// Writing to the operating system.
    pub write: Delay,
    /// Syncing.
    pub sync_delay: Delay,
    /// Applying.
    pub apply: Delay,
    /// Fetching a checkpoint.
    pub install: Delay,
    /// The store is flushed so often.
    pub flush_every_us: (u64, u64),
    /// Log that is kept behind the flushed point.
    pub retention_bytes: u64,
    /// The log reports where it is after a cut, too.
    pub logged_after_cut: bool,
    /// What comes within so long is taken in one turn; at once if it is nothing.
    pub turn_us: (u64, u64),
    /// Between two ticks.
    pub tick_us: (u64, u64),
    /// How far a clock's rate may be off, in a million.
    pub skew_ppm: u64,
    /// Bounds of the broker, small as well.
    pub broker: replicamq_core::Limits,
    /// Who sends and consumes what.
    pub clients: ClientPlan,
}

/// What clients do.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    /// Queues.
    pub queues: usize,
    /// Durable subscriptions to the topic.
    pub durables: usize,
    /// Clients that send.
    pub producers: usize,
    /// Clients that consume a queue, at most.
    pub consumers_max: u64,
    /// Each way.
    pub wire: Delay,
    /// Between two rounds of a producer.
    pub pause_us: (u64, u64),
    /// Between two rounds of a consumer.
    pub rest_us: (u64, u64),
    /// How long a client waits for an answer before it goes elsewhere.
    pub patience_us: (u64, u64),
    /// Messages or transactions of a round.
    pub burst_max: u64,
    /// Messages or transactions without a receipt, of one producer.
    pub window: usize,
    /// Messages while faults come, spread over that time.
    pub messages_max: u64,
    /// Bytes of a message.
    pub message_bytes_max: u64,
    /// Rounds with a transaction, in a million.
    pub transaction_ppm: u32,
    /// Deliveries that are given back.
    pub reject_ppm: u32,
    /// Rounds in which a client just goes.
    pub leave_ppm: u32,
    /// Deliveries that are held for a while.
    pub hold_ppm: u32,
    /// Messages that expire.
    pub mortal_ppm: u32,
}

impl Plan {
    /// What this seed means.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let replicas = random.pick(&[3, 3, 3, 3, 3, 3, 3, 5, 5, 1]);
        let sync = if random.chance(WEAKER_PPM) {
            let (local, remote) = random.pick(&WEAKER);
            SyncMode { local, remote }
        } else {
            SyncMode::QUORUM_DISK
        };
        let faults = faults(random, sync);
        // What is lost and found again must be readable to be judged.
        let retention_bytes = match sync.remote {
            Copy::None => 64 << 20,
            _ => random.pick(&[0, 0, 16 << 10, 64 << 10, 1 << 20]),
        };
        let busy = random.between((150_000, 1_500_000));
        Self {
            replicas,
            sync,
            limits: limits(random),
            faults_us: random.between((3_000_000, 12_000_000)),
            faults,
            fault_every_us: (busy / 3, busy),
            fault_lasts_us: (20_000, random.pick(&[400_000, 1_500_000, 4_000_000])),
            unary: Delay {
                slow_us: (5_000, random.pick(&[30_000, 300_000, 2_000_000])),
                ..delay(random, (80, 900))
            },
            unary_loss_ppm: random.pick(&[0, 0, 10_000, 150_000]),
            unary_twice_ppm: random.pick(&[0, 10_000, 100_000]),
            stream: delay(random, (60, 700)),
            keeper: delay(random, (300, 4_000)),
            claim_answer_loss_ppm: random.pick(&[0, 0, 50_000, 300_000]),
            session_us: random.pick(&[2_000_000, 4_000_000]),
            write: delay(random, (5, 80)),
            sync_delay: delay(random, (100, 2_500)),
            apply: delay(random, (10, 1_500)),
            install: Delay {
                usual_us: (1_000, 300_000),
                slow_ppm: random.pick(&[0, 200_000]),
                slow_us: (1_000_000, 4_000_000),
            },
            flush_every_us: random.pick(&[
                (10_000, 60_000),
                (200_000, 900_000),
                (5_000_000, 9_000_000),
            ]),
            retention_bytes,
            logged_after_cut: random.chance(500_000),
            turn_us: random.pick(&[(0, 0), (0, 0), (10, 300), (100, 4_000)]),
            tick_us: (10_000, 25_000),
            skew_ppm: random.pick(&[0, 1_000, 60_000]),
            broker: broker(random),
            clients: clients(random),
        }
    }

    /// A healthy cluster of three on ordinary machines, to which this happens
    /// again and again; or nothing.
    #[must_use]
    pub fn drill(fault: Option<Fault>, random: &mut Random) -> Self {
        let hangs = matches!(
            fault,
            Some(Fault::HungMaster | Fault::HungReplica | Fault::DeafReplica)
        );
        let steady = |usual_us| Delay {
            usual_us,
            slow_ppm: 1_000,
            slow_us: (5_000, 20_000),
        };
        Self {
            replicas: 3,
            sync: SyncMode::QUORUM_DISK,
            limits: Limits::default(),
            faults_us: if hangs { 50_000_000 } else { 20_000_000 },
            faults: fault.into_iter().collect(),
            fault_lasts_us: if hangs {
                (9_000_000, 9_500_000)
            } else {
                (3_000_000, 3_500_000)
            },
            // The next one only when all is well again: one disk of three may hang.
            fault_every_us: if hangs {
                (12_000_000, 15_000_000)
            } else {
                (4_000_000, 6_000_000)
            },
            unary: steady((80, 900)),
            unary_loss_ppm: 0,
            unary_twice_ppm: 0,
            stream: steady((60, 700)),
            keeper: steady((500, 5_000)),
            claim_answer_loss_ppm: 0,
            write: steady((5, 80)),
            sync_delay: steady((300, 3_000)),
            apply: steady((10, 1_500)),
            broker: broker(random),
            clients: ClientPlan {
                queues: 1,
                durables: 0,
                producers: 2,
                consumers_max: 1,
                wire: steady((30, 300)),
                pause_us: (2_000, 16_000),
                rest_us: (20_000, 100_000),
                patience_us: (300_000, 400_000),
                burst_max: 1,
                window: 50,
                messages_max: 100_000,
                message_bytes_max: 100,
                transaction_ppm: 100_000,
                reject_ppm: 0,
                leave_ppm: 0,
                hold_ppm: 10_000,
                mortal_ppm: 0,
            },
            turn_us: (10, 300),
            skew_ppm: 1_000,
            retention_bytes: 4 << 20,
            ..Self::draw(random)
        }
    }

    /// Machines: the voters, and one that may take the place of another.
    #[must_use]
    pub fn machines(&self) -> usize {
        self.replicas + usize::from(self.faults.contains(&Fault::Replace))
    }

    /// How a node keeps its log.
    #[must_use]
    pub fn setup(&self) -> Setup {
        Setup {
            retention_bytes: self.retention_bytes,
            in_memory: !self.sync.syncs(),
        }
    }

    /// Whether a commit waits for disks alone: then no power is missed.
    #[must_use]
    pub fn survives_power(&self) -> bool {
        waits_for_disks(self.sync)
    }

    /// Whether a commit waits for no replica: a failover may lose it.
    #[must_use]
    pub fn may_part(&self) -> bool {
        self.sync.remote == Copy::None
    }

    /// Whether nodes learn of each other's death by silence alone.
    #[must_use]
    pub fn silent(&self) -> bool {
        self.faults.iter().all(|fault| SILENT.contains(fault))
    }
}

fn waits_for_disks(sync: SyncMode) -> bool {
    sync.local == Copy::Disk && sync.remote != Copy::Memory
}

/// What a node or `ZooKeeper` held is gone.
fn forgets(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Wipe
            | Fault::FillTrap
            | Fault::FenceTrap
            | Fault::Rot
            | Fault::Unreadable
            | Fault::Replace
            | Fault::KeeperWipe
            | Fault::KeeperRestore
    )
}

fn faults(random: &mut Random, sync: SyncMode) -> Vec<Fault> {
    let mut faults: Vec<Fault> = FAULTS
        .into_iter()
        .filter(|fault| random.chance(if forgets(*fault) { 600_000 } else { 400_000 }))
        .collect();
    // Each forgets what bounds the others: no promise is given against two at once.
    let forgetful: &[Fault] = match random.below(4) {
        0 => &[Fault::Replace],
        1 => &[Fault::KeeperWipe, Fault::KeeperRestore],
        _ => &[
            Fault::Wipe,
            Fault::FillTrap,
            Fault::FenceTrap,
            Fault::Rot,
            Fault::Unreadable,
        ],
    };
    faults.retain(|fault| !forgets(*fault) || forgetful.contains(fault));
    if sync.remote == Copy::None {
        // Who lacks what was lost is to be filled, and a master's own copy is the only one.
        faults.retain(|fault| !forgets(*fault));
    }
    if !waits_for_disks(sync) {
        // What is only written when the power or a sync fails was acknowledged. Where no disk
        // is waited for, its node knows, and counts as damaged: that forgets, too.
        let notes =
            sync.remote == Copy::Memory && !sync.syncs() && forgetful.contains(&Fault::Wipe);
        faults.retain(|fault| match fault {
            Fault::Blackout => false,
            Fault::PowerLoss | Fault::SyncError => notes,
            _ => true,
        });
    }
    // Nobody notices a death but by silence: then a lease is exclusive.
    if random.chance(120_000) {
        faults.retain(|fault| SILENT.contains(fault));
    }
    if faults.is_empty() {
        faults.push(Fault::Partition);
    }
    faults
}

fn delay(random: &mut Random, usual_us: (u64, u64)) -> Delay {
    Delay {
        usual_us,
        slow_ppm: random.pick(&[0, 1_000, 20_000]),
        slow_us: (5_000, random.pick(&[30_000, 300_000])),
    }
}

fn limits(random: &mut Random) -> Limits {
    if random.chance(300_000) {
        return Limits::default();
    }
    Limits {
        tail_bytes_max: random.pick(&[300, 3_000, 30_000]),
        pipeline_bytes_max: random.pick(&[1_000, 20_000]),
        applying_bytes_max: random.pick(&[200, 2_000, 20_000]),
        unapplied_bytes_max: random.pick(&[1_000, 20_000]),
        ship_bytes_max: random.pick(&[400, 4_000, 40_000]),
        message_bytes_max: random.pick(&[100, 1_000, 10_000]),
        ..Limits::default()
    }
}

/// Small, but for the window in which a repeated send is recognised: no run sends more.
fn broker(random: &mut Random) -> replicamq_core::Limits {
    let limits = replicamq_core::Limits {
        duplicate_window: 16_384,
        duplicate_window_volatile: 16,
        expiry_interval_ms: 100,
        ..replicamq_core::Limits::default()
    };
    if random.chance(300_000) {
        return limits;
    }
    replicamq_core::Limits {
        window_messages_max: random.pick(&[4, 20, 100]),
        window_bytes_max: random.pick(&[1_000, 10_000]),
        windows_bytes_max: random.pick(&[2_000, 20_000]),
        dispatched_step: random.pick(&[1, 5, 100]),
        topic_trim_messages: random.pick(&[1, 10, 100]),
        redeliveries_max: random.pick(&[0, 2, 6]),
        durable_marks_max: random.pick(&[2, 20]),
        connection_outstanding_bytes_max: random.pick(&[1_000, 20_000]),
        outstanding_bytes_max: random.pick(&[2_000, 40_000]),
        forget_after_ms: random.pick(&[200, 5_000, 600_000]),
        sweep_page_messages: 3,
        ..limits
    }
}

fn clients(random: &mut Random) -> ClientPlan {
    ClientPlan {
        queues: random.pick(&[1, 1, 2, 3]),
        durables: random.pick(&[0, 0, 1, 2]),
        producers: random.pick(&[1, 2, 3]),
        consumers_max: random.pick(&[1, 1, 3]),
        wire: delay(random, (30, 500)),
        pause_us: random.pick(&[(1_000, 9_000), (5_000, 40_000), (20_000, 120_000)]),
        rest_us: (20_000, 150_000),
        patience_us: (200_000, random.pick(&[400_000, 3_000_000])),
        burst_max: random.pick(&[1, 3, 8]),
        window: random.pick(&[1, 10, 60]),
        messages_max: random.pick(&[150, 400, 1_500]),
        message_bytes_max: random.pick(&[1, 100, 600]),
        transaction_ppm: random.pick(&[0, 50_000, 300_000]),
        reject_ppm: random.pick(&[0, 0, 30_000, 200_000]),
        leave_ppm: random.pick(&[0, 5_000, 50_000]),
        hold_ppm: random.pick(&[0, 100_000, 800_000]),
        mortal_ppm: random.pick(&[0, 0, 100_000]),
    }
}
