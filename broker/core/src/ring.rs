//! Consumers in the order of their turns: the highest priority first, and in turn within one.

use std::collections::VecDeque;

use crate::client::Subscription;
use crate::slab::Key;

/// Those who may have credit.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// By falling priority, none of them empty: most rings have one.
    levels: Vec<(i8, VecDeque<Key<Subscription>>)>,
}

impl Ring {
    /// It is the last one of its priority whose turn comes.
    pub(crate) fn push(&mut self, consumer: Key<Subscription>, priority: i8) {
        let at = self.levels.partition_point(|(other, _)| *other > priority);
        match self.levels.get_mut(at) {
            Some((other, level)) if *other == priority => level.push_back(consumer),
            _ => self
                .levels
                .insert(at, (priority, VecDeque::from([consumer]))),
        }
    }

    /// Whose turn it is.
    pub(crate) fn front(&self) -> Option<Key<Subscription>> {
        let (_, level) = self.levels.first()?;
        level.front().copied()
    }

    /// The highest priority that is there.
    pub(crate) fn priority(&self) -> Option<i8> {
        self.levels.first().map(|(priority, _)| *priority)
    }

    /// It had its turn.
    pub(crate) fn turn(&mut self) {
        if let Some((_, level)) = self.levels.first_mut() {
            level.rotate_left(1);
        }
    }

    /// It cannot take more, or is gone.
    pub(crate) fn remove(&mut self, consumer: Key<Subscription>) {
        let levels = self.levels.iter_mut().enumerate();
        for (index, (_, level)) in levels {
            if let Some(at) = level.iter().position(|other| *other == consumer) {
                level.remove(at);
                if level.is_empty() {
                    self.levels.remove(index);
                }
                return;
            }
        }
    }
}
