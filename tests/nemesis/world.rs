//! A cluster on hosts of its own under load, and what is done to it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use replicamq_harness::cluster::{Cluster, not_tested, say};
use replicamq_harness::damage::{HURTS, Hurt};
use replicamq_harness::failing_disk::{FailingDisk, platter};
use replicamq_harness::load::{connect, take_all};
use replicamq_harness::network::{Delays, HOSTS, Host, Network, lose_from, reset_from};
use replicamq_harness::process::Node;
use replicamq_harness::wait;

use crate::disk::{Disk, wipe};
use crate::kinds::Kind;
use crate::ledger::Counts;
use crate::load::Load;
use crate::watch::Watch;

/// Small files, so that much happens to them in little time.
const LINES: &str = "log_segment_bytes = \"1MiB\"\nlog_retention_bytes = \"32MiB\"";

/// Reads everything at once after a start.
const FAST_SCRUB: [&str; 2] = ["--scrub-rate", "1GiB"];

/// What makes segments and tables, and fills disks.
const BALLAST: &str = "/queue/ballast";

/// Enough for a few segments and tables.
const BALLAST_COUNT: u64 = 8;
const BALLAST_BYTES: usize = 1 << 20;

/// Moves the clock of a process: where distributions put it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Seconds by which a clock jumps, one after another.
const JUMPS: [&str; 4] = ["+3600", "-7200", "+86400000", "-86400"];

const BROKERS: [Host; 3] = [Host::Broker(0), Host::Broker(1), Host::Broker(2)];

/// Who was who when a fault began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Roles {
    pub(crate) master: usize,
    /// The replica that is hurt where one is.
    pub(crate) victim: usize,
    pub(crate) other: usize,
}

impl Roles {
    fn replicas(self) -> [usize; 2] {
        [self.victim, self.other]
    }
}

/// What chance decides beside the kind of fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// Which of the replicas.
    pub(crate) replica: usize,
    /// Of the packets, in hundredths.
    pub(crate) percent: u8,
    /// Which of the hurts of a disk.
    pub(crate) hurt: usize,
}

/// The fields end in their order: the load first, the network last.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) load: Load,
    disks: Vec<Disk>,
    /// Above those disks.
    syncs: Vec<FailingDisk>,
    pub(crate) cluster: Cluster,
    /// What every host sends is late.
    delays: Option<Delays>,
    pub(crate) network: Network,
    pub(crate) watch: Watch,
    /// What a file must be called to hurt it, while a damaged node is away.
    damaged: Option<Hurt>,
    ballast: u64,
    /// The last fault was healed, and nobody waited for what comes after that.
    pub(crate) in_haste: bool,
}

impl World {
    /// `None`, and a reason, where networks may not be made.
    pub(crate) fn start() -> Option<Self> {
        let network = match Network::make() {
            Ok(network) => network,
            Err(why) => {
                not_tested(&format!(
                    "faults of the network need namespaces and nftables, which may not be used here: {why}"
                ));
                return None;
            }
        };
        let mut cluster = Cluster::prepare_in(&network, LINES);
        let disks = cluster
            .nodes
            .iter()
            .map_while(|node| Disk::make(&platter(&node.directory)));
        let disks = disks.collect();
        let syncs = cluster
            .nodes
            .iter()
            .map_while(|node| FailingDisk::mount(&node.directory));
        let syncs = syncs.collect();
        cluster.start_all();
        let load = Load::start(&cluster.addresses());
        Some(Self {
            load,
            disks,
            syncs,
            cluster,
            network,
            watch: Watch::begin(),
            damaged: None,
            ballast: 0,
            delays: None,
            in_haste: false,
        })
    }

