//! Handing the mastership over: nothing is lost, and nobody waits for a timeout.
//!
//! The master takes no more batches, waits until its successor has everything, and tells it
//! to stand. Until the successor's claim fences it, it stays master, so that nobody else
//! stands; should that not come in time, it serves again.

use std::cmp::Reverse;

use crate::candidate::Electing;
use crate::master::Master;
use crate::quorum::State;
use crate::sync::Copy;
use crate::{Effect, Epoch, Keeper, Message, NodeId, Quorum, Role, majority};

/// On its way out.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    to: NodeId,
    until_ms: u64,
    /// The successor has everything, and knows that it is to stand.
    told: bool,
}

/// Why a master stays. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only a master that serves can hand over.
    #[error("this node is not master")]
    NotMaster,
    /// An election needs it.
    #[error("ZooKeeper cannot be reached: no other master could be elected")]
    KeeperLost,
    /// It would hand over to itself.
    #[error("{0} is master already")]
    Already(NodeId),
    /// Whoever was named could not take over now.
    #[error("{0} does not follow this master, or is being filled: see `replicamq status`")]
    NotReady(NodeId),
    /// No replica could.
    #[error("no other node follows this master and is whole: see `replicamq status`")]
    Nobody,
    /// One at a time.
    #[error("this master is handing over to {0} already")]
    UnderWay(NodeId),
}

impl Quorum {
    /// Begins to hand the mastership over, to the node that is furthest on if none is named;
    /// to whom. The role tells when it is done.
    pub fn transfer(
        &mut self,
        to: Option<&NodeId>,
        effects: &mut Vec<Effect>,
    ) -> Result<NodeId, TransferError> {
        let successor = self.successor(to)?;
        let until_ms = self.now_ms + self.config.limits.transfer_ms;
        if let State::Master(master) = &mut self.state {
            master.leaving = Some(Leaving {
                to: successor.clone(),
                until_ms,
                told: false,
            });
        }
        effects.push(Effect::Note(format!(
            "handing the mastership over to {successor}"
        )));
        self.tick_transfer(effects);
        Ok(successor)
    }

    /// To whom [`Quorum::transfer`] would hand over.
    pub fn successor(&self, to: Option<&NodeId>) -> Result<NodeId, TransferError> {
        let (Role::Master { .. }, State::Master(master)) = (self.role(), &self.state) else {
            return Err(TransferError::NotMaster);
        };
        if to == Some(&self.config.node) {
            return Err(TransferError::Already(self.config.node.clone()));
        }
        if let Some(leaving) = &master.leaving {
            return Err(TransferError::UnderWay(leaving.to.clone()));
        }
        let Some(keeper) = &self.keeper else {
            return Err(TransferError::KeeperLost);
        };
        let members = keeper.members.iter();
        let ready = members.filter(|member| self.is_ready(master, &member.node));
        let successor = match to {
            Some(to) => ready
                .clone()
                .find(|member| member.node == *to)
                .ok_or_else(|| TransferError::NotReady(to.clone()))?,
            None => ready
                .max_by_key(|member| {
                    let copy = master.replicas[&member.node].copy(Copy::Memory);
                    (copy, member.weight, Reverse(member.rank))
                })
                .ok_or(TransferError::Nobody)?,
        };
        Ok(successor.node.clone())
    }

    /// It follows, lately said so, and holds a store of its own.
    fn is_ready(&self, master: &Master, node: &NodeId) -> bool {
        let fresh = |heard_ms: u64| self.now_ms < heard_ms + self.config.limits.lease_ms;
        self.is_voter(node)
            && master
                .replicas
                .get(node)
                .is_some_and(|progress| !progress.snapshot && fresh(progress.heard_ms))
    }

    /// Tells the successor once it has everything, and stays if it does not take over.
    pub(crate) fn tick_transfer(&mut self, effects: &mut Vec<Effect>) {
        let State::Master(master) = &mut self.state else {
            return;
        };
        let Some(leaving) = &mut master.leaving else {
            return;
        };
        // A stream that ends after the word was given is the successor's own doing.
        let present = |keeper: &Keeper| keeper.members.iter().any(|one| one.node == leaving.to);
        let gone = if leaving.told {
            self.keeper.as_ref().is_some_and(|keeper| !present(keeper))
        } else {
            !master.replicas.contains_key(&leaving.to)
        };
        if gone || self.now_ms >= leaving.until_ms {
            let why = if gone {
                "is gone"
            } else {
                "did not take over in time"
            };
            effects.push(Effect::Note(format!(
                "{} {why}: this node stays master",
                leaving.to
            )));
            master.leaving = None;
            return;
        }
        let last = self.log.last;
        let level = self.log.committed == last.sequence
            && master
                .replicas
                .get(&leaving.to)
                .is_some_and(|progress| progress.copy(Copy::Memory) == last);
        if level && !leaving.told {
            leaving.told = true;
            effects.push(Effect::Send {
                to: leaving.to.clone(),
                message: Message::Lead {
                    epoch: master.epoch,
                },
            });
        }
    }

    /// Whether this master is on its way out: what it would take now, its successor might lack.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(&self.state, State::Master(master) if master.leaving.is_some())
    }

    /// Whether the others, without this node, hold everything and can elect a master.
    #[must_use]
    pub fn is_dispensable(&self) -> bool {
        let State::Master(master) = &self.state else {
            return true;
        };
        let filled = master.replicas.iter().filter(|(_, one)| one.filled);
        let ready = filled.filter(|(node, _)| self.is_ready(master, node));
        ready.count() >= majority(self.config.replicas)
    }

    /// Whether this node is the one to whom we hand over: to it we are no obstacle.
    pub(crate) fn is_successor(&self, node: &NodeId) -> bool {
        match &self.state {
            State::Master(master) => master
                .leaving
                .as_ref()
                .is_some_and(|leaving| leaving.told && leaving.to == *node),
            State::Electing(_) | State::Candidate(_) | State::Replica(_) => false,
        }
    }

    /// Our master wants us in its place.
    pub(crate) fn succeed(&mut self, from: &NodeId, epoch: Epoch, effects: &mut Vec<Effect>) {
        let able = self.may_promise() && self.own_member().is_some();
        if self.heard_from(from, epoch).is_none() {
            return;
        }
        if !able {
            let why = "this node is being filled, or ZooKeeper cannot be reached";
            let note = format!("{from} would hand the mastership over, but {why}");
            effects.push(Effect::Note(note));
            return;
        }
        self.leave(effects);
        effects.push(Effect::Note(format!("{from} hands the mastership over")));
        self.state = State::Electing(Electing::designated(self.now_ms, from.clone()));
    }
}
