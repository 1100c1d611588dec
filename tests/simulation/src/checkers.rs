//! What must hold after every step, one file each.

mod acknowledged;
mod committed_once;
mod contents;
mod copies;
mod cursors;
mod lease;
pub mod ledger;
mod matching;
mod one_master;
mod promises;

use replicamq_core::{Delivery, Receipt};
use replicamq_quorum::{Entry, Epoch, Hello, Message, NodeId, Position, Role, Sequence, SyncMode};

use crate::node::{Node, Process};
use ledger::{Feed, Ledger};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Who noticed.
    pub checker: &'static str,
    /// What.
    pub text: String,
}

/// A checker's answer.
type Verdict = Result<(), Violation>;

fn violation(checker: &'static str, text: String) -> Verdict {
    Err(Violation { checker, text })
}

/// All of them. The first violation stays.
#[derive(Debug)]
pub struct Checkers {
    violation: Option<Violation>,
    committed_once: committed_once::CommittedOnce,
    matching: matching::Matching,
    one_master: one_master::OneMaster,
    acknowledged: acknowledged::Acknowledged,
    promises: promises::Promises,
    cursors: cursors::Cursors,
    /// What clients asked and were told.
    pub ledger: Ledger,
}

impl Checkers {
    /// For so many nodes and durable subscriptions, where a failover may lose something or not.
    #[must_use]
    pub fn new(nodes: usize, durables: usize, may_part: bool) -> Self {
        Self {
            violation: None,
            committed_once: committed_once::CommittedOnce::new(nodes, may_part),
            matching: matching::Matching::default(),
            one_master: one_master::OneMaster::default(),
            acknowledged: acknowledged::Acknowledged::default(),
            promises: promises::Promises::new(nodes),
            cursors: cursors::Cursors::new(nodes),
            ledger: Ledger::new(durables),
        }
    }

    /// The first violation.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Whether a failover has lost what it may: what clients were told does not hold any more.
    pub fn has_parted(&self) -> bool {
        self.committed_once.has_parted()
    }

    /// Something else that must not be.
    pub fn fail(&mut self, checker: &'static str, text: &str) {
        self.note(violation(checker, text.to_owned()));
    }

    fn note(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict
            && self.violation.is_none()
        {
            self.violation = Some(violation);
        }
    }

    /// A process started.
    pub fn started(&mut self, node: usize, machine: &Node) {
        let applied = machine.disk.store.applied();
        self.committed_once.started(node, applied);
        self.cursors.started(node);
        let verdict = self.promises.on_disk(node, machine);
        self.note(verdict);
    }

    /// A process ended.
    pub fn ended(&mut self, node: usize, machine: &Node) {
        let verdict = self.promises.on_disk(node, machine);
        self.note(verdict);
    }

    /// A disk was emptied: what it promised is forgotten.
    pub fn wiped(&mut self, node: usize) {
        self.promises.wiped(node);
    }

    /// A node adds to its log.
    pub fn appends(&mut self, node: usize, machine: &Node, entries: &[Entry]) {
        let verdict = self.matching.appends(machine, entries);
        self.note(verdict);
        let verdict = self.promises.appends(node, machine, entries);
        self.note(verdict);
    }

    /// A node cuts its log.
    pub fn truncates(&mut self, node: usize, keep: Position) {
        let verdict = self.committed_once.truncates(node, keep);
        self.note(verdict);
    }

    /// A node sends.
    pub fn sends(&mut self, from: usize, to: usize, machine: &Node, message: &Message) {
        let moot =
            matches!(message, Message::PromiseAnswer(answer) if self.one_master.had(answer.epoch));
        let verdict = self.promises.sends((from, to), machine, message, moot);
        self.note(verdict);
        if let Message::Entries(entries) = message {
            // It may die before anybody hears of its role.
            let verdict = self.one_master.rises(from, machine, entries.epoch);
            self.note(verdict);
        }
        if let Message::Appended(appended) = message {
            let verdict = copies::told(machine, appended);
            self.note(verdict);
        }
    }

    /// A node follows a master.
    pub fn follows(&mut self, node: usize, machine: &Node, hello: &Hello) {
        let verdict = self.promises.follows(node, machine, hello.epoch);
        self.note(verdict);
    }

