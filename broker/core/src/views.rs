//! All views of one queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::{Entry, Held, Memory};
use crate::limits::Limits;
use crate::selector::Selector;
use crate::slab::{Key, Slab};
use crate::view::{Stored, View};

/// See [`View`].
#[derive(Debug)]
pub(crate) struct Views {
    slab: Slab<View>,
    by_text: BTreeMap<Box<str>, Key<View>>,
    /// Those to whose consumers something may be new, each once.
    stirred: Vec<Key<View>>,
    /// Of all of them.
    consumers: usize,
}

impl Views {
    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(),
            by_text: BTreeMap::new(),
            stirred: Vec::new(),
            consumers: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.consumers == 0
    }

    pub(crate) fn consumers(&self) -> usize {
        self.consumers
    }

    pub(crate) fn get(&self, key: Key<View>) -> Option<&View> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key<View>) -> Option<&mut View> {
        self.slab.get_mut(key)
    }

    fn all(&self) -> Vec<Key<View>> {
        self.by_text.values().copied().collect()
    }

    /// A consumer comes. Of what is not stored, `volatile` has a copy each.
    pub(crate) fn join(
        &mut self,
        selector: &Arc<Selector>,
        stored: Stored,
        volatile: impl FnOnce() -> Vec<Entry>,
        memory: &mut Memory,
    ) -> Key<View> {
        self.consumers += 1;
        if let Some(key) = self.by_text.get(selector.as_str()).copied() {
            self.slab[key].consumers += 1;
            return key;
        }
        let mut view = View::new(Arc::clone(selector), stored);
        view.consumers = 1;
        for entry in volatile() {
            if view.selects(&entry) {
                view.keep(entry, memory);
            }
        }
        let key = self.slab.insert(view);
        self.by_text.insert(selector.as_str().into(), key);
        key
    }

    /// A consumer goes. The token of the view's read, if that was the last one and it reads.
    pub(crate) fn leave(&mut self, key: Key<View>, memory: &mut Memory) -> Option<u64> {
        self.consumers -= 1;
        let view = &mut self.slab[key];
        view.consumers -= 1;
        if view.consumers > 0 {
            return None;
        }
        let view = self.slab.remove(key).expect("it was there");
        view.drop_from(memory);
        self.by_text.remove(view.selector.as_str());
        self.stirred.retain(|stirred| *stirred != key);
        view.loading()
    }

    /// Its consumers wait for what is not theirs to bring about: a commit, or another's credit.
    pub(crate) fn wait(&mut self, key: Key<View>) {
        if self.slab[key].has_next() {
            self.stir(key);
        }
    }

    /// Something is new to the consumers of a view.
    pub(crate) fn stir(&mut self, key: Key<View>) {
        let view = &mut self.slab[key];
        if !view.is_stirred {
            view.is_stirred = true;
            self.stirred.push(key);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_stirred(&self) -> bool {
        !self.stirred.is_empty()
    }

    pub(crate) fn stir_all(&mut self) {
        for key in self.all() {
            self.stir(key);
        }
    }

    /// Those to whose consumers something may be new.
    pub(crate) fn take_stirred(&mut self) -> Vec<Key<View>> {
        let stirred = std::mem::take(&mut self.stirred);
        for key in &stirred {
            self.slab[*key].is_stirred = false;
        }
        stirred
    }

    /// A new message in the store.
    pub(crate) fn offer(&mut self, entry: &Entry, limits: &Limits, memory: &mut Memory) {
        for key in self.all() {
            let view = &mut self.slab[key];
            if view.selects(entry) {
                view.offer(entry.clone(), limits, memory);
                self.stir(key);
            }
        }
    }

    /// A message that is in no store, or that was with a consumer and comes back.
    pub(crate) fn put(&mut self, entry: &Entry, memory: &mut Memory) {
        for key in self.all() {
            let view = &mut self.slab[key];
            let will_read = entry.held == Held::Stored && view.will_read(entry.sequence);
            if !will_read && view.selects(entry) {
                view.keep(entry.clone(), memory);
                self.stir(key);
            }
        }
    }

    /// A message is with a consumer, or gone.
    pub(crate) fn taken(&mut self, sequence: u64, memory: &mut Memory) {
        for key in self.all() {
            self.slab[key].remove(sequence, memory);
        }
    }

    /// What was read for a view.
    pub(crate) fn page_in(
        &mut self,
        key: Key<View>,
        entries: impl Iterator<Item = Entry>,
        more_from: Option<u64>,
        memory: &mut Memory,
    ) {
        if let Some(view) = self.slab.get_mut(key) {
            view.page_in(entries, more_from, memory);
            self.stir(key);
        }
    }

    /// The sequence furthest on at which one of them goes on; none if there are none.
    pub(crate) fn front(&self, next: u64) -> Option<u64> {
        let fronts = self.slab.iter().map(|(_, view)| view.front(next));
        fronts.max()
    }

    pub(crate) fn may_expire(&self, now_ms: u64) -> bool {
        let mut views = self.slab.iter();
        !self.is_empty() && views.any(|(_, view)| view.may_expire(now_ms))
    }

    /// What has expired in the memory of some view, each once.
    pub(crate) fn expired(&mut self, now_ms: u64) -> BTreeMap<u64, Entry> {
        let mut expired = BTreeMap::new();
        for key in self.all() {
            let entries = self.slab[key].expired(now_ms).into_iter();
            expired.extend(entries.map(|entry| (entry.sequence, entry)));
        }
        expired
    }
}
