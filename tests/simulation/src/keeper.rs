//! ZooKeeper: sessions that expire, reads that come late, claims whose answers get lost.

use std::collections::{BTreeMap, VecDeque};

use replicamq_quorum::{Epoch, EpochRecord, Event, Keeper, Member, Position};

use crate::disk::Filled;
use crate::plan::Fault;
use crate::world::{Happening, World};

/// States from which it can be set back.
const BACKUPS_MAX: usize = 64;

/// A session, and the member znode that dies with it.
#[derive(Debug, Clone)]
struct Session {
    node: usize,
    rank: i64,
    durable: Position,
    /// Since when ZooKeeper has heard nothing.
    silent_since_us: Option<u64>,
}

/// What ZooKeeper holds.
#[derive(Debug, Default)]
pub struct KeeperService {
    sessions: BTreeMap<u64, Session>,
    epoch: EpochRecord,
    next_session: u64,
    next_rank: i64,
    /// The store that each node with a place registered with; 0 for one that is to be filled.
    stores: BTreeMap<usize, u64>,
    /// Nodes that do not reach it. Counted, as cuts overlap.
    cut: Vec<u32>,
    /// What it held before, oldest first.
    backups: VecDeque<Backup>,
}

/// What a snapshot of `ZooKeeper` holds.
#[derive(Debug, Clone)]
struct Backup {
    members: Vec<Session>,
    epoch: EpochRecord,
    next_rank: i64,
    stores: BTreeMap<usize, u64>,
}

/// A process's end of its session.
#[derive(Debug, Default)]
pub struct KeeperClient {
    session: Option<u64>,
    connected: bool,
    /// Reads sent off, and the last whose answer came: an older answer is dropped.
    reads: u64,
    answered: u64,
}

impl KeeperService {
    /// Empty, reached by all.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            cut: vec![0; nodes],
            ..Self::default()
        }
    }

    /// The last claimed epoch.
    pub fn epoch(&self) -> &EpochRecord {
        &self.epoch
    }

    fn reaches(&self, node: usize) -> bool {
        self.cut[node] == 0
    }

    fn back_up(&mut self) {
        if self.backups.len() == BACKUPS_MAX {
            self.backups.pop_front();
        }
        self.backups.push_back(Backup {
            members: self.sessions.values().cloned().collect(),
            epoch: self.epoch.clone(),
            next_rank: self.next_rank,
            stores: self.stores.clone(),
        });
    }
}

impl World {
    /// A process looks for ZooKeeper, until it finds it.
    pub fn keeper_connect(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        let paused = self.nodes[node].paused();
        if paused || !self.keeper.reaches(node) {
            let at = self.random.between((20_000, 200_000));
            self.after(at, Happening::KeeperConnect { node, life });
            return;
        }
        let client = &mut self.nodes[node].process_mut().keeper;
        if client.connected {
            return;
        }
        if !self.nodes[node].place {
            let name = &self.nodes[node].name;
            self.trace
                .line(self.now_us, || format!("{name} is told that it is out"));
            self.end_process(node, false);
            return;
        }
        let client = &mut self.nodes[node].process_mut().keeper;
        client.connected = true;
        let old = client.session;
        if let Some(session) = old.and_then(|id| self.keeper.sessions.get_mut(&id)) {
            session.silent_since_us = None;
        } else {
            self.register(node);
        }
        self.keeper_read(node, life);
    }

    fn register(&mut self, node: usize) {
        let id = self.keeper.next_session;
        self.keeper.next_session += 1;
        let rank = self.keeper.next_rank;
        self.keeper.next_rank += 1;
        let session = Session {
            node,
            rank,
            durable: self.nodes[node].disk.durable.log.last(),
            silent_since_us: None,
        };
        self.keeper.sessions.insert(id, session);
        self.nodes[node].process_mut().keeper.session = Some(id);
        let ours = self.nodes[node].disk.store_id;
        let known = *self.keeper.stores.entry(node).or_insert(ours);
        if known != ours && self.nodes[node].disk.filled() != Filled::Filling {
            let noted = self.nodes[node].disk.set_filled(Filled::No);
            if self.done(node, noted).is_none() {
                return;
            }
            self.deliver(node, Event::Unfilled);
        }
        self.keeper_changed();
    }

