//! Doing harm, within what the promises allow.

use replicamq_node::Effect as NodeEffect;
use replicamq_quorum::{Effect, Message, Role};

use crate::disk::{End, Filled};
use crate::plan::{FAULTS, Fault};
use crate::world::{Happening, Phase, World};

/// A process that will die at its next effect of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Ambush {
    kind: u64,
    /// Dies before it is carried out, or after.
    before: bool,
    power: bool,
}

const KINDS: u64 = 18;

fn kind(effect: &NodeEffect) -> Option<u64> {
    let effect = match effect {
        NodeEffect::Quorum(effect) => effect,
        NodeEffect::Serve { .. } => return Some(14),
        NodeEffect::Retire => return Some(15),
        NodeEffect::Client(_) => return Some(16),
        NodeEffect::Load(_) => return Some(17),
        NodeEffect::Unreadable { .. } => return None,
    };
    Some(match effect {
        Effect::Append(_) => 0,
        Effect::Truncate { .. } => 1,
        Effect::StorePromise { .. } => 2,
        Effect::Send {
            message: Message::Promise { .. },
            ..
        } => 3,
        Effect::Send {
            message: Message::PromiseAnswer(_),
            ..
        } => 4,
        Effect::Send {
            message: Message::Appended(_),
            ..
        } => 5,
        Effect::Follow { .. } => 6,
        Effect::Install { .. } => 7,
        Effect::Filled => 8,
        Effect::Claim { .. } => 9,
        Effect::Role(Role::Rising { .. }) => 10,
        Effect::Role(Role::Master { .. }) => 11,
        Effect::Committed { .. } => 12,
        Effect::Replay { .. } => 13,
        _ => return None,
    })
}

impl World {
    /// The next fault.
    pub fn fault_round(&mut self) {
        if self.phase != Phase::Faulty || self.plan.faults.is_empty() {
            return;
        }
        let at = self.random.between(self.plan.fault_every_us);
        self.after(at, Happening::Fault);
        let kinds = self.plan.faults.clone();
        let fault = self.random.pick(&kinds);
        self.trace.line(self.now_us, || format!("fault {fault:?}"));
        let node = self.victim();
        let lasts = self.random.between(self.plan.fault_lasts_us);
        if self.strikes(fault, node, lasts) {
            self.count(fault);
        }
    }

    /// A fault came to pass.
    pub(crate) fn count(&mut self, fault: Fault) {
        if let Some(kind) = FAULTS.iter().position(|kind| *kind == fault) {
            self.figures.faults[kind] += 1;
        }
    }

    /// Whether it came to pass at once; what comes later is counted then.
    fn strikes(&mut self, fault: Fault, node: usize, lasts: u64) -> bool {
        match fault {
            Fault::Kill => self.crash(node, false),
            Fault::KillMaster
            | Fault::KillReplica
            | Fault::CutMaster
            | Fault::CutReplica
            | Fault::DeafReplica => self.strike(fault, lasts),
            Fault::PowerLoss => self.crash(node, true),
            Fault::Blackout => {
                let mut any = false;
                for node in 0..self.nodes.len() {
                    any |= self.crash(node, true);
                }
                any
            }
            Fault::Pause => self.pause(node, lasts),
            Fault::OneWay => self.cut_one_way(node, lasts),
            Fault::SessionExpired => self.expire_any_session(),
            Fault::StreamBreak => self.break_any_stream(),
            Fault::HungDisk | Fault::HungMaster | Fault::HungReplica => {
                self.hang_disk(fault, node, lasts)
            }
            Fault::Wipe => self.wipe(node, (1_000, 2_000_000)),
            Fault::KeeperWipe => self.wipe_keeper(),
            Fault::KeeperRestore => self.restore_keeper(None),
            Fault::Transfer => self.transfer(node),
            Fault::FillTrap => self.set_fill_trap(),
            Fault::FenceTrap => self.set_fence_trap(),
            Fault::Rot => self.rot(),
            Fault::Unreadable => self.unreadable(node),
            Fault::Partition
            | Fault::KeeperCut
            | Fault::KeeperOutage
            | Fault::SlowDisk
            | Fault::ClockJump => {
                self.disturb(fault, node, lasts);
                true
            }
            Fault::Replace | Fault::Ambush | Fault::SyncError | Fault::DiskFull => {
                self.prepare(fault, node, lasts);
                false
            }
        }
    }

