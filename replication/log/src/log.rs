//! The segmented log: one owner appends, syncs, cuts and trims; readers share
//! an index of what may be read.

mod index;
mod mark;
mod record;
mod recover;
mod scan;
mod segment;
mod spare;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use replicamq_quorum::{Entry, EpochHistory, Position, Sequence};

pub use index::{Cursor, Index};
pub use recover::Floor;
pub(crate) use recover::{Examined, examine};

use crate::error::Context;
use crate::files::{self, PAGE_BYTES};
use crate::log::mark::Mark;
use crate::log::record::HEADER_BYTES;
use crate::log::scan::Scan;
use crate::log::segment::{Header, Segment};
use crate::log::spare::Spares;
use crate::sealed::{self, Fields};
use crate::{Disk, DiskError, LogError, pace};

/// One batch; the length field of a record that claims more is not believed.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// Records are gathered up to this size before they are written.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// A batch of this size is written from where it lies.
const COPY_BYTES_MAX: usize = 128 << 10;

/// The first segment of a log.
const FIRST_BYTES_MAX: u64 = 8 << 20;

/// The note of a cut that is under way.
const CUT_KIND: &str = "cut";

/// Where the log lies and how big it may be.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// What it lies on.
    pub disk: Arc<dyn Disk>,
    /// Where it lies; it is there already.
    pub directory: PathBuf,
    /// Size of one file: whole pages, so that a write never has to read one first.
    pub segment_bytes: u64,
    /// What is kept for replicas that catch up.
    pub retention: Retention,
}

/// How much of the log is kept for replicas that were away; whatever ends first.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// What it takes on the disk.
    pub bytes: u64,
    /// Of the newest entry in a segment, counted from the last start at the earliest. The oldest
    /// is at most twice as old when it goes, if entries come in at all.
    pub age: Duration,
}

/// The log, as its one owner has it.
#[derive(Debug)]
pub struct Log {
    options: LogOptions,
    index: Arc<Index>,
    spares: Spares,
    mark: Mark,
    history: EpochHistory,
    active: Segment,
    /// Where the next record goes; everything before is in the file or in `buffer`.
    tail: u64,
    /// Records that are not written yet; they end at `tail`.
    buffer: Vec<u8>,
    last: Position,
    /// Invariant: `synced <= last`, by sequence.
    synced: Position,
}

impl Log {
    /// A new log in an empty directory: it continues after `previous`. Its
    /// first segment is small, so that it is soon made.
    pub fn create(
        options: LogOptions,
        previous: Position,
        history: EpochHistory,
    ) -> Result<Self, DiskError> {
        let header = Header {
            number: 1,
            previous,
            history,
        };
        let mark = Mark::create(&*options.disk, &options.directory, previous)?;
        Self::begin(options, header, mark)
    }

    /// A log of one new segment.
    fn begin(options: LogOptions, header: Header, mark: Mark) -> Result<Self, DiskError> {
        let spares = Spares::open(&options)?;
        let ready = spares.first(options.segment_bytes.min(FIRST_BYTES_MAX))?;
        let active = segment::publish(&*options.disk, &options.directory, &header, ready)?;
        Ok(Self {
            index: Arc::new(Index::new(
                vec![active.clone()],
                header.previous,
                active.begin,
            )),
            spares,
            mark,
            tail: active.begin,
            buffer: Vec::new(),
            last: header.previous,
            synced: header.previous,
            history: header.history,
            active,
            options,
        })
    }

