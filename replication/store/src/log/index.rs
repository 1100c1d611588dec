//! What of the log may be read: shared between its owner and the readers.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use replicamq_quorum::{Entry, Position, Sequence};

use crate::FatalError;
use crate::log::scan::Scan;
use crate::log::segment::Segment;

/// Log that is held for replicas beyond the retention ends at so many times that.
const HELD_RETENTIONS_MAX: u64 = 4;

/// A reader that finds the log changed under it begins again so often.
const RETRIES_MAX: usize = 8;

/// The segments and the end of the log.
pub(crate) struct Index(Mutex<State>);

struct State {
    /// Oldest first; never empty.
    segments: Vec<Segment>,
    /// Everything up to here is in the files…
    appended: Position,
    /// …and ends here in the last segment.
    end: u64,
    /// Rises before anything that may be read is overwritten.
    changes: u64,
}

/// Where a reader left off, so that it need not search again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    segment: u64,
    offset: u64,
    previous: Position,
    changes: u64,
}

/// A piece of the log to read: the rest of one segment.
struct Piece {
    segment: Segment,
    offset: u64,
    previous: Position,
    limit: u64,
    last: Sequence,
    changes: u64,
}

impl Index {
    pub(crate) fn new(segments: Vec<Segment>, appended: Position, end: u64) -> Self {
        Self(Mutex::new(State {
            segments,
            appended,
            end,
            changes: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("nobody panics while holding the index")
    }

    /// The first sequence that the log holds, or will hold.
    pub(crate) fn first(&self) -> Sequence {
        self.state().segments[0].first()
    }

    /// The space that the log takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.state()
            .segments
            .iter()
            .map(|segment| segment.bytes)
            .sum()
    }

    pub(super) fn segments(&self) -> Vec<Segment> {
        self.state().segments.clone()
    }

    pub(super) fn appended(&self, last: Position, end: u64) {
        let mut state = self.state();
        state.appended = last;
        state.end = end;
    }

    pub(super) fn rolled(&self, segment: Segment) {
        let mut state = self.state();
        state.end = segment.begin;
        state.segments.push(segment);
    }

    /// Takes out the oldest segment if the others fill the retention,
    /// everything in it is flushed, and nobody waits for it within bounds.
    pub(super) fn drop_oldest(
        &self,
        retention_bytes: u64,
        flushed: Sequence,
        held: Option<Sequence>,
    ) -> Option<Segment> {
        let mut state = self.state();
        let next = state.segments.get(1)?;
        let rest: u64 = state.segments[1..]
            .iter()
            .map(|segment| segment.bytes)
            .sum();
        if next.previous.sequence > flushed || rest < retention_bytes {
            return None;
        }
        let awaited = held.is_some_and(|after| next.previous.sequence > after);
        if awaited && rest < retention_bytes.saturating_mul(HELD_RETENTIONS_MAX) {
            return None;
        }
        state.changes += 1;
        Some(state.segments.remove(0))
    }

    /// Ends the log at `keep` and takes out the segments behind.
    pub(super) fn cut(&self, keep: Position) -> Vec<Segment> {
        let mut state = self.state();
        state.changes += 1;
        state.appended = keep;
        let behind = state
            .segments
            .partition_point(|segment| segment.previous.sequence <= keep.sequence);
        let removed = state.segments.split_off(behind);
        if !removed.is_empty() {
            state.end = state.segments[behind - 1].bytes;
        }
        removed
    }

    /// Entries after `after`, in order, until `bytes_max` is reached, but at
    /// least one. Empty if there are none, or the log begins later.
    pub(crate) fn read(
        &self,
        after: Sequence,
        bytes_max: usize,
        cursor: Option<Cursor>,
    ) -> Result<(Vec<Entry>, Option<Cursor>), FatalError> {
        for _ in 0..RETRIES_MAX {
            let mut entries = Vec::new();
            let mut cursor = cursor;
            let mut bytes_left = bytes_max.max(1);
            loop {
                let last = entries
                    .last()
                    .map_or(after, |entry: &Entry| entry.position.sequence);
                let Some(piece) = self.piece(last, cursor) else {
                    return Ok((entries, cursor));
                };
                let read = read_piece(&piece, last, &mut bytes_left, &mut entries);
                if self.state().changes != piece.changes {
                    break;
                }
                cursor = Some(read?);
                if bytes_left == 0 {
                    return Ok((entries, cursor));
                }
            }
        }
        Ok((Vec::new(), None))
    }

    /// The segment that holds the entry after `after`, from there if the cursor knows.
    fn piece(&self, after: Sequence, cursor: Option<Cursor>) -> Option<Piece> {
        let state = self.state();
        if after >= state.appended.sequence || after.next() < state.segments[0].first() {
            return None;
        }
        let index = state
            .segments
            .partition_point(|segment| segment.previous.sequence <= after)
            - 1;
        let segment = &state.segments[index];
        let next = state.segments.get(index + 1);
        let known = cursor.filter(|cursor| {
            cursor.changes == state.changes
                && cursor.segment == segment.number
                && cursor.previous.sequence <= after
        });
        Some(Piece {
            offset: known.map_or(segment.begin, |cursor| cursor.offset),
            previous: known.map_or(segment.previous, |cursor| cursor.previous),
            limit: next.map_or(state.end, |_| segment.bytes),
            last: next.map_or(state.appended.sequence, |next| next.previous.sequence),
            changes: state.changes,
            segment: segment.clone(),
        })
    }
}

fn read_piece(
    piece: &Piece,
    after: Sequence,
    bytes_left: &mut usize,
    entries: &mut Vec<Entry>,
) -> Result<Cursor, FatalError> {
    let mut scan = Scan::new(&piece.segment, piece.offset, piece.limit);
    let mut previous = piece.previous;
    while previous.sequence < piece.last && *bytes_left > 0 {
        let offset = scan.offset();
        let Some((found, batch)) = scan.next(previous)? else {
            return Err(FatalError::LogDamaged {
                path: piece.segment.path.clone(),
                offset,
                sequence: previous.sequence.next(),
            });
        };
        previous = found.position;
        if previous.sequence > after {
            *bytes_left = bytes_left.saturating_sub(batch.len().max(1));
            entries.push(Entry {
                position: previous,
                batch: Bytes::copy_from_slice(batch),
            });
        }
    }
    Ok(Cursor {
        segment: piece.segment.number,
        offset: scan.offset(),
        previous,
        changes: piece.changes,
    })
}