    /// Why a kind of fault cannot be had here.
    pub(crate) fn lacks(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Delay => {
                let delayed = self.network.delay(Duration::from_millis(1));
                let failed = delayed.err();
                failed.map(|why| format!("the kernel queues no packets: {why}"))
            }
            Kind::FillMaster | Kind::FillReplica if self.disks.len() < 3 => {
                Some("file systems on loop devices may not be mounted".to_owned())
            }
            Kind::FailSyncsOfMaster
            | Kind::FailSyncsOfReplica
            | Kind::HangSyncsOfMaster
            | Kind::HangSyncsOfReplica
            | Kind::PowerCut
                if self.syncs.len() < 3 =>
            {
                Some("file systems of ours (FUSE) may not be mounted".to_owned())
            }
            Kind::JumpClocks if !Path::new(FAKETIME).exists() => {
                Some(format!("there is no {FAKETIME} (package libfaketime)"))
            }
            _ => None,
        }
    }

    pub(crate) fn roles(&self, choice: Choice) -> Roles {
        let master = self.cluster.master();
        let mut replicas = [(master + 1) % 3, (master + 2) % 3];
        replicas.rotate_left(choice.replica % 2);
        let [victim, other] = replicas;
        Roles {
            master,
            victim,
            other,
        }
    }

    /// The fault begins.
    pub(crate) fn hurt(&mut self, kind: Kind, roles: Roles, choice: Choice) {
        let Roles { master, victim, .. } = roles;
        match kind {
            Kind::KillMaster => self.cluster.nodes[master].kill(),
            Kind::KillReplica => self.cluster.nodes[victim].kill(),
            Kind::KillAll => self.cluster.nodes.iter_mut().for_each(Node::kill),
            Kind::TerminateMaster => self.stop(master),
            Kind::PauseMaster => self.cluster.nodes[master].signal("STOP"),
            Kind::PauseReplica => self.cluster.nodes[victim].signal("STOP"),
            Kind::KillZooKeeper => self.cluster.keeper().stop(),
            Kind::KillZooKeeperAndMaster => {
                self.cluster.keeper().stop();
                self.cluster.nodes[master].kill();
            }
            Kind::PauseZooKeeper => {
                let paused = self.cluster.keeper().pause();
                paused.expect("it runs");
            }
            Kind::RollingRestart => self.restart_all(),
            Kind::FillMaster => self.fill(master),
            Kind::FillReplica => self.fill(victim),
            Kind::DamageMaster => self.damage(master, choice),
            Kind::DamageReplica => self.damage(victim, choice),
            Kind::WipeMaster => self.wipe(master),
            Kind::WipeReplica => self.wipe(victim),
            Kind::JumpClocks => self.jump_clock(victim, choice.hurt.is_multiple_of(2)),
            Kind::Transfer => {
                let refusals = self.refusals();
                let (done, said) = self.cluster.nodes[master].operate(&["transfer"]);
                if done {
                    self.cluster.was_handed_over_by(master);
                }
                assert!(done || self.refusals() > refusals, "{said}");
            }
            Kind::FailSyncsOfMaster => self.fail_syncs(master),
            Kind::FailSyncsOfReplica => self.fail_syncs(victim),
            Kind::HangSyncsOfMaster => self.syncs[master].hang_syncs(),
            Kind::HangSyncsOfReplica => self.syncs[victim].hang_syncs(),
            Kind::PowerCut => {
                self.cluster.nodes.iter_mut().for_each(Node::kill);
                let lost: usize = self.syncs.iter().map(FailingDisk::lose_power).sum();
                say(&format!("  {lost} pages had never been on a disk"));
            }
            _ => self.hurt_network(kind, roles, choice),
        }
    }

    fn hurt_network(&mut self, kind: Kind, roles: Roles, choice: Choice) {
        let network = &self.network;
        let master = [Host::Broker(roles.master)];
        let victim = [Host::Broker(roles.victim)];
        let other = [Host::Broker(roles.other)];
        let replicas = roles.replicas().map(Host::Broker);
        let others = [Host::Broker(roles.master), Host::Broker(roles.other)];
        let keeper = [Host::ZooKeeper];
        match kind {
            Kind::CutMasterFromReplicas => network.cut(&master, &replicas),
            Kind::CutMasterFromZooKeeper => network.cut(&master, &keeper),
            Kind::CutMasterFromAll => {
                network.cut(&master, &[replicas[0], replicas[1], Host::ZooKeeper]);
            }
            Kind::CutReplicaFromMaster => network.cut(&victim, &master),
            Kind::CutReplicasApart => network.cut(&victim, &other),
            Kind::CutAllFromZooKeeper => network.cut(&keeper, &BROKERS),
            Kind::DeafMaster => network.cut_one_way(&replicas, &master),
            Kind::MuteMaster => network.cut_one_way(&master, &replicas),
            Kind::DeafReplica => network.cut_one_way(&others, &victim),
            Kind::MuteReplica => network.cut_one_way(&victim, &others),
            Kind::Loss => {
                for host in HOSTS.into_iter().filter(|host| *host != Host::Clients) {
                    let from = HOSTS.into_iter().filter(|from| *from != Host::Clients);
                    let from: Vec<Host> = from.collect();
                    network.rule(host, &[lose_from(&from, choice.percent)]);
                }
            }
            Kind::Delay => {
                let delayed = network.delay(Duration::from_millis(choice.percent.into()));
                self.delays = Some(delayed.expect("the kernel was asked before"));
            }
            Kind::ResetMaster => {
                network.rule(master[0], &[reset_from(&replicas)]);
                for replica in replicas {
                    network.rule(replica, &[reset_from(&master)]);
                }
            }
            Kind::ResetClients => {
                for broker in BROKERS {
                    network.rule(broker, &[reset_from(&[Host::Clients])]);
                }
            }
            other => unreachable!("{other:?} is no fault of the network"),
        }
    }

    /// The fault ends.
    pub(crate) fn heal(&mut self, kind: Kind, roles: Roles) {
        match kind {
            Kind::PauseMaster => self.cluster.nodes[roles.master].signal("CONT"),
            Kind::PauseReplica => self.cluster.nodes[roles.victim].signal("CONT"),
            Kind::PauseZooKeeper => {
                let resumed = self.cluster.keeper().resume();
                resumed.expect("it is there");
            }
            Kind::KillZooKeeper | Kind::KillZooKeeperAndMaster => {
                let started = self.cluster.keeper().start_again();
                started.expect("ZooKeeper starts with what it had");
            }
            Kind::FillMaster => self.disks[roles.master].empty(),
            Kind::FillReplica => self.disks[roles.victim].empty(),
            Kind::DamageMaster => self.repair(roles.master),
            Kind::DamageReplica => self.repair(roles.victim),
            Kind::Delay => drop(self.delays.take()),
            Kind::HangSyncsOfMaster => self.syncs[roles.master].heal(),
            Kind::HangSyncsOfReplica => self.syncs[roles.victim].heal(),
            // It goes on with the time of day that it should have.
            Kind::JumpClocks => self.stop(roles.victim),
            _ => self.network.heal(),
        }
        for node in &mut self.cluster.nodes {
            if !node.runs() {
                node.start(&[]);
            }
        }
        let wiped = match kind {
            Kind::WipeMaster => roles.master,
            Kind::WipeReplica => roles.victim,
            _ => return self.take_ballast(),
        };
        self.cluster.nodes[wiped].says("it will be filled by the master before it votes");
    }

    /// It ends by itself; what it wrote since is gone, though it could be read.
    fn fail_syncs(&mut self, index: usize) {
        self.syncs[index].fail_syncs();
        let ended = self.cluster.nodes[index].ended();
        assert_eq!(ended.code(), Some(1), "broker-{}: {ended}", index + 1);
        self.cluster.nodes[index].says("the disk cannot be trusted any more");
        self.syncs[index].lose_power();
    }

    /// Replicas first, so that the mastership moves once.
    fn restart_all(&mut self) {
        let master = self.cluster.master();
        for index in [(master + 1) % 3, (master + 2) % 3, master] {
            self.stop(index);
            self.cluster.nodes[index].start(&[]);
            self.cluster.complete();
        }
    }

    /// As an operator stops it: a master hands over first, to whoever can take over.
    fn stop(&mut self, index: usize) {
        let leads = self.cluster.master() == index && self.cluster.is_complete().is_some();
        let refusals = self.refusals();
        let ended = self.cluster.nodes[index].terminate();
        assert!(ended.success(), "broker-{}: {ended}", index + 1);
        if leads && self.refusals() == refusals {
            self.cluster.was_handed_over_by(index);
        }
    }

    /// How often a replica could not take over, for want of ZooKeeper for instance.
    fn refusals(&self) -> usize {
        let logs = self.cluster.nodes.iter().map(Node::log);
        logs.map(|log| log.matches("would hand the mastership over, but").count())
            .sum()
    }

    fn fill(&mut self, index: usize) {
        self.disks[index].fill();
        let body = "x".repeat(256 << 10);
        let mut client = connect(&self.cluster.addresses());
        let name = self.cluster.nodes[index].name.clone();
        let ended = wait::until(&format!("{name} ends with a full disk"), || {
            if client.send(BALLAST, &body).is_ok() {
                self.ballast += 1;
            } else {
                client = connect(&self.cluster.addresses());
            }
            self.cluster.nodes[index].has_ended()
        });
        assert_eq!(ended.code(), Some(1), "{name}: {ended}");
        self.cluster.nodes[index].says("the disk cannot be trusted any more");
    }

    fn damage(&mut self, index: usize, choice: Choice) {
        let body = "x".repeat(BALLAST_BYTES);
        let mut client = connect(&self.cluster.addresses());
        for _ in 0..BALLAST_COUNT {
            client.send(BALLAST, &body).expect("the cluster serves");
        }
        self.ballast += BALLAST_COUNT;
        self.stop(index);
        let (what, hurt) = HURTS[choice.hurt % HURTS.len()];
        say(&format!("  {what} of broker-{}", index + 1));
        self.damaged = Some(hurt(&self.cluster.nodes[index].directory));
    }

    /// It has to find its damage, and to say where.
    fn repair(&mut self, index: usize) {
        let hurt = self.damaged.take().expect("it was damaged before");
        let node = &mut self.cluster.nodes[index];
        node.start(&FAST_SCRUB);
        let line = node.says(hurt.path.to_str().expect("our paths are text"));
        assert!(hurt.is_told_by(&line), "{hurt:?}: {line}");
        node.says("a checkpoint replaced the store");
    }

    fn wipe(&mut self, index: usize) {
        self.cluster.nodes[index].kill();
        wipe(&self.cluster.nodes[index].directory);
    }

    /// The time of day jumps for a node; the time that only goes on does not.
    fn jump_clock(&mut self, index: usize, leads: bool) {
        let file = self.cluster.directory().join("clock");
        let path = file.to_str().expect("our own names are text").to_owned();
        fs::write(&file, "+0").expect("there is room for a line");
        self.stop(index);
        let variables = [
            ("LD_PRELOAD", FAKETIME),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_TIMESTAMP_FILE", &path),
            ("FAKETIME_NO_CACHE", "1"),
        ];
        self.cluster.nodes[index].start_with(&["--weight", "9"], &variables);
        self.cluster.complete();
        // Of two that are equally far on, the heavier one is chosen.
        let master = self.cluster.master();
        if leads && master != index {
            self.stop(master);
            self.cluster.nodes[master].start(&[]);
            self.cluster.complete();
        }
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.cluster.nodes[index].pid()));
        let moved = maps.is_ok_and(|maps| maps.contains("libfaketime"));
        assert!(moved, "the process has the clock of everybody");
        for jump in JUMPS {
            fs::write(&file, jump).expect("there is room for a line");
            assert!(
                self.load.goes_on(200, Duration::from_secs(10)),
                "a clock that jumps by {jump} s stops the cluster"
            );
        }
    }

    /// Ends the load, and settles the account.
    pub(crate) fn finish(self) -> Result<Counts, String> {
        self.load.finish()
    }

    fn take_ballast(&mut self) {
        if self.ballast > 0 {
            let taken = take_all(&self.cluster.addresses(), BALLAST).len();
            let sent = usize::try_from(self.ballast).expect("it is not much");
            // What was not acknowledged may be there, too.
            assert!(taken >= sent, "{taken} of {sent} of the ballast");
            self.ballast = 0;
        }
    }
}
