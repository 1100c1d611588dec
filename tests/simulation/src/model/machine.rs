//! A node: its process, and a disk that syncs when it is chosen to.

use replicamq_quorum::{Entry, Epoch, Event, Message, Position, Quorum, Recovered, Sequence};

use super::quorum;
use crate::disk::{Image, LogOperation};
use crate::log::Log;

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) quorum: Quorum,
    pub(super) now_ms: u64,
    /// The version of the epoch znode that it last read.
    pub(super) seen: i32,
    /// Everything given to the log.
    pub(super) given: Log,
    pub(super) durable: Image,
    /// Not synced.
    pub(super) pending: Vec<LogOperation>,
    applied: Sequence,
    /// Whom it asks, and what it answers: between two choices there is neither.
    pub(super) asks: Vec<usize>,
    pub(super) answer: Option<Message>,
    /// How often it has started.
    pub(super) life: u8,
    /// Of all else.
    pub(super) digest: u128,
}

impl Machine {
    pub(super) fn new(node: usize) -> Self {
        Self {
            quorum: quorum(node, &recovered(&Image::default(), Sequence(0)), 0),
            now_ms: 0,
            seen: -1,
            given: Log::default(),
            durable: Image::default(),
            pending: Vec::new(),
            applied: Sequence(0),
            asks: Vec::new(),
            answer: None,
            life: 0,
            digest: 0,
        }
    }

    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            self.given.append(entry.clone());
        }
        self.pending.push(LogOperation::Append(entries));
    }

    pub(super) fn truncate(&mut self, keep: Position) {
        self.given.truncate(keep);
        self.pending.push(LogOperation::Truncate(keep));
    }

    pub(super) fn promise(&mut self, epoch: Epoch) {
        self.pending.push(LogOperation::Promise(epoch));
    }

    pub(super) fn apply(&mut self, sequence: Sequence) -> Event {
        self.applied = sequence;
        Event::Applied { sequence }
    }

    /// Everything is on the platter; what the log reports.
    pub(super) fn sync(&mut self) -> Vec<Event> {
        let mut reports = Vec::new();
        for operation in std::mem::take(&mut self.pending) {
            self.durable.run(operation.clone());
            let last = self.durable.log.last();
            reports.push(match operation {
                LogOperation::Append(_) => Event::Logged {
                    appended: last,
                    durable: last,
                },
                LogOperation::Truncate(keep) => Event::Truncated { keep },
                LogOperation::Promise(epoch) => Event::PromiseStored { epoch },
            });
        }
        reports
    }

    /// The process dies and starts again. A lost power takes what was not synced, and the
    /// store's memory; a killed process leaves both to the operating system.
    pub(super) fn restart(&mut self, node: usize, power: bool) {
        for operation in std::mem::take(&mut self.pending) {
            if !power {
                self.durable.run(operation);
            }
        }
        if power {
            self.applied = Sequence(0);
        }
        self.given = self.durable.log.clone();
        self.asks.clear();
        self.life += 1;
        self.quorum = quorum(node, &recovered(&self.durable, self.applied), self.now_ms);
    }
}

fn recovered(image: &Image, applied: Sequence) -> Recovered {
    Recovered {
        promised: image.promised,
        last: image.log.last(),
        applied,
        history: image.log.history().clone(),
        log_first: Sequence(1),
        unfilled: false,
        filling: false,
    }
}
