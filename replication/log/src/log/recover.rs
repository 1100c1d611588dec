//! What a start finds of the log: first looked at, then put in order, so that
//! damage is on record before anything is cut.
//!
//! Old segments are known by their headers; entries are read from the one that
//! the store needs next. A tail that stops in mid-entry, or in mid-group, was
//! never synced and is cut. Anything else that is missing is [`Damage`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use replicamq_quorum::{EpochHistory, Position, Sequence};

use crate::error::Context;
use crate::files::{self, PAGE_BYTES};
use crate::log::index::Index;
use crate::log::mark::{self, Mark};
use crate::log::scan::Scan;
use crate::log::segment::{self, Header, Segment};
use crate::log::spare::Spares;
use crate::log::{CUT_KIND, Log, LogOptions, cut_path, cut_segment, forget_cut, note_cut};
use crate::sealed::{self, Loaded};
use crate::{Damage, Disk, DiskError, OpenError};

/// What the store holds: the log must reach at least so far.
#[derive(Debug, Clone, Default)]
pub struct Floor {
    /// The last entry in it.
    pub applied: Position,
    /// Which epoch wrote what, up to there.
    pub history: EpochHistory,
}

/// A log as it was found.
pub(crate) struct Examined {
    options: LogOptions,
    floor: Floor,
    mark: Option<Mark>,
    /// What is kept, oldest first; empty: the log begins anew after the floor.
    kept: Vec<(Header, Segment)>,
    /// What is put aside.
    aside: Vec<PathBuf>,
    /// The number of a segment that no file had so far.
    number: u64,
    end: End,
    /// A cut was under way, and cannot be finished.
    cut_is_void: bool,
    pub(crate) damage: Option<Damage>,
}

/// Where the entries end.
#[derive(Debug, Clone, Default)]
struct End {
    last: Position,
    history: EpochHistory,
    /// In the last segment that is kept.
    offset: u64,
    /// What is before `offset`, from here on, may not have been synced.
    unsynced: u64,
    /// From `offset` to here, zeros are to be written.
    zero_to: u64,
    /// Something behind it may be worth a look by a human.
    keep_copy: bool,
}

/// Looks at a log and changes nothing, except that a cut that was under way is finished.
pub(crate) fn examine(options: &LogOptions, floor: Floor) -> Result<Examined, OpenError> {
    let mut examined = Examined {
        options: options.clone(),
        floor,
        mark: Mark::open(&*options.disk, &options.directory)?,
        kept: Vec::new(),
        aside: Vec::new(),
        number: 1,
        end: End::default(),
        cut_is_void: false,
        damage: None,
    };
    examined.finish_cut()?;
    examined.choose()?;
    examined.walk()?;
    examined.compare();
    Ok(examined)
}

impl Examined {
    /// Where the log will end.
    pub(crate) fn last(&self) -> Position {
        if self.kept.is_empty() {
            self.floor.applied
        } else {
            self.end.last
        }
    }

    fn damaged(&mut self, damage: Damage) {
        self.damage.get_or_insert(damage);
    }

    /// Redoes a cut that a crash interrupted.
    fn finish_cut(&mut self) -> Result<(), OpenError> {
        let path = cut_path(&self.options);
        let keep = match sealed::load(&*self.options.disk, &path, CUT_KIND)? {
            Loaded::Missing => return Ok(()),
            Loaded::Newer { found, known } => {
                return Err(OpenError::NewerFormat { path, found, known });
            }
            Loaded::Damaged => None,
            Loaded::Fields(fields) => fields.number("epoch").zip(fields.number("sequence")),
        };
        self.cut_is_void = true;
        let Some((epoch, sequence)) = keep else {
            self.damaged(Damage::File { path });
            return Ok(());
        };
        let keep = Position::new(epoch, sequence);
        let (mut holder, mut unreadable) = (None, None);
        let files = list(&*self.options.disk, &self.options.directory)?;
        for (number, path) in &files {
            match segment::open(&*self.options.disk, path, *number)? {
                segment::Found::Header(_, found) if found.previous.sequence <= keep.sequence => {
                    holder = Some(found);
                }
                segment::Found::Header(..) => {}
                segment::Found::Damaged => {
                    unreadable = Some(Damage::LogHeader { path: path.clone() });
                }
            }
        }
        let Some(holder) = holder else {
            let first = files.first().map_or(1, |(number, _)| *number);
            let path = segment::path(&self.options.directory, first.saturating_sub(1));
            self.damaged(unreadable.unwrap_or(Damage::LogSegmentMissing { path }));
            return Ok(());
        };
        if let Err((offset, sequence)) = cut_segment(&holder, keep)? {
            self.damaged(unreadable.unwrap_or(Damage::LogEntry {
                path: holder.path,
                offset,
                sequence,
            }));
            return Ok(());
        }
        for (number, path) in files {
            if number > holder.number {
                files::remove(&*self.options.disk, &path)?;
            }
        }
        if let Some(mark) = &mut self.mark {
            mark.settle(keep)?;
        }
        self.cut_is_void = false;
        Ok(forget_cut(&self.options)?)
    }