    /// The node's store is whole: ZooKeeper learns its name.
    pub fn store_filled(&mut self, node: usize, fillings: u64) {
        if !self.nodes[node].place {
            return;
        }
        if self.nodes[node].disk.fillings == fillings {
            let noted = self.nodes[node].disk.set_filled(Filled::Yes);
            if self.done(node, noted).is_none() {
                return;
            }
            let disk = &mut self.nodes[node].disk;
            disk.lost = false;
            self.keeper.stores.insert(node, disk.store_id);
            self.newcomer_filled(node);
        }
    }

    /// Whether ZooKeeper takes a node for alive.
    pub(crate) fn has_session(&self, node: usize) -> bool {
        let mut sessions = self.keeper.sessions.values();
        sessions.any(|session| session.node == node)
    }

    /// The place of one node goes to another, which is yet to be filled.
    pub(crate) fn move_place(&mut self, old: usize, new: usize) {
        self.keeper.stores.remove(&old);
        self.keeper.stores.insert(new, 0);
        self.keeper_changed();
    }

    /// `ZooKeeper` starts again with nothing: every session is unknown, every place is free.
    pub(crate) fn forget_keeper(&mut self) {
        let ids: Vec<u64> = self.keeper.sessions.keys().copied().collect();
        for id in ids {
            self.forget_session(id);
        }
        self.keeper.epoch = EpochRecord::default();
        self.keeper.next_rank = 0;
        self.keeper.stores.clear();
    }

    /// `ZooKeeper` starts again with what it held at some time before. No session goes on: a
    /// client has seen what this server has not. Members of that time are there until their
    /// sessions expire. With an epoch: to what it held right before the claim of that one.
    pub(crate) fn set_keeper_back(&mut self, before: Option<Epoch>) -> bool {
        let mut backups = self.keeper.backups.iter();
        let found = match before {
            Some(epoch) => backups.rev().find(|backup| backup.epoch.epoch < epoch),
            None if backups.len() == 0 => None,
            None => backups.nth(self.random.index(self.keeper.backups.len())),
        };
        let Some(backup) = found.cloned() else {
            return false;
        };
        let ids: Vec<u64> = self.keeper.sessions.keys().copied().collect();
        for id in ids {
            self.forget_session(id);
        }
        let since_us = self.now_us;
        for member in backup.members {
            let id = self.keeper.next_session;
            self.keeper.next_session += 1;
            let ghost = Session {
                silent_since_us: Some(since_us),
                ..member
            };
            self.keeper.sessions.insert(id, ghost);
            let at = self.plan.session_us;
            let session = id;
            self.after(at, Happening::SessionExpires { session, since_us });
        }
        self.keeper.epoch = backup.epoch;
        self.keeper.next_rank = backup.next_rank;
        self.keeper.stores = backup.stores;
        self.keeper_changed();
        true
    }

    /// Everybody who watches reads again.
    fn keeper_changed(&mut self) {
        if self.plan.faults.contains(&Fault::KeeperRestore) {
            self.keeper.back_up();
        }
        for node in 0..self.nodes.len() {
            if let Some(life) = self.life(node) {
                let at = self.plan.keeper.draw(&mut self.random);
                self.after(at, Happening::KeeperRead { node, life });
            }
        }
    }

