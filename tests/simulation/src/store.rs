//! A node's key-value store: what it holds in memory, and what a crash leaves of it.
//!
//! A flush costs nothing here, and a crash little: the store remembers how to
//! undo what came since the last flush.

use std::collections::BTreeMap;

use bytes::Bytes;
use replicamq_core::LoadRequest;
use replicamq_proto::store::v1::Op;
use replicamq_proto::store::v1::op::Kind;
use replicamq_quorum::Sequence;

use crate::random::Random;

/// Keys and values, in the order of the keys.
pub type Pairs = BTreeMap<Bytes, Bytes>;

/// What a read gives, and whether there is more.
pub type Loaded = (Vec<(Bytes, Bytes)>, bool);

/// How far a store is, and a digest of everything applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreState {
    /// How far.
    pub applied: Sequence,
    /// Of all batches up to there, in order.
    pub digest: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Store {
    state: StoreState,
    pairs: Pairs,
    /// What a crash leaves.
    flushed: StoreState,
    /// What was there before each change since the last flush.
    undo: Vec<(Bytes, Option<Bytes>)>,
    /// A block with this key in it does not check any more.
    rotten: Option<Bytes>,
}

impl Store {
    /// As a checkpoint leaves it.
    #[must_use]
    pub fn from_checkpoint(state: StoreState, pairs: Pairs) -> Self {
        Self {
            state,
            pairs,
            flushed: state,
            undo: Vec::new(),
            rotten: None,
        }
    }

    /// A bit flips where a pair lies, unless that is in memory only. It stays when the pair goes.
    pub fn decay(&mut self, random: &mut Random) -> Option<String> {
        if self.pairs.is_empty() {
            return None;
        }
        let key = self.pairs.keys().nth(random.index(self.pairs.len()))?;
        if self.undo.iter().any(|(changed, _)| changed == key) {
            return None;
        }
        let what = format!("a bit of the store flips at {key:?}");
        self.rotten = Some(key.clone());
        Some(what)
    }

    /// Every block is read.
    pub fn scrub(&self) -> Result<(), String> {
        match &self.rotten {
            Some(key) => Err(format!("the store is damaged at {key:?}")),
            None => Ok(()),
        }
    }

    /// How far it is.
    pub fn state(&self) -> StoreState {
        self.state
    }

    /// The last entry that it holds.
    pub fn applied(&self) -> Sequence {
        self.state.applied
    }

    /// The last entry that a crash leaves.
    pub fn flushed(&self) -> Sequence {
        self.flushed.applied
    }

    /// Everything in it.
    pub fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// One entry's changes, all at once.
    pub fn apply(&mut self, ops: &[Op], state: StoreState) {
        let undo = &mut self.undo;
        change(&mut self.pairs, ops, |key, value| undo.push((key, value)));
        self.state = state;
    }

    /// Everything in memory reaches the disk.
    pub fn flush(&mut self) {
        self.undo.clear();
        self.flushed = self.state;
    }

    /// What was not flushed is gone.
    pub fn crash(&mut self) {
        for (key, value) in self.undo.drain(..).rev() {
            match value {
                Some(value) => drop(self.pairs.insert(key, value)),
                None => drop(self.pairs.remove(&key)),
            }
        }
        self.state = self.flushed;
    }

    /// A bounded read, and whether there is more.
    pub fn load(&self, request: &LoadRequest) -> Result<Loaded, String> {
        let mut pairs = Vec::new();
        let mut bytes = 0;
        if request.from >= request.to {
            return Ok((pairs, false));
        }
        if let Some(rotten) = &self.rotten
            && (&request.from..&request.to).contains(&rotten)
        {
            self.scrub()?;
        }
        for (key, value) in self.pairs.range(request.from.clone()..request.to.clone()) {
            if pairs.len() >= request.pairs_max || bytes >= request.bytes_max {
                return Ok((pairs, true));
            }
            bytes += key.len() + value.len();
            pairs.push((key.clone(), value.clone()));
        }
        Ok((pairs, false))
    }
}

/// Carries out operations. Tells what was there before each.
pub fn change(pairs: &mut Pairs, ops: &[Op], mut before: impl FnMut(Bytes, Option<Bytes>)) {
    for op in ops {
        match &op.kind {
            Some(Kind::Put(put)) => {
                let old = pairs.insert(put.key.clone(), put.value.clone());
                before(put.key.clone(), old);
            }
            Some(Kind::Delete(key)) => {
                if let Some(old) = pairs.remove(key) {
                    before(key.clone(), Some(old));
                }
            }
            Some(Kind::DeleteRange(range)) => {
                if range.from >= range.to {
                    continue;
                }
                let inside = pairs.range(range.from.clone()..range.to.clone());
                let keys: Vec<Bytes> = inside.map(|(key, _)| key.clone()).collect();
                for key in keys {
                    let old = pairs.remove(&key);
                    before(key, old);
                }
            }
            None => panic!("an op has no kind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use replicamq_proto::store::v1::{DeleteRange, Put};

    use super::*;

    fn op(kind: Kind) -> Op {
        Op { kind: Some(kind) }
    }

    fn put(key: &'static str, value: &'static str) -> Op {
        let (key, value) = (key.into(), value.into());
        op(Kind::Put(Put { key, value }))
    }

    fn at(applied: u64) -> StoreState {
        StoreState {
            applied: Sequence(applied),
            digest: applied,
        }
    }

    #[test]
    fn a_crash_leaves_what_was_flushed() {
        let mut store = Store::default();
        store.apply(&[put("a", "1"), put("b", "1"), put("c", "1")], at(1));
        store.flush();
        let flushed = store.pairs().clone();
        let range = DeleteRange {
            from: "a".into(),
            to: "c".into(),
        };
        store.apply(&[put("a", "2"), op(Kind::DeleteRange(range))], at(2));
        store.apply(&[put("b", "3"), op(Kind::Delete("c".into()))], at(3));
        assert_eq!(store.pairs().len(), 1);
        store.crash();
        assert_eq!((store.pairs(), store.state()), (&flushed, at(1)));
    }

    #[test]
    fn a_read_ends_at_its_bounds() {
        let mut store = Store::default();
        store.apply(&[put("a", "1"), put("b", "1"), put("c", "1")], at(1));
        let request = |to: &'static str, pairs_max, bytes_max| LoadRequest {
            token: 1,
            from: "a".into(),
            to: to.into(),
            pairs_max,
            bytes_max,
        };
        let read = |request| {
            let (pairs, more) = store.load(&request).expect("nothing is rotten");
            (pairs.len(), more)
        };
        assert_eq!(read(request("c", 10, 100)), (2, false));
        assert_eq!(read(request("d", 2, 100)), (2, true));
        assert_eq!(read(request("d", 10, 2)), (1, true));
        assert_eq!(read(request("a", 10, 100)), (0, false));
    }
}
