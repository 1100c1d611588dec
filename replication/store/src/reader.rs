//! The thread that reads the log for replicas that are behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use replicamq_log::{Cursor, Index, LogError};
use replicamq_quorum::{NodeId, Sequence};

use crate::directory::Directory;
use crate::store::{Notify, Progress};
use crate::{FatalError, ReadLog, StoreEvent};
use replicamq_log::pace;

/// Replicas whose place in the log is remembered.
const CURSORS_MAX: usize = 16;

pub(crate) struct Reader {
    pub(crate) index: Arc<Index>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) notify: Notify,
}

impl Reader {
    pub(crate) fn run(self, requests: &Receiver<ReadLog>) {
        let mut cursors = BTreeMap::new();
        while let Ok(request) = requests.recv() {
            if let Err(error) = self.read(request, &mut cursors) {
                if let FatalError::Log(LogError::Damaged { .. }) = error {
                    self.directory.notes().record_damage();
                }
                (self.notify)(StoreEvent::Fatal(error));
                return;
            }
        }
    }

    fn read(
        &self,
        request: ReadLog,
        cursors: &mut BTreeMap<NodeId, (Sequence, Cursor)>,
    ) -> Result<(), FatalError> {
        let ReadLog {
            to,
            after,
            bytes_max,
        } = request;
        let known = cursors
            .remove(&to)
            .filter(|(sequence, _)| *sequence == after);
        let cursor = known.map(|(_, cursor)| cursor);
        let (entries, cursor) = self.index.read(after, bytes_max, cursor)?;
        if let Some(last) = entries.last() {
            let last = last.position.sequence;
            self.progress.holds.reads(&to, last, pace::now());
            if let Some(cursor) = cursor
                && cursors.len() < CURSORS_MAX
            {
                cursors.insert(to.clone(), (last, cursor));
            }
        }
        (self.notify)(StoreEvent::LogRead { to, after, entries });
        Ok(())
    }
}