    /// A read reaches ZooKeeper; its answer travels for a while.
    pub fn keeper_read(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) || !self.keeper.reaches(node) {
            return;
        }
        if !self.nodes[node].process_mut().keeper.connected {
            return;
        }
        let mut members: Vec<Member> = self
            .keeper
            .sessions
            .values()
            .map(|session| Member {
                node: self.nodes[session.node].name.clone(),
                rank: session.rank,
                weight: self.nodes[session.node].weight,
                durable: session.durable,
            })
            .collect();
        self.random.shuffle(&mut members);
        let event = Event::Keeper(Keeper {
            members,
            voters: self
                .keeper
                .stores
                .keys()
                .map(|&node| self.nodes[node].name.clone())
                .collect(),
            epoch: self.keeper.epoch.clone(),
        });
        let client = &mut self.nodes[node].process_mut().keeper;
        client.reads += 1;
        let read = client.reads;
        let at = self.plan.keeper.draw(&mut self.random);
        self.after(
            at,
            Happening::KeeperSays {
                node,
                life,
                read,
                event,
            },
        );
    }

    /// An answer of ZooKeeper arrives.
    pub fn keeper_says(&mut self, (node, life): (usize, u64), read: u64, event: Event) {
        if self.life(node) != Some(life) || !self.keeper.reaches(node) {
            return;
        }
        let client = &mut self.nodes[node].process_mut().keeper;
        if !client.connected || read < client.answered {
            return;
        }
        client.answered = read;
        self.deliver(node, event);
    }

    /// A node stops or starts to reach ZooKeeper.
    pub fn set_keeper_cut(&mut self, node: usize, cut: bool) {
        let count = &mut self.keeper.cut[node];
        if cut {
            *count += 1;
            self.keeper_silent(node);
            if let Some(life) = self.life(node) {
                let at = self.random.between((0, 1_000_000));
                self.after(at, Happening::KeeperLost { node, life });
            }
        } else {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.keeper_heard(node);
            }
        }
    }

    /// ZooKeeper is reached by all.
    pub fn heal_keeper(&mut self) {
        for node in 0..self.nodes.len() {
            self.keeper.cut[node] = 0;
            self.keeper_heard(node);
        }
    }

    /// ZooKeeper hears nothing of a node from now on: cut, stopped or dead.
    pub fn keeper_silent(&mut self, node: usize) {
        let now_us = self.now_us;
        let mut silent = Vec::new();
        for (&id, session) in &mut self.keeper.sessions {
            if session.node == node && session.silent_since_us.is_none() {
                session.silent_since_us = Some(now_us);
                silent.push(id);
            }
        }
        let session_us = self.plan.session_us;
        for session in silent {
            let since_us = now_us;
            self.after(session_us, Happening::SessionExpires { session, since_us });
        }
    }

    /// A node that goes on is heard again, if it was still connected.
    pub fn keeper_heard(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let life = process.life;
        if self.nodes[node].paused() || !self.keeper.reaches(node) {
            return;
        }
        let id = process.keeper.session;
        let session = id.and_then(|id| self.keeper.sessions.get_mut(&id));
        match session {
            Some(session) if process.keeper.connected => {
                session.silent_since_us = None;
                self.keeper_read(node, life);
            }
            Some(_) => {}
            None => self.keeper_lost(node, life),
        }
    }

    /// The process notices that its connection is gone.
    pub fn keeper_lost(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        let process = self.nodes[node].process_mut();
        let gone = process
            .keeper
            .session
            .is_none_or(|id| !self.keeper.sessions.contains_key(&id));
        if !process.keeper.connected || (self.keeper.reaches(node) && !gone) {
            return;
        }
        process.keeper.connected = false;
        self.deliver(node, Event::KeeperLost);
        let at = self.random.between((1_000, 200_000));
        self.after(at, Happening::KeeperConnect { node, life });
    }

    /// Silence lasted long enough, or ZooKeeper just forgets.
    pub fn session_expires(&mut self, id: u64, since_us: u64) {
        let silent = self.keeper.sessions.get(&id);
        if silent.is_none_or(|session| session.silent_since_us != Some(since_us)) {
            return;
        }
        self.forget_session(id);
    }

    fn forget_session(&mut self, id: u64) {
        let Some(session) = self.keeper.sessions.remove(&id) else {
            return;
        };
        self.keeper_changed();
        if let Some(life) = self.life(session.node) {
            let node = session.node;
            let at = self.plan.keeper.draw(&mut self.random);
            self.after(at, Happening::KeeperLost { node, life });
        }
    }

    /// ZooKeeper forgets a session that lives.
    pub fn expire_any_session(&mut self) -> bool {
        let ids: Vec<u64> = self.keeper.sessions.keys().copied().collect();
        if !ids.is_empty() {
            let id = self.random.pick(&ids);
            self.forget_session(id);
        }
        !ids.is_empty()
    }

    /// A process writes the epoch.
    pub fn claim(&mut self, node: usize, epoch: Epoch, version: i32) {
        let process = self.nodes[node].process_mut();
        let life = process.life;
        let connected = process.keeper.connected;
        let claim = Claim {
            node,
            life,
            session: process.keeper.session.unwrap_or_default(),
            epoch,
            version,
        };
        if connected {
            let at = self.plan.keeper.draw(&mut self.random);
            self.after(at, Happening::Claim(claim));
        } else {
            let at = self.random.between((100, 2_000));
            self.after(at, Happening::ClaimReread(claim));
        }
    }

    /// The write reaches ZooKeeper, even if its writer is dead by now.
    pub fn claim_arrives(&mut self, claim: Claim) {
        let Claim {
            node,
            session,
            epoch,
            version,
            ..
        } = claim;
        let back = self.plan.keeper.draw(&mut self.random);
        if !self.keeper.reaches(node) || !self.keeper.sessions.contains_key(&session) {
            self.after(back, Happening::ClaimReread(claim));
            return;
        }
        let won = self.keeper.epoch.version == version;
        if won {
            self.checkers.claimed(self.keeper.epoch.epoch, epoch);
            self.keeper.epoch = EpochRecord {
                epoch,
                master: Some(self.nodes[node].name.clone()),
                version: version + 1,
            };
            self.keeper_changed();
            self.set_claim_trap(node, epoch);
        }
        if self.random.chance(self.plan.claim_answer_loss_ppm) {
            self.after(back, Happening::ClaimReread(claim));
            return;
        }
        self.after(back, Happening::ClaimAnswered { claim, won });
    }

    /// The answer arrives, and after a failure everything is read again.
    pub fn claim_answered(&mut self, claim: Claim, won: bool) {
        let Claim {
            node, life, epoch, ..
        } = claim;
        if self.life(node) != Some(life) {
            return;
        }
        let connected = self.nodes[node].process_mut().keeper.connected;
        if !connected || !self.keeper.reaches(node) {
            let at = self.random.between((20_000, 300_000));
            self.after(at, Happening::ClaimReread(claim));
            return;
        }
        self.deliver(node, Event::Claimed { epoch, won });
        if !won {
            let at = self.plan.keeper.draw(&mut self.random);
            self.after(at, Happening::KeeperRead { node, life });
        }
    }

    /// The answer got lost: the process reads who holds the epoch now.
    pub fn claim_reread(&mut self, claim: Claim) {
        let Claim {
            node, life, epoch, ..
        } = claim;
        if self.life(node) != Some(life) {
            return;
        }
        let connected = self.nodes[node].process_mut().keeper.connected;
        if !self.keeper.reaches(node) || !connected || self.nodes[node].paused() {
            let at = self.random.between((20_000, 300_000));
            self.after(at, Happening::ClaimReread(claim));
            return;
        }
        let record = &self.keeper.epoch;
        let ours = record.master.as_ref() == Some(&self.nodes[node].name);
        let won = record.epoch == epoch && ours;
        let back = self.plan.keeper.draw(&mut self.random);
        self.after(back, Happening::ClaimAnswered { claim, won });
    }
}

/// A versioned write of the epoch, on its way.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    node: usize,
    life: u64,
    session: u64,
    epoch: Epoch,
    version: i32,
}
