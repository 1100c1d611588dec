//! Sequences of faults that chance alone would hardly find: what a wiped node
//! forgot is used against the others before it is whole again.

use replicamq_quorum::Epoch;

use crate::node::Node;
use crate::plan::Fault;
use crate::world::{Happening, Phase, World};

/// Claims that `ZooKeeper` loses, in a million.
const CLAIM_TRAPS_PPM: u32 = 300_000;

/// The steps of a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// A replica that alone holds what its master holds is wiped.
    WipeOnlyCopy {
        /// Which.
        node: usize,
        /// Its master, which may have to start again, too.
        master: usize,
    },
    /// A node that won while the last master was stopped is wiped, and meets that one alone.
    WipeSuccessor {
        /// The stopped one.
        old: usize,
    },
    /// `ZooKeeper` is set back to before a claim.
    Unclaim {
        /// Of this epoch.
        epoch: Epoch,
    },
    /// The master dies; this is its process.
    Kill {
        /// Where.
        node: usize,
        /// Which process.
        life: u64,
    },
}

impl World {
    /// A master and some replicas alone go on. One of these is wiped, and the
    /// master may have to start again from what its store has flushed. Once the
    /// wiped one has its checkpoint, the master dies: the others must not be
    /// led without what only those two had.
    pub fn set_fill_trap(&mut self) -> bool {
        let Some(master) = self.master() else {
            return false;
        };
        let mut others: Vec<usize> = (0..self.nodes.len()).filter(|&n| n != master).collect();
        self.random.shuffle(&mut others);
        let alone = self.random.between((50_000, 500_000));
        let kept = self.nodes.len() / 2;
        for &other in others.iter().skip(kept) {
            self.cut_both(other, master, alone);
        }
        if let Some(&node) = others.first() {
            self.after(alone, Happening::Trap(Trap::WipeOnlyCopy { node, master }));
        }
        true
    }

    /// A master stops; the others elect another, which is wiped and then meets
    /// only the stopped one, that goes on: what it promised must still bind it.
    pub fn set_fence_trap(&mut self) -> bool {
        let Some(old) = self.master() else {
            return false;
        };
        let stopped = self.random.between((250_000, 750_000));
        self.pause(old, stopped);
        self.cut_keeper(old, 3_000_000);
        for other in 0..self.nodes.len() {
            if other != old {
                self.close_downstream(old, other);
                self.cut_both(old, other, stopped / 2);
            }
        }
        let at = self.random.between((60_000, 250_000));
        self.after(at, Happening::Trap(Trap::WipeSuccessor { old }));
        true
    }

    /// An epoch was claimed: `ZooKeeper` may lose just that, and a node that has not heard of it
    /// claims the same once more. Who promised it to the first must not promise it to the second.
    pub fn set_claim_trap(&mut self, node: usize, epoch: Epoch) {
        let restores = self.plan.faults.contains(&Fault::KeeperRestore);
        if !restores || self.phase != Phase::Faulty || !self.random.chance(CLAIM_TRAPS_PPM) {
            return;
        }
        let other = self.random.index(self.nodes.len());
        if other != node {
            self.cut_both(node, other, 1_000_000);
        }
        let at = self.random.between((100, 20_000));
        self.after(at, Happening::Trap(Trap::Unclaim { epoch }));
    }

    /// The next step of a trap.
    pub fn trap(&mut self, trap: Trap) {
        if self.phase != Phase::Faulty {
            return;
        }
        self.trace.line(self.now_us, || format!("trap {trap:?}"));
        match trap {
            Trap::WipeOnlyCopy { node, master } => {
                if self.wipe(node, (500, 20_000)) {
                    self.trapped = Some((node, master));
                    if self.random.chance(600_000) {
                        self.crash_for(master, false, (5_000, 60_000));
                    }
                }
            }
            Trap::WipeSuccessor { old } => {
                let new =
                    (0..self.nodes.len()).find(|&node| node != old && leads(&self.nodes[node]));
                let Some(new) = new.filter(|&new| self.wipe(new, (500, 20_000))) else {
                    return;
                };
                for other in 0..self.nodes.len() {
                    if other != old && other != new {
                        self.cut_both(new, other, 2_000_000);
                        self.cut_both(old, other, 2_000_000);
                    }
                }
            }
            Trap::Unclaim { epoch } => {
                if self.restore_keeper(Some(epoch)) {
                    self.count(Fault::KeeperRestore);
                }
            }
            Trap::Kill { node, life } => {
                if self.life(node) == Some(life) {
                    let power = self.plan.faults.contains(&Fault::PowerLoss);
                    self.crash(node, power);
                }
            }
        }
    }

    /// A node was elected: if a trap waits for it, only the wiped one may hear it.
    pub fn isolate(&mut self, elected: usize) {
        if let Some((wiped, master)) = self.trapped
            && master == elected
        {
            for other in 0..self.nodes.len() {
                if other != elected && other != wiped {
                    self.cut_both(elected, other, 700_000);
                }
            }
        }
    }

    /// A checkpoint is in place: a trap may have waited for it.
    pub fn spring(&mut self, node: usize, (from, life): (usize, u64)) {
        if self.trapped == Some((node, from)) {
            self.trapped = None;
            let at = self.random.between((100, 150_000));
            self.after(at, Happening::Trap(Trap::Kill { node: from, life }));
        }
    }

    fn cut_both(&mut self, one: usize, other: usize, lasts: u64) {
        self.cut(one, other, lasts);
        self.cut(other, one, lasts);
    }
}

fn leads(node: &Node) -> bool {
    use replicamq_quorum::Role;
    node.process.as_ref().is_some_and(|process| {
        matches!(
            process.quorum().role(),
            Role::Rising { .. } | Role::Master { .. }
        )
    })
}
