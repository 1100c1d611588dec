//! What rots under a running node, and who meets it: the scrub, or whoever reads there first.
//!
//! Whether a node may then give up its copy is the shipped rule. A store that rots is taken for
//! lost from the first bit on, so that a quorum of whole ones remains.

use replicamq_quorum::Role;

use crate::disk::Filled;
use crate::node::Node;
use crate::world::{Happening, Phase, World};

/// Between the flip of a bit and the scrub that meets it.
const MET_US: (u64, u64) = (0, 3_000_000);
/// Between two scrubs of what is rotten.
const SCRUB_EVERY_US: (u64, u64) = (100_000, 600_000);
/// From where damage is met to the end of the life in which it was.
const TOLD_US: (u64, u64) = (0, 5_000);

impl World {
    /// A bit flips in the log or in the store of a node that runs. Nobody knows.
    pub fn rot(&mut self) -> bool {
        let nodes = 0..self.nodes.len();
        let whole: Vec<usize> = nodes
            .filter(|&node| {
                let machine = &self.nodes[node];
                let counts = machine.disk.is_whole() && machine.disk.filled() == Filled::Yes;
                counts && machine.process.is_some() && self.bears_loss_of(node)
            })
            .collect();
        if whole.is_empty() {
            return false;
        }
        let node = self.random.pick(&whole);
        let Some(what) = self.nodes[node].disk.decay(&mut self.random) else {
            return false;
        };
        let name = &self.nodes[node].name;
        self.trace.line(self.now_us, || format!("{name}: {what}"));
        let at = self.random.between(MET_US);
        self.after(at, Happening::Scrub { node });
        true
    }

    /// A scrub reads everything, if a process is there for that, and goes on until all is whole.
    pub fn scrub(&mut self, node: usize) {
        if !self.nodes[node].disk.is_rotten() || self.phase == Phase::Done {
            return;
        }
        let at = self.random.between(SCRUB_EVERY_US);
        self.after(at, Happening::Scrub { node });
        if scrubs(&self.nodes[node])
            && let Err(trouble) = self.nodes[node].disk.scrub()
        {
            self.scrub_finds(node, &trouble.to_string());
        }
    }

    /// As the server takes it.
    fn scrub_finds(&mut self, node: usize, what: &str) {
        let process = self.nodes[node].process.as_ref();
        if process.is_some_and(|process| process.quorum().is_dispensable()) {
            self.notes_damage(node, what);
            if let Some(life) = self.life(node) {
                self.damaged(node, life);
            }
        } else {
            let name = &self.nodes[node].name;
            self.trace.line(self.now_us, || {
                format!("{name} goes on with what is rotten: {what}")
            });
        }
    }

    /// The scrub cannot read a sector, this once. A master may meet that also when no quorum
    /// of whole stores would be left without it: then it must not give up its copy.
    pub fn unreadable(&mut self, node: usize) -> bool {
        let leads = self.nodes[node]
            .process
            .as_ref()
            .is_some_and(|process| matches!(process.quorum().role(), Role::Master { .. }));
        let bears = if leads {
            self.knows_losses(node)
        } else {
            self.bears_loss_of(node)
        };
        let met = bears && scrubs(&self.nodes[node]) && self.nodes[node].disk.is_whole();
        if met {
            self.scrub_finds(node, "a sector cannot be read");
        }
        met
    }

    /// Whether nothing is rotten unnoticed, and what this master knows of a replica that lost
    /// its store is from after that. Who is filled, but not yet for `ZooKeeper`, may be lost again.
    fn knows_losses(&self, master: usize) -> bool {
        let Some(process) = &self.nodes[master].process else {
            return false;
        };
        let known = process.quorum().replicas();
        let mut nodes = self.nodes.iter().enumerate();
        nodes.all(|(node, machine)| {
            let follows = known.iter().any(|one| one.node == machine.name);
            let downstream = process.downstreams.get(&node).map(|&id| (id, master));
            let is_new = machine.process.as_ref().is_some_and(|process| {
                let joined = downstream.is_some() && downstream == process.upstream;
                joined && !process.quorum().is_filled()
            });
            !machine.disk.is_rotten() && (!machine.disk.lost || !follows || is_new)
        })
    }

    /// A read found damage. Where nothing is rotten, that must not be.
    pub fn meets_damage(&mut self, node: usize, what: &str) {
        if !self.nodes[node].disk.is_rotten() {
            self.checkers.fail("disk", what);
            return;
        }
        self.notes_damage(node, what);
        if let Some(life) = self.life(node) {
            let at = self.random.between(TOLD_US);
            self.after(at, Happening::Damaged { node, life });
        }
    }

    fn notes_damage(&mut self, node: usize, what: &str) {
        let machine = &mut self.nodes[node];
        machine.disk.note_damage();
        let name = &machine.name;
        self.trace
            .line(self.now_us, || format!("{name} meets damage: {what}"));
    }

    /// The life in which damage was met ends, though not the process: the store is opened again.
    pub fn damaged(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        if self.nodes[node].paused() {
            let at = self.random.between(TOLD_US) + 1_000;
            self.after(at, Happening::Damaged { node, life });
            return;
        }
        self.orphan(node);
        self.silent = false;
        self.end_process(node, false);
        let at = self.random.between((1_000, 200_000));
        self.after(at, Happening::Start { node });
    }

    /// The thread that applies met damage: it does nothing more.
    pub(crate) fn applier_ends(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.applier.busy = true;
        }
    }
}

/// Whether the scrub of a node reads now: what has yet to be filled is not relied on by anybody.
fn scrubs(node: &Node) -> bool {
    let lives = node.process.is_some() && !node.paused();
    lives && node.disk.filled() == Filled::Yes
}