    /// Finds the row of segments that the store can go on with.
    fn choose(&mut self) -> Result<(), OpenError> {
        let mut rows: Vec<Vec<(Header, Segment)>> = Vec::new();
        let mut whole = false;
        for (number, path) in list(&*self.options.disk, &self.options.directory)? {
            self.number = number + 1;
            let segment::Found::Header(header, segment) =
                segment::open(&*self.options.disk, &path, number)?
            else {
                self.damaged(Damage::LogHeader { path: path.clone() });
                self.aside.push(path);
                whole = false;
                continue;
            };
            let before = rows.last().and_then(|row| row.last());
            if let Some((_, before)) = before.filter(|(_, before)| before.number + 1 != number) {
                let path = segment::path(&self.options.directory, before.number + 1);
                self.damaged(Damage::LogSegmentMissing { path });
                whole = false;
            }
            match rows.last_mut() {
                Some(row) if whole => row.push((header, segment)),
                _ => rows.push(vec![(header, segment)]),
            }
            whole = true;
        }
        let applied = self.floor.applied.sequence;
        let usable = |row: &Vec<(Header, Segment)>| row[0].1.previous.sequence <= applied;
        let chosen = rows.iter().rposition(usable);
        if chosen.is_none() {
            self.damaged(match rows.first() {
                Some(row) => Damage::LogGap {
                    first: row[0].1.first(),
                    applied,
                },
                None => Damage::LogSegmentMissing {
                    path: segment::path(&self.options.directory, 1),
                },
            });
        }
        for (index, row) in rows.into_iter().enumerate() {
            if Some(index) == chosen {
                self.kept = row;
            } else {
                self.aside
                    .extend(row.into_iter().map(|(_, segment)| segment.path));
            }
        }
        Ok(())
    }

    /// Reads the entries from the segment that holds the next one to apply.
    fn walk(&mut self) -> Result<(), OpenError> {
        let applied = self.floor.applied.sequence;
        let from = self
            .kept
            .partition_point(|(_, segment)| segment.previous.sequence <= applied);
        let Some(from) = from.checked_sub(1) else {
            return Ok(());
        };
        let marked = self.mark.as_ref().map(|mark| mark.position().sequence);
        let marked = marked.unwrap_or_default();
        self.end.last = self.kept[from].1.previous;
        self.end.history = self.kept[from].0.history.clone();
        for index in from..self.kept.len() {
            let next = self.kept.get(index + 1).map(|(_, next)| next.previous);
            let (_, segment) = &self.kept[index];
            let damage = walk_segment(segment, next, marked, &mut self.end)?;
            if let Some(damage) = damage {
                self.damaged(damage);
                let behind = self.kept.split_off(index + 1);
                self.aside
                    .extend(behind.into_iter().map(|(_, segment)| segment.path));
                break;
            }
        }
        Ok(())
    }

    /// Holds the log against the store and the durable mark.
    fn compare(&mut self) {
        let last = self.end.last;
        let short = |needed: Position, history: &EpochHistory| {
            let other = history
                .epoch_at(needed.sequence)
                .is_some_and(|epoch| epoch != needed.epoch);
            last.sequence < needed.sequence || other
        };
        let applied = self.floor.applied;
        if !self.kept.is_empty() && short(applied, &self.end.history) {
            self.damaged(Damage::LogShort {
                path: self.last_path(),
                offset: self.end.offset,
                last,
                evidence: "has applied everything up to",
                needed: applied,
            });
            let kept = self.kept.drain(..);
            self.aside.extend(kept.map(|(_, segment)| segment.path));
        }
        match self.mark.as_ref().map(Mark::position) {
            None => self.damaged(Damage::File {
                path: mark::path(&self.options.directory),
            }),
            Some(marked) if short(marked, &self.end.history) => self.damaged(Damage::LogShort {
                path: self.last_path(),
                offset: self.end.offset,
                last,
                evidence: "had synced everything up to",
                needed: marked,
            }),
            Some(_) => {}
        }
    }

    fn last_path(&self) -> PathBuf {
        match self.kept.last() {
            Some((_, segment)) => segment.path.clone(),
            None => self.options.directory.clone(),
        }
    }

