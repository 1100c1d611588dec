//! What of the log may be read: shared between its owner and the readers.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use replicamq_quorum::{Entry, Position, Sequence};

use crate::LogError;
use crate::log::Retention;
use crate::log::scan::Scan;
use crate::log::segment::Segment;

/// Log that is held for replicas beyond the retention ends at so many times that.
const HELD_RETENTIONS_MAX: u64 = 4;

/// The segments and the end of the log.
#[derive(Debug)]
pub struct Index(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Oldest first; never empty.
    segments: Vec<Segment>,
    /// Everything up to here is in the files…
    appended: Position,
    /// …and ends here in the last segment.
    end: u64,
    /// Rises before anything that was to be read is cut off.
    cuts: u64,
}

/// Where a reader left off, so that it need not search again.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    segment: u64,
    offset: u64,
    previous: Position,
    cuts: u64,
}

/// A piece of the log to read: the rest of one segment.
struct Piece {
    segment: Segment,
    offset: u64,
    previous: Position,
    limit: u64,
    last: Sequence,
    cuts: u64,
}

/// What may have become of it while it was read.
enum Since {
    Nothing,
    /// Its segment left the log, and the file may be used again.
    Dropped,
    /// The log was cut, there or elsewhere.
    Cut,
}

impl Index {
    pub(super) fn new(segments: Vec<Segment>, appended: Position, end: u64) -> Self {
        Self(Mutex::new(State {
            segments,
            appended,
            end,
            cuts: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("nobody panics while holding the index")
    }

    /// The last entry that was written.
    pub fn last(&self) -> Sequence {
        self.state().appended.sequence
    }

    /// The first sequence that the log holds, or will hold.
    pub fn first(&self) -> Sequence {
        self.state().segments[0].first()
    }

    /// The space that the log takes.
    pub fn bytes(&self) -> u64 {
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

    /// Takes out the oldest segment if the others fill the retention or it is
    /// too old, everything in it is flushed, and nobody waits for it within bounds.
    pub(super) fn drop_oldest(
        &self,
        retention: Retention,
        now: Instant,
        flushed: Sequence,
        held: Option<Sequence>,
    ) -> Option<Segment> {
        let mut state = self.state();
        let next = state.segments.get(1)?;
        let rest: u64 = state.segments[1..]
            .iter()
            .map(|segment| segment.bytes)
            .sum();
        let beyond = rest >= retention.bytes || now.duration_since(next.begun) >= retention.age;
        if next.previous.sequence > flushed || !beyond {
            return None;
        }
        let awaited = held.is_some_and(|after| next.previous.sequence > after);
        if awaited && rest < retention.bytes.saturating_mul(HELD_RETENTIONS_MAX) {
            return None;
        }
        Some(state.segments.remove(0))
    }

    /// Ends the log at `keep` and takes out the segments behind.
    pub(super) fn cut(&self, keep: Position) -> Vec<Segment> {
        let mut state = self.state();
        state.cuts += 1;
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
    /// least one. Empty only if there are none, or the log begins later: a
    /// change meanwhile counts if what was read may be no more, and then there
    /// is less to read or a later beginning.
    pub fn read(
        &self,
        after: Sequence,
        bytes_max: usize,
        cursor: Option<Cursor>,
    ) -> Result<(Vec<Entry>, Option<Cursor>), LogError> {
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
            let before = entries.len();
            let read = read_piece(&piece, last, &mut bytes_left, &mut entries);
            match self.since(&piece) {
                Since::Nothing => cursor = Some(read?),
                // Its file may be a later segment by now. What was read of the ones before is good.
                Since::Dropped if before > 0 => {
                    entries.truncate(before);
                    return Ok((entries, None));
                }
                Since::Dropped | Since::Cut => {
                    entries.clear();
                    cursor = None;
                    bytes_left = bytes_max.max(1);
                }
            }
            if bytes_left == 0 {
                return Ok((entries, cursor));
            }
        }
    }

    /// What has happened to a piece since it was given.
    fn since(&self, piece: &Piece) -> Since {
        let state = self.state();
        if state.cuts != piece.cuts {
            Since::Cut
        } else if state.segments[0].number > piece.segment.number {
            Since::Dropped
        } else {
            Since::Nothing
        }
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
            cursor.cuts == state.cuts
                && cursor.segment == segment.number
                && cursor.previous.sequence <= after
        });
        Some(Piece {
            offset: known.map_or(segment.begin, |cursor| cursor.offset),
            previous: known.map_or(segment.previous, |cursor| cursor.previous),
            limit: next.map_or(state.end, |_| segment.bytes),
            last: next.map_or(state.appended.sequence, |next| next.previous.sequence),
            cuts: state.cuts,
            segment: segment.clone(),
        })
    }
}

fn read_piece(
    piece: &Piece,
    after: Sequence,
    bytes_left: &mut usize,
    entries: &mut Vec<Entry>,
) -> Result<Cursor, LogError> {
    let mut scan = Scan::new(&piece.segment, piece.offset, piece.limit);
    let mut previous = piece.previous;
    while previous.sequence < piece.last && *bytes_left > 0 {
        let offset = scan.offset();
        let Some((found, batch)) = scan.next(previous)? else {
            return Err(LogError::Damaged {
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
        cuts: piece.cuts,
    })
}