    /// What readers share with the owner.
    pub fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index)
    }

    /// Which epoch wrote what.
    pub fn history(&self) -> &EpochHistory {
        &self.history
    }

    /// The last entry that was taken in.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The last entry that is on the disk.
    pub fn synced(&self) -> Position {
        self.synced
    }

    /// The first sequence that it holds, or will hold.
    pub fn first(&self) -> Sequence {
        self.index.first()
    }

    /// Takes entries in; they reach the file with [`Log::write`] at the latest.
    pub fn stage(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        for entry in entries {
            let bytes = self.check(entry)?;
            if self.tail + bytes > self.active.bytes || self.is_old() {
                self.write()?;
                self.sync()?;
                self.mark()?;
                self.roll(bytes)?;
            }
            self.put(entry)?;
            self.tail += bytes;
            self.history.append(entry.position);
            self.last = entry.position;
        }
        Ok(())
    }

    /// Whether the active segment has waited for so long to be filled that it would keep its
    /// first entries far beyond the retention.
    fn is_old(&self) -> bool {
        let holds = self.last != self.active.previous;
        holds && pace::now().duration_since(self.active.begun) >= self.options.retention.age
    }

    fn check(&self, entry: &Entry) -> Result<u64, LogError> {
        let Entry { position, batch } = entry;
        if position.sequence != self.last.sequence.next() || position.epoch < self.last.epoch {
            return Err(LogError::Gap {
                previous: self.last,
                found: *position,
            });
        }
        if batch.len() > BATCH_BYTES_MAX {
            return Err(LogError::BatchTooLarge {
                sequence: position.sequence,
                bytes: batch.len(),
            });
        }
        Ok(record::record_bytes(batch.len()))
    }

    fn put(&mut self, entry: &Entry) -> Result<(), DiskError> {
        let batch = &entry.batch;
        let durable = self.synced.sequence;
        let header = record::encode_header(self.active.salt(), entry.position, durable, batch);
        self.buffer.extend(header);
        if batch.len() < COPY_BYTES_MAX {
            self.buffer.extend_from_slice(batch);
        } else {
            let at = self.tail + HEADER_BYTES as u64;
            self.write_buffer(at)?;
            self.active
                .file
                .write_all_at(batch, at)
                .context_at("write", &self.active.path, at)?;
        }
        let padding = record::padding(batch.len());
        self.buffer.resize(self.buffer.len() + padding, 0);
        if self.buffer.len() >= WRITE_BYTES_MAX {
            self.write_buffer(self.tail + record::record_bytes(batch.len()))?;
        }
        Ok(())
    }

    /// Writes what was gathered, which ends at `end`.
    fn write_buffer(&mut self, end: u64) -> Result<(), DiskError> {
        let from = end - self.buffer.len() as u64;
        self.active
            .file
            .write_all_at(&self.buffer, from)
            .context_at("write", &self.active.path, from)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes everything taken in. The last page is filled up with zeros, for
    /// a page that is only partly overwritten is read from the disk first.
    pub fn write(&mut self) -> Result<(), DiskError> {
        let end = self
            .tail
            .next_multiple_of(PAGE_BYTES)
            .min(self.active.bytes);
        let fill = usize::try_from(end - self.tail).expect("less than a page");
        self.buffer.resize(self.buffer.len() + fill, 0);
        if !self.buffer.is_empty() {
            self.write_buffer(end)?;
        }
        self.index.appended(self.last, self.tail);
        Ok(())
    }

    /// Everything written is on the disk when this returns.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        assert!(self.buffer.is_empty(), "only what is written can be synced");
        if self.synced != self.last {
            self.active
                .file
                .sync_data()
                .context("sync", &self.active.path)?;
            self.synced = self.last;
        }
        Ok(())
    }

    /// Notes what is synced, for the next start.
    pub fn mark(&mut self) -> Result<(), DiskError> {
        if self.mark.position() != self.synced {
            self.mark.write(self.synced)?;
        }
        Ok(())
    }

    /// The same, durably.
    pub fn sync_mark(&mut self) -> Result<(), DiskError> {
        self.mark()?;
        self.mark.sync()
    }

    /// Begins the next segment, with room for a record of this size. All
    /// before is written and synced.
    fn roll(&mut self, record_bytes: u64) -> Result<(), DiskError> {
        assert!(
            self.buffer.is_empty() && self.synced == self.last,
            "what a segment follows is durable"
        );
        let header = Header {
            number: self.active.number + 1,
            previous: self.last,
            history: self.history.clone(),
        };
        let needed = header.encode().len() as u64 + record_bytes;
        let ready = self.spares.take(needed)?;
        let disk = &*self.options.disk;
        let segment = segment::publish(disk, &self.options.directory, &header, ready)?;
        self.tail = segment.begin;
        self.index.rolled(segment.clone());
        self.active = segment;
        Ok(())
    }

    /// Has the next segment made ready once this one is in use.
    pub fn prepare(&mut self) -> Result<(), DiskError> {
        if self.tail > self.active.bytes / 4 {
            self.spares.prepare()?;
        }
        Ok(())
    }

    /// Drops the oldest segment if it is beyond the retention and ends at or below
    /// `flushed`; the first sequence left, if it went. What follows `held` stays
    /// longer. One at a time: those that a start found are too old all at once, and
    /// each costs a sync for which the next entries wait.
    pub fn trim(
        &mut self,
        flushed: Sequence,
        held: Option<Sequence>,
    ) -> Result<Option<Sequence>, DiskError> {
        let now = pace::now();
        let retention = self.options.retention;
        let Some(old) = self.index.drop_oldest(retention, now, flushed, held) else {
            return Ok(None);
        };
        self.spares.recycle(&old)?;
        files::sync_directory(&*self.options.disk, &self.options.directory)?;
        Ok(Some(self.index.first()))
    }

    /// Cuts everything after `keep`; durable when it returns. A crash in
    /// between is finished by the next start.
    pub fn cut(&mut self, keep: Position, applied: Sequence) -> Result<(), LogError> {
        assert!(
            self.buffer.is_empty(),
            "groups are written whole before a cut"
        );
        if keep == self.last {
            return Ok(());
        }
        let first = self.first();
        let holds = keep.sequence.next() >= first
            && keep.sequence < self.last.sequence
            && self.history.epoch_at(keep.sequence).unwrap_or_default() == keep.epoch;
        if !holds || keep.sequence < applied {
            return Err(LogError::CutRefused {
                keep,
                first,
                last: self.last,
                applied,
            });
        }
        // What stays is on the disk before it is noted that the rest goes.
        self.sync()?;
        note_cut(&self.options, keep)?;
        let removed = self.index.cut(keep);
        let segments = self.index.segments();
        self.active = segments.last().expect("a log has a segment").clone();
        for segment in &removed {
            files::remove(&*self.options.disk, &segment.path)?;
        }
        let tail = match cut_segment(&self.active, keep)? {
            Ok(tail) => tail,
            Err((offset, sequence)) => {
                return Err(LogError::Damaged {
                    path: self.active.path.clone(),
                    offset,
                    sequence,
                });
            }
        };
        self.tail = tail;
        self.history.truncate(keep.sequence);
        self.last = keep;
        self.synced = keep;
        self.index.appended(keep, tail);
        self.mark.settle(keep)?;
        forget_cut(&self.options)?;
        Ok(())
    }
}