    /// Puts the log in order and takes it over. Damage must be on record by now.
    pub(crate) fn finish(self) -> Result<Log, DiskError> {
        let disk = Arc::clone(&self.options.disk);
        if self.cut_is_void {
            // A later start must not carry it out on what was appended since.
            forget_cut(&self.options)?;
        }
        if self.damage.is_some() {
            Spares::discard(&self.options)?;
        }
        for path in &self.aside {
            disk.rename(path, &path.with_extension("damaged"))
                .context("put aside", path)?;
        }
        let Some((_, active)) = self.kept.last().cloned() else {
            let mark = Mark::create(&*disk, &self.options.directory, self.floor.applied)?;
            let header = Header {
                number: self.number,
                previous: self.floor.applied,
                history: self.floor.history,
            };
            return Log::begin(self.options, header, mark);
        };
        let End {
            last,
            history,
            offset,
            unsynced,
            zero_to,
            keep_copy,
        } = self.end;
        if keep_copy {
            let copy = active.path.with_extension("damaged");
            files::copy(&*disk, &active.file, &copy)?;
            // What stays was synced, or what is behind it would not tell of damage: the mark may
            // name it even if the sync below fails.
            // The rest goes as in a cut: if this start does not come to its end, or its sync
            // fails and leaves zeros in memory alone, the next one does it again.
            files::sync_directory(&*disk, &self.options.directory)?;
            note_cut(&self.options, last)?;
        }
        files::zero(&*active.file, &active.path, offset, zero_to)?;
        // What was read may be in memory only. If a sync of it failed, and ended the
        // process before, the system told that once and takes its pages for clean.
        files::rewrite(&*active.file, &active.path, unsynced, offset)?;
        active.file.sync_data().context("sync", &active.path)?;
        let mut mark = match self.mark {
            Some(mark) => mark,
            None => Mark::create(&*disk, &self.options.directory, last)?,
        };
        mark.settle(last)?;
        files::sync_directory(&*disk, &self.options.directory)?;
        if keep_copy {
            forget_cut(&self.options)?;
        }
        let segments = self.kept.into_iter().map(|(_, segment)| segment).collect();
        Ok(Log {
            index: Arc::new(Index::new(segments, last, offset)),
            spares: Spares::open(&self.options)?,
            options: self.options,
            mark,
            history,
            active,
            tail: offset,
            buffer: Vec::new(),
            last,
            synced: last,
        })
    }
}

/// Reads a segment to its end: to `next`, or to the tail of the log.
fn walk_segment(
    segment: &Segment,
    next: Option<Position>,
    marked: Sequence,
    end: &mut End,
) -> Result<Option<Damage>, DiskError> {
    let mut scan = Scan::new(segment, segment.begin, segment.bytes);
    end.unsynced = segment.begin;
    while Some(end.last) != next
        && let Some((found, _)) = scan.next(end.last)?
    {
        if found.position.sequence <= marked {
            end.unsynced = found.end;
        }
        end.last = found.position;
        end.history.append(found.position);
    }
    end.offset = scan.offset();
    end.zero_to = end.offset;
    if Some(end.last) == next {
        return Ok(None);
    }
    let damage = Damage::LogEntry {
        path: segment.path.clone(),
        offset: end.offset,
        sequence: end.last.sequence.next(),
    };
    let behind = behind(&mut scan, end.last.sequence)?;
    if next.is_some() || behind.durable > end.last.sequence {
        end.keep_copy = true;
        end.zero_to = segment.bytes;
        return Ok(Some(damage));
    }
    // The torn entry's own bytes go too.
    let page = (end.offset + 1).next_multiple_of(PAGE_BYTES);
    end.zero_to = behind.end.max(page).min(segment.bytes);
    Ok(None)
}

/// What whole entries behind the end of the log say.
#[derive(Default)]
struct Behind {
    /// What was synced when the last of them was written.
    durable: Sequence,
    /// Where the last of them ends.
    end: u64,
}

fn behind(scan: &mut Scan<'_>, last: Sequence) -> Result<Behind, DiskError> {
    let mut behind = Behind::default();
    while let Some(found) = scan.seek(last)? {
        behind.durable = behind.durable.max(found.durable);
        behind.end = found.end;
    }
    Ok(behind)
}

/// The segments by number.
fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<(u64, PathBuf)>, DiskError> {
    let names = disk.list(directory).context("list", directory)?;
    let mut segments: Vec<_> = names
        .iter()
        .filter_map(|name| Some((segment::number(name)?, directory.join(name))))
        .collect();
    segments.sort_unstable();
    Ok(segments)
}
