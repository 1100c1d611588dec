//! What a client did in a transaction and nobody else sees yet.

use replicamq_proto::store::v1::Message;

use crate::client::{Source, Subscription};
use crate::command::Disposition;
use crate::effect::Refusal;
use crate::entry::Entry;
use crate::feed::Feed;
use crate::slab::Key;
use crate::topic::Topic;

/// Where a send goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    Queue(Key<Feed>),
    Topic(Key<Topic>),
}

/// A send that was checked and has all it needs.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) target: Target,
    pub(crate) message: Message,
    pub(crate) encoded_bytes: usize,
    pub(crate) digest: Option<u128>,
}

/// A delivery that was acknowledged in the transaction.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    pub(crate) source: Source,
    /// May be gone by the time of the commit.
    pub(crate) subscription: Key<Subscription>,
    pub(crate) entry: Entry,
    pub(crate) disposition: Disposition,
}

/// An open transaction.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) sends: Vec<Prepared>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Memory that it holds.
    pub(crate) bytes: usize,
    /// Why it can only be aborted.
    pub(crate) failed: Option<Refusal>,
}

impl Transaction {
    pub(crate) fn operations(&self) -> usize {
        self.sends.len() + self.acknowledged.len()
    }
}