fn cut_path(options: &LogOptions) -> PathBuf {
    options.directory.join("CUT")
}

fn note_cut(options: &LogOptions, keep: Position) -> Result<(), DiskError> {
    let fields = Fields::default()
        .with("epoch", &keep.epoch)
        .with("sequence", &keep.sequence);
    sealed::store(&*options.disk, &cut_path(options), CUT_KIND, &fields)
}

fn forget_cut(options: &LogOptions) -> Result<(), DiskError> {
    // The segments behind it are gone for good first: one that a power cut brought
    // back, without the note, would pass for damage.
    files::sync_directory(&*options.disk, &options.directory)?;
    files::remove(&*options.disk, &cut_path(options))?;
    files::sync_directory(&*options.disk, &options.directory)
}

/// Overwrites all after `keep` with zeros and returns where it ends; or where
/// `keep` cannot be reached any more, and which entry was expected there.
fn cut_segment(
    segment: &Segment,
    keep: Position,
) -> Result<Result<u64, (u64, Sequence)>, DiskError> {
    let mut scan = Scan::new(segment, segment.begin, segment.bytes);
    let mut last = segment.previous;
    while last.sequence < keep.sequence {
        let offset = scan.offset();
        match scan.next(last)? {
            Some((found, _)) => last = found.position,
            None => return Ok(Err((offset, last.sequence.next()))),
        }
    }
    let tail = scan.offset();
    if last != keep {
        return Ok(Err((tail, keep.sequence)));
    }
    files::zero(&*segment.file, &segment.path, tail, segment.bytes)?;
    segment.file.sync_data().context("sync", &segment.path)?;
    Ok(Ok(tail))
}
