//! Why there is no master, as one node sees it: for operators. Nothing is decided by it.

use std::collections::BTreeSet;

use crate::quorum::State;
use crate::{NodeId, Quorum, majority};

/// What a node says that would vote if its store were whole.
pub const UNFILLED: &str = "this node's store is not filled yet";

/// What a node that neither leads nor hears a master knows of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// How many nodes the cluster has.
    pub replicas: usize,
    /// How many of them make a quorum.
    pub needed: usize,
    /// Whether `ZooKeeper` can be reached.
    pub keeper: bool,
    /// Would promise; this node among them if it would.
    pub willing: Vec<NodeId>,
    /// Would not, with what each says of itself.
    pub unwilling: Vec<(NodeId, String)>,
    /// In `ZooKeeper`, but without an answer to this node.
    pub silent: Vec<NodeId>,
    /// Not in `ZooKeeper`.
    pub absent: Vec<NodeId>,
    /// Places that no node has taken yet.
    pub vacant: usize,
}

impl Quorum {
    /// Why there is no master; `None` if this node is it, or hears one.
    #[must_use]
    pub fn outlook(&self) -> Option<Outlook> {
        if self.heard_master().is_some() {
            return None;
        }
        let replicas = self.config.replicas;
        let mut outlook = Outlook {
            replicas,
            needed: majority(replicas),
            keeper: self.keeper.is_some(),
            willing: Vec::new(),
            unwilling: Vec::new(),
            silent: Vec::new(),
            absent: Vec::new(),
            vacant: 0,
        };
        let own = self.config.node.clone();
        match self.unfit() {
            Some(reason) => outlook.unwilling.push((own.clone(), reason)),
            None => outlook.willing.push(own.clone()),
        }
        let present: BTreeSet<&NodeId> = self
            .keeper
            .iter()
            .flat_map(|keeper| &keeper.members)
            .map(|member| &member.node)
            .collect();
        if let Some(voters) = &self.voters {
            outlook.vacant = replicas.saturating_sub(voters.len());
        }
        let voters = self.voters.iter().flatten();
        for node in voters.filter(|node| **node != own) {
            match self.word_of(node) {
                Some(Ok(())) => outlook.willing.push(node.clone()),
                Some(Err(reason)) => outlook.unwilling.push((node.clone(), reason)),
                None if present.contains(node) || self.keeper.is_none() => {
                    outlook.silent.push(node.clone());
                }
                None => outlook.absent.push(node.clone()),
            }
        }
        Some(outlook)
    }

    /// Why this node would not vote itself.
    fn unfit(&self) -> Option<String> {
        if !self.is_filled() {
            Some(UNFILLED.to_owned())
        } else if self.unproven {
            Some("this node has not read ZooKeeper yet".to_owned())
        } else {
            self.disk_stalled()
        }
    }

    /// What a node said last, if that is news: that it would promise, or why not.
    fn word_of(&self, node: &NodeId) -> Option<Result<(), String>> {
        match &self.state {
            State::Electing(electing) => electing
                .answers
                .get(node)
                .map(|(_, answer)| answer.unwilling.clone().map_or(Ok(()), Err)),
            State::Candidate(candidate) => candidate
                .heard()
                .any(|heard| heard == node)
                .then_some(Ok(())),
            State::Master(master) => {
                let heard_ms = master.replicas.get(node)?.heard_ms;
                let fresh = self.now_ms < heard_ms + self.config.limits.suspicion_ms;
                fresh.then_some(Ok(()))
            }
            State::Replica(_) => None,
        }
    }
}