    /// What always can be done.
    fn disturb(&mut self, fault: Fault, node: usize, lasts: u64) {
        match fault {
            Fault::Partition => self.partition(node, lasts),
            Fault::KeeperCut => self.cut_keeper(node, lasts),
            Fault::KeeperOutage => {
                for node in 0..self.nodes.len() {
                    self.cut_keeper(node, lasts);
                }
            }
            Fault::SlowDisk => self.nodes[node].slow_disk_until_us = self.now_us + lasts,
            _ => self.jump_calendar(node),
        }
    }

    /// What strikes only when something else happens.
    fn prepare(&mut self, fault: Fault, node: usize, lasts: u64) {
        match fault {
            Fault::Replace => self.plan_replacement(node),
            Fault::Ambush => self.set_ambush(),
            Fault::SyncError => self.nodes[node].sync_fails = true,
            _ => self.fill_disk(node, lasts),
        }
    }

    /// Up to some hours, forward or back. Clocks for intervals go on as before.
    fn jump_calendar(&mut self, node: usize) {
        let hours = i64::try_from(self.random.between((0, 10))).expect("a small number");
        let off_ms = (hours - 5) * 3_600_000;
        let machine = &mut self.nodes[node];
        machine.calendar_off_ms = off_ms;
        let name = &machine.name;
        self.trace.line(self.now_us, || {
            format!("the calendar of {name} is {off_ms} ms off")
        });
    }

    fn fill_disk(&mut self, node: usize, lasts: u64) {
        self.nodes[node].full_disk_until_us = self.now_us + lasts;
        let name = &self.nodes[node].name;
        self.trace.line(self.now_us, || {
            format!("the disk of {name} is full for {lasts} us")
        });
    }

    fn cut_one_way(&mut self, node: usize, lasts: u64) -> bool {
        let to = self.random.index(self.nodes.len());
        if to != node {
            self.cut(node, to, lasts);
        }
        to != node
    }

    fn set_ambush(&mut self) {
        self.ambush = Some(Ambush {
            kind: self.random.below(KINDS),
            before: self.random.chance(500_000),
            power: self.plan.faults.contains(&Fault::PowerLoss) && self.random.chance(500_000),
        });
    }

    /// Whom a fault meets is told by its role.
    fn strike(&mut self, fault: Fault, lasts: u64) -> bool {
        let (master, replica) = match fault {
            Fault::KillReplica => (None, self.replica()),
            Fault::CutReplica | Fault::DeafReplica => (self.master(), self.replica()),
            _ => (self.master(), None),
        };
        match (fault, master, replica) {
            (Fault::KillMaster, Some(master), _) => return self.crash(master, false),
            (Fault::KillReplica, _, Some(replica)) => return self.crash(replica, false),
            (Fault::CutMaster, Some(master), _) => {
                self.orphan(master);
                self.cut_off(master, lasts);
            }
            (Fault::CutReplica, Some(master), Some(replica)) => {
                self.cut(master, replica, lasts);
                self.cut(replica, master, lasts);
            }
            (Fault::DeafReplica, Some(master), Some(replica)) => {
                self.cut_keeper(replica, lasts);
                return self.crash_for(master, false, (6_000_000, 6_000_000));
            }
            _ => return false,
        }
        true
    }

