//! What is done to the cluster's place in `ZooKeeper` from outside: a node is replaced by
//! another while it may still live, or everything that lay there is lost.

use replicamq_quorum::{Epoch, majority};

use crate::disk::Disk;
use crate::node::Node;
use crate::plan::Fault;
use crate::world::{Happening, Phase, World};

impl World {
    /// Nodes with a place whose stores are whole, but for this one.
    pub(crate) fn whole_without(&self, node: usize) -> usize {
        let others = self.nodes.iter().enumerate();
        others
            .filter(|(other, machine)| *other != node && machine.place && machine.disk.is_whole())
            .count()
    }

    /// Whether a quorum of whole stores remains without this one.
    pub(crate) fn bears_loss_of(&self, node: usize) -> bool {
        self.nodes[node].place && self.whole_without(node) >= majority(self.plan.replicas)
    }

    /// `ZooKeeper` loses all that it held. No store is lost as well: that would be too much.
    pub fn wipe_keeper(&mut self) -> bool {
        if !self.nodes.iter().all(|node| node.disk.is_whole()) {
            return false;
        }
        self.trace
            .line(self.now_us, || "the keeper forgets everything".to_owned());
        self.silent = false;
        self.forget_keeper();
        true
    }

    /// `ZooKeeper` is set back to what it held before, as from a backup. No store is lost as well.
    pub fn restore_keeper(&mut self, before: Option<Epoch>) -> bool {
        let whole = self.nodes.iter().all(|node| node.disk.is_whole());
        if !whole || !self.set_keeper_back(before) {
            return false;
        }
        let epoch = self.keeper.epoch().epoch;
        self.trace.line(self.now_us, || {
            format!("the keeper is set back to epoch {epoch}")
        });
        self.silent = false;
        true
    }

    /// The master hands over to this node, or to whom it likes; it may refuse.
    pub fn transfer(&mut self, to: usize) -> bool {
        let Some(master) = self.master() else {
            return false;
        };
        let name = (to != master).then(|| self.nodes[to].name.clone());
        let now = self.nodes[master].now(self.now_us);
        let process = self.nodes[master].process_mut();
        let life = process.life;
        let now = now.expect("a master has a process");
        let mut effects = Vec::new();
        let begun = process.node.transfer(name.as_ref(), now, &mut effects);
        if begun.is_ok() {
            self.orphan(master);
        }
        let name = &self.nodes[master].name;
        self.trace
            .line(self.now_us, || format!("{name} is to hand over: {begun:?}"));
        self.carry_out(master, life, &mut effects);
        begun.is_ok()
    }

    /// A node is cut from `ZooKeeper` until its session is over. It may live on, and be heard.
    pub fn plan_replacement(&mut self, node: usize) {
        let spare = self.nodes.last().is_some_and(Node::is_out);
        if !spare || self.replaced || !self.nodes[node].place {
            return;
        }
        self.replaced = true;
        let lasts = self.plan.session_us + self.random.between((500_000, 5_000_000));
        self.cut_keeper(node, lasts);
        let at = self.plan.session_us + self.random.between((10_000, 400_000));
        self.after(at, Happening::Replace { node });
    }

    /// An operator gives its place to a new node, where that is not refused: the old one must
    /// seem dead, and a quorum of the others hold what was committed.
    pub fn replace(&mut self, old: usize) {
        let new = self.nodes.len() - 1;
        let refused =
            self.has_session(old) || self.whole_without(old) < majority(self.plan.replicas);
        if refused || self.phase != Phase::Faulty || self.nodes[new].place {
            self.replaced = false;
            return;
        }
        let (a, b) = (&self.nodes[old].name, &self.nodes[new].name);
        self.trace.line(self.now_us, || format!("{b} replaces {a}"));
        self.silent = false;
        self.count(Fault::Replace);
        let (store_id, seed) = (self.name(), self.random.number());
        self.nodes[old].place = false;
        let newcomer = &mut self.nodes[new];
        newcomer.place = true;
        newcomer.disk = Disk::new(store_id, seed, self.plan.setup());
        newcomer.disk.lost = true;
        self.move_place(old, new);
        let at = self.random.between((1_000, 300_000));
        self.after(at, Happening::Start { node: new });
    }

    /// The newcomer counts from now on. A master that has not dismissed its predecessor would
    /// go on with that one alone.
    pub(crate) fn newcomer_filled(&mut self, new: usize) {
        let Some(master) = self.master().filter(|_| self.phase == Phase::Faulty) else {
            return;
        };
        if !self.replaced || new != self.nodes.len() - 1 || self.random.chance(500_000) {
            return;
        }
        let lasts = self.random.between((100_000, 700_000));
        for other in 0..self.nodes.len() {
            if other != master && self.nodes[other].place {
                self.cut(other, master, lasts);
                self.cut(master, other, lasts);
            }
        }
    }
}
