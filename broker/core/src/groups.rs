//! Message groups: all messages of a group go to one consumer, as long as it is there.
//!
//! The first message of a group makes whose turn it is the group's owner. What comes for an owner
//! that has no credit is held for it, so that others get what lies behind.

use std::collections::BTreeMap;

use replicamq_proto::store::v1::Message;

use crate::client::Subscription;
use crate::entry::{Entry, Held, Memory};
use crate::header::header;
use crate::limits::Limits;
use crate::slab::Key;

const GROUP_HEADER: &str = "JMSXGroupID";
const SEQUENCE_HEADER: &str = "JMSXGroupSeq";

/// The group of a message, if it has one.
pub(crate) fn group(message: &Message) -> Option<&str> {
    let group = header(message, GROUP_HEADER)?;
    (!group.is_empty()).then_some(group)
}

/// Whether a message is the last one of its group: the next may go to another consumer.
fn closes(message: &Message) -> bool {
    header(message, SEQUENCE_HEADER).is_some_and(|sequence| sequence.trim().starts_with('-'))
}

#[derive(Debug)]
struct Owner {
    consumer: Key<Subscription>,
    /// When it last got a message of the group, as a count of such.
    used: u64,
}

/// The groups of one queue.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    owners: BTreeMap<Box<str>, Owner>,
    by_use: BTreeMap<u64, Box<str>>,
    uses: u64,
    /// Taken for owners that have no credit.
    held: BTreeMap<Key<Subscription>, BTreeMap<u64, Entry>>,
    held_messages: usize,
    held_bytes: usize,
}

impl Groups {
    pub(crate) fn owner(&self, group: &str) -> Option<Key<Subscription>> {
        self.owners.get(group).map(|owner| owner.consumer)
    }

    /// A message of the group goes to this consumer, who owns the group from now on. Of too many
    /// groups the one that has been quiet for the longest is forgotten.
    pub(crate) fn assign(&mut self, group: &str, consumer: Key<Subscription>, groups_max: usize) {
        self.uses += 1;
        let used = self.uses;
        if let Some(owner) = self.owners.get_mut(group) {
            let name = self.by_use.remove(&owner.used);
            let name = name.expect("each owner has a use");
            self.by_use.insert(used, name);
            *owner = Owner { consumer, used };
            return;
        }
        if self.owners.len() >= groups_max {
            let mut quiet = self.by_use.iter();
            // What waits for its owner must not be overtaken.
            let quiet = quiet.find(|(_, name)| !self.is_waiting(self.owners[*name].consumer));
            if let Some((_, name)) = quiet {
                let name = name.clone();
                self.close(&name);
            }
        }
        self.by_use.insert(used, group.into());
        self.owners.insert(group.into(), Owner { consumer, used });
    }

    /// A message was delivered: it may have been the last one of its group.
    pub(crate) fn delivered(&mut self, message: &Message, to: Key<Subscription>) {
        if !self.owners.is_empty()
            && let Some(group) = group(message)
            && closes(message)
            && self.owner(group) == Some(to)
        {
            self.close(group);
        }
    }

    fn close(&mut self, group: &str) {
        if let Some(owner) = self.owners.remove(group) {
            self.by_use.remove(&owner.used);
        }
    }

    /// Whether one more message may be held.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.held_messages < limits.window_messages_max && self.held_bytes < limits.window_bytes_max
    }

    /// A taken message waits for its owner.
    pub(crate) fn hold(&mut self, owner: Key<Subscription>, entry: Entry, memory: &mut Memory) {
        self.held_messages += 1;
        self.held_bytes += entry.bytes;
        if entry.held == Held::Stored {
            memory.windows += entry.bytes;
        }
        self.held
            .entry(owner)
            .or_default()
            .insert(entry.sequence, entry);
    }

    /// The first that waits for this owner.
    pub(crate) fn take(&mut self, owner: Key<Subscription>, memory: &mut Memory) -> Option<Entry> {
        let held = self.held.get_mut(&owner)?;
        let (_, entry) = held.pop_first()?;
        if held.is_empty() {
            self.held.remove(&owner);
        }
        self.held_messages -= 1;
        self.held_bytes -= entry.bytes;
        if entry.held == Held::Stored {
            memory.windows -= entry.bytes;
        }
        Some(entry)
    }

    pub(crate) fn is_waiting(&self, owner: Key<Subscription>) -> bool {
        self.held.contains_key(&owner)
    }

    /// One consumer alone gets messages from now on. Gives what waited for others.
    pub(crate) fn forget_all(&mut self, memory: &mut Memory) -> Vec<Entry> {
        self.owners.clear();
        self.by_use.clear();
        let owners: Vec<Key<Subscription>> = self.held.keys().copied().collect();
        let held = owners
            .into_iter()
            .flat_map(|owner| self.forget(owner, memory));
        held.collect()
    }

    /// The consumer is gone. Gives what waited for it.
    pub(crate) fn forget(
        &mut self,
        consumer: Key<Subscription>,
        memory: &mut Memory,
    ) -> Vec<Entry> {
        let by_use = &mut self.by_use;
        self.owners.retain(|_, owner| {
            let stays = owner.consumer != consumer;
            if !stays {
                by_use.remove(&owner.used);
            }
            stays
        });
        std::iter::from_fn(|| self.take(consumer, memory)).collect()
    }
}