    /// A node that follows a master.
    fn replica(&mut self) -> Option<usize> {
        let replicas: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| {
                let process = self.nodes[node].process.as_ref();
                process
                    .is_some_and(|process| matches!(process.quorum().role(), Role::Replica { .. }))
            })
            .collect();
        (!replicas.is_empty()).then(|| self.random.pick(&replicas))
    }

    /// Whose disk hangs, and for how long.
    fn hang_disk(&mut self, fault: Fault, node: usize, lasts: u64) -> bool {
        let (node, lasts) = match fault {
            Fault::HungMaster => {
                let Some(master) = self.master() else {
                    return false;
                };
                self.orphan(master);
                (master, lasts)
            }
            Fault::HungReplica => {
                let (Some(master), Some(replica)) = (self.master(), self.replica()) else {
                    return false;
                };
                self.crash_for(master, false, (500_000, 500_000));
                (replica, lasts)
            }
            _ => (node, self.random.between((500_000, 9_000_000))),
        };
        let name = &self.nodes[node].name;
        self.trace.line(self.now_us, || {
            format!("the disk of {name} hangs for {lasts} us")
        });
        self.nodes[node].hung_disk_until_us = self.now_us + lasts;
        true
    }

    /// From everything.
    fn cut_off(&mut self, node: usize, lasts: u64) {
        for other in 0..self.nodes.len() {
            if other != node {
                self.cut(node, other, lasts);
                self.cut(other, node, lasts);
            }
        }
        self.cut_keeper(node, lasts);
        self.cut_clients(node, lasts);
    }

    /// Clients lose their master: the outage ends when another one answers.
    pub(crate) fn orphan(&mut self, node: usize) {
        if self.serves(node) && self.orphaned.is_none() {
            let process = self.nodes[node].process.as_ref();
            let epoch = process.and_then(|process| process.serves);
            self.orphaned = epoch.map(|epoch| (self.now_us, epoch));
        }
    }

    /// Any node; the master more often.
    fn victim(&mut self) -> usize {
        let any = self.random.index(self.nodes.len());
        if self.random.chance(400_000) {
            return self.master().unwrap_or(any);
        }
        any
    }

    fn partition(&mut self, node: usize, lasts: u64) {
        let alone = self.random.chance(500_000);
        for other in 0..self.nodes.len() {
            if other != node && (alone || self.random.chance(500_000)) {
                self.cut(node, other, lasts);
                self.cut(other, node, lasts);
            }
        }
        if self.random.chance(300_000) {
            self.cut_keeper(node, lasts);
        }
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize, lasts: u64) {
        let (a, b) = (&self.nodes[from].name, &self.nodes[to].name);
        self.trace
            .line(self.now_us, || format!("cut {a} to {b} for {lasts} us"));
        self.set_cut(from, to, true);
        self.after(lasts, Happening::CutEnds { from, to });
    }

    pub(crate) fn cut_keeper(&mut self, node: usize, lasts: u64) {
        let name = &self.nodes[node].name;
        self.trace.line(self.now_us, || {
            format!("cut {name} from the keeper for {lasts} us")
        });
        self.set_keeper_cut(node, true);
        self.after(lasts, Happening::KeeperCutEnds { node });
    }

    pub(crate) fn pause(&mut self, node: usize, lasts: u64) -> bool {
        if self.nodes[node].process.is_none() || self.nodes[node].paused() {
            return false;
        }
        let name = &self.nodes[node].name;
        self.trace
            .line(self.now_us, || format!("{name} stops for {lasts} us"));
        let process = self.nodes[node].process_mut();
        process.inbox = Some(process.turn.take().unwrap_or_default());
        let life = process.life;
        self.keeper_silent(node);
        self.after(lasts, Happening::Resume { node, life });
        true
    }

    /// A process dies, and comes back some time later.
    pub fn crash(&mut self, node: usize, power: bool) -> bool {
        self.crash_for(node, power, (20_000, 3_000_000))
    }

    /// A process dies, and comes back after so long.
    pub(crate) fn crash_for(&mut self, node: usize, power: bool, down_us: (u64, u64)) -> bool {
        if self.nodes[node].process.is_none() {
            return false;
        }
        // Where the node counts as damaged then, a quorum of whole ones remains.
        let notes = self.plan.setup().in_memory && self.bears_loss_of(node);
        let power = power && (self.plan.survives_power() || notes);
        self.orphan(node);
        let name = &self.nodes[node].name;
        self.trace
            .line(self.now_us, || format!("{name} dies, power lost: {power}"));
        self.end_process(node, power);
        let at = self.random.between(down_us);
        self.after(at, Happening::Start { node });
        true
    }

    /// A process ends: what is in memory is gone.
    pub fn end_process(&mut self, node: usize, power: bool) {
        let machine = &self.nodes[node];
        let works = !machine.paused() && machine.hung_disk_until_us <= self.now_us;
        let end = End {
            power,
            gasps: works && self.random.chance(500_000),
            may_damage: self.plan.setup().in_memory && power,
        };
        self.end_process_with(node, power, end);
    }

    /// Whether the machine loses power; what was not synced may be lost without that, after a
    /// failed sync.
    pub(crate) fn end_process_with(&mut self, node: usize, power: bool, end: End) {
        let Some(process) = self.nodes[node].process.take() else {
            return;
        };
        let mut writer = process.writer;
        for operation in writer.group.into_iter().rev() {
            writer.queue.push_front(operation);
        }
        let machine = &mut self.nodes[node];
        machine.powerless = power;
        let ended = machine.disk.end(&mut self.random, end, writer.queue);
        if let Err(trouble) = ended {
            self.checkers.fail("disk", &trouble.to_string());
        }
        let machine = &self.nodes[node];
        let name = &machine.name;
        let (last, applied) = (
            machine.disk.durable.log.last(),
            machine.disk.store.applied(),
        );
        self.trace.line(self.now_us, || {
            format!("{name} left {last}, applied {applied}")
        });
        self.checkers.ended(node, &self.nodes[node]);
        self.break_streams_of(node, process.life, power);
        for link in process.links {
            self.drop_client(link, power);
        }
        self.keeper_silent(node);
    }

    /// A store is lost, if a quorum of whole ones remains.
    pub(crate) fn wipe(&mut self, node: usize, down_us: (u64, u64)) -> bool {
        if !self.bears_loss_of(node) {
            return false;
        }
        self.end_process(node, true);
        let damaged = self.random.chance(300_000);
        let (store_id, seed) = (self.name(), self.random.number());
        if damaged {
            self.rot_dead(node);
        } else {
            self.nodes[node].disk.wipe(store_id, seed);
            self.checkers.wiped(node);
            // The server may know that its store is new, or learn it from ZooKeeper.
            if self.random.chance(500_000) {
                let noted = self.nodes[node].disk.set_filled(Filled::No);
                self.done(node, noted);
            }
        }
        let name = &self.nodes[node].name;
        self.trace.line(self.now_us, || {
            format!("{name} lost its store, damaged: {damaged}")
        });
        let at = self.random.between(down_us);
        self.after(at, Happening::Start { node });
        true
    }

    /// Its log rots, or what lies beside it. Where no start would notice, the store does.
    fn rot_dead(&mut self, node: usize) {
        let disk = &mut self.nodes[node].disk;
        let rotten = match disk.rot(&mut self.random) {
            Ok((what, true)) => Ok(what),
            Ok((what, false)) => disk.damage_store().map(|()| what),
            Err(trouble) => Err(trouble),
        };
        if let Some(what) = self.done(node, rotten) {
            let name = &self.nodes[node].name;
            self.trace.line(self.now_us, || format!("{name}: {what}"));
        }
    }

    /// Whether the process dies at this effect; the effect may be its last deed.
    pub fn ambushed(&mut self, node: usize, effect: &NodeEffect) -> bool {
        let Some(ambush) = self
            .ambush
            .filter(|ambush| Some(ambush.kind) == kind(effect))
        else {
            return false;
        };
        self.ambush = None;
        self.count(Fault::Ambush);
        if !ambush.before {
            self.node_effect(node, effect.clone());
        }
        self.crash(node, ambush.power);
        true
    }

    /// Faults are over.
    pub fn heal(&mut self) {
        let now_us = self.now_us;
        self.trace.line(now_us, || "heal".to_owned());
        self.phase = Phase::Healing { since_us: now_us };
        self.ambush = None;
        self.plan.unary_loss_ppm = 0;
        self.plan.claim_answer_loss_ppm = 0;
        for delay in [
            &mut self.plan.unary,
            &mut self.plan.stream,
            &mut self.plan.keeper,
        ] {
            delay.slow_ppm = 0;
        }
        self.heal_network();
        self.heal_keeper();
        self.heal_clients();
        for node in 0..self.nodes.len() {
            self.nodes[node].slow_disk_until_us = now_us;
            self.nodes[node].hung_disk_until_us = now_us;
            self.nodes[node].full_disk_until_us = now_us;
            self.nodes[node].sync_fails = false;
            if let Some(life) = self.life(node).filter(|_| self.nodes[node].paused()) {
                self.at(now_us, Happening::Resume { node, life });
            }
            self.at(now_us, Happening::Start { node });
        }
        self.after(50_000, Happening::Look);
    }
}