    /// A node's role changed.
    pub fn role(&mut self, nodes: &[Node], node: usize, role: &Role) {
        let machine = &nodes[node];
        let (Role::Rising { epoch } | Role::Master { epoch }) = role else {
            return;
        };
        let verdict = self.one_master.rises(node, machine, *epoch);
        self.note(verdict);
        let verdict = promises::Promises::elects(nodes, machine, *epoch);
        self.note(verdict);
        if matches!(role, Role::Rising { .. }) {
            let verdict = self.committed_once.elected(nodes, machine, *epoch);
            self.note(verdict);
        }
        if matches!(role, Role::Master { .. }) && !self.has_parted() {
            let verdict = self.acknowledged.serves(machine, Some(*epoch));
            self.note(verdict);
        }
    }

    /// An epoch was claimed.
    pub fn claimed(&mut self, before: Epoch, epoch: Epoch) {
        if epoch <= before {
            self.fail(
                "claims",
                &format!("epoch {epoch} was claimed after {before}"),
            );
        }
    }

    /// A node says that everything up to here is committed.
    pub fn commits(&mut self, nodes: &[Node], node: usize, sequence: Sequence, sync: SyncMode) {
        let machine = &nodes[node];
        let before = self.committed_once.last();
        let verdict = self.committed_once.commits(node, machine, sequence);
        self.note(verdict);
        let told = if self.has_parted() {
            self.committed_once.last()
        } else {
            before
        };
        for sequence in (told.0 + 1..=self.committed_once.last().0).map(Sequence) {
            let ops = self.committed_once.ops(sequence);
            let verdict = self.ledger.committed(sequence, ops);
            self.note(verdict);
        }
        let verdict = copies::commits(nodes, machine, sequence, sync);
        self.note(verdict);
    }

    /// A node's store takes entries.
    pub fn applies(&mut self, node: usize, machine: &mut Node, entries: &[Entry]) {
        let verdict = self.committed_once.applies(node, machine, entries);
        self.note(verdict);
    }

    /// A checkpoint is in place.
    pub fn installed(&mut self, machine: &Node) {
        let verdict = self.committed_once.installed(machine);
        self.note(verdict);
    }

    /// A client is answered.
    pub fn receipted(&mut self, nodes: &[Node], node: usize, receipt: Receipt) {
        let Some(epoch) = self.port_of(&nodes[node]) else {
            return;
        };
        if self.has_parted() {
            return;
        }
        let committed = self.committed_once.known(node);
        let last = self.committed_once.last();
        let verdict = self.acknowledged.answered(nodes, node, committed, last);
        self.note(verdict);
        let verdict = self.ledger.receipted(epoch, committed, receipt);
        self.note(verdict);
    }

    /// A client is handed a message.
    pub fn delivered(
        &mut self,
        (node, machine): (usize, &Node),
        feed: Option<Feed>,
        delivery: &Delivery,
    ) {
        let Some(epoch) = self.port_of(machine) else {
            return;
        };
        let committed = self.committed_once.known(node);
        if let Some(feed) = feed
            && !self.has_parted()
        {
            let verdict = self.ledger.delivered(epoch, committed, feed, delivery);
            self.note(verdict);
        }
    }

    /// The epoch of a node that speaks to clients.
    fn port_of(&mut self, machine: &Node) -> Option<Epoch> {
        let serves = machine.process.as_ref()?.serves;
        if serves.is_none() {
            let text = format!("{} speaks to clients behind a closed port", machine.name);
            self.fail("serving", &text);
        }
        serves
    }

    /// A process took an event: where clients are to hear of it, it holds a lease.
    pub fn leased(&mut self, name: &NodeId, process: &Process, speaks: bool, now_ms: u64) {
        let quorum = process.quorum();
        let leads = matches!(quorum.role(), Role::Master { .. });
        if speaks && leads && !quorum.lease_held(now_ms) {
            self.fail(
                "lease",
                &format!("{name} speaks to clients without a lease"),
            );
        }
    }

    /// A step is done.
    pub fn stepped(&mut self, node: usize, machine: &Node, sync: SyncMode) {
        let verdict = self.cursors.stepped(node, machine, sync);
        self.note(verdict);
    }

    /// In a cluster where death is noticed by silence alone: who holds a lease now.
    pub fn leases(&mut self, nodes: &[Node], now_us: u64) {
        let verdict = lease::exclusive(nodes, now_us);
        self.note(verdict);
    }

    /// The run is over.
    pub fn ends(&mut self, nodes: &[Node]) {
        if !self.has_parted() {
            let verdict = self.ledger.ends();
            self.note(verdict);
        }
        let pairs = self.committed_once.pairs();
        for node in nodes {
            let verdict = self.committed_once.ends(node, &pairs);
            self.note(verdict);
            // Whoever lost its place, or never had one, holds what it held then.
            if node.place && !self.has_parted() {
                let verdict = self.acknowledged.serves(node, None);
                self.note(verdict);
            }
        }
    }
}
