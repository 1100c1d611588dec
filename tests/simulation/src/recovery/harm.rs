//! What rots, and what of that must be noticed. It reads the segments by itself, so that it
//! knows what a bit belongs to without asking the code that is to notice.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::files::{DIRECTORY, directory};
use crate::recovery::{HALF, Rig};

/// What stands before a batch.
const RECORD_HEADER: usize = 32;

/// One thing that is not as it was written.
#[derive(Debug, Default)]
pub(super) struct Harm {
    pub(super) path: PathBuf,
    what: &'static str,
    /// At which byte.
    at: usize,
    /// Where the record that it is in begins.
    pub(super) place: Option<u64>,
    /// Another copy makes up for it.
    pub(super) is_harmless: bool,
    /// If nothing is noticed, the log reaches at least so far; `None`: as without the harm.
    pub(super) leaves: Option<u64>,
    /// The next start must tell of it.
    pub(super) must_be_found: bool,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, path, at, .. } = self;
        write!(f, "{} is {what} at byte {at}", path.display())
    }
}

impl Harm {
    pub(super) fn is_at(&self, path: &Path, offset: u64) -> bool {
        self.path == path && self.place == Some(offset)
    }

    /// The same for a reader, who may come after half a cut.
    pub(super) fn may_be_at(&self, path: &Path, offset: u64) -> bool {
        self.path == path && self.place.is_none_or(|place| place == offset)
    }

    fn took(&self, name: &str) -> bool {
        self.what == "gone" && self.path.ends_with(name)
    }

    pub(super) fn took_current(&self) -> bool {
        self.took("CURRENT")
    }

    pub(super) fn took_promise(&self) -> bool {
        self.took("PROMISE")
    }
}

/// A segment, as anybody can read it.
struct Segment {
    path: PathBuf,
    previous: u64,
    begin: usize,
    /// Sequence, begin, end with its padding.
    records: Vec<(u64, usize, usize)>,
    /// Whether a start reads its entries.
    walked: bool,
    is_last: bool,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?;
    let number = u32::from_le_bytes(four.try_into().expect("four bytes"));
    usize::try_from(number).ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(eight.try_into().expect("eight bytes")))
}

impl Segment {
    fn read(path: PathBuf, bytes: &[u8]) -> Option<Self> {
        let begin = u32_at(bytes, 16)?;
        let previous = u64_at(bytes, 40)?;
        let mut records = Vec::new();
        let (mut sequence, mut at) = (previous + 1, begin);
        while u64_at(bytes, at + 16) == Some(sequence) {
            let end = (at + RECORD_HEADER + u32_at(bytes, at)?).next_multiple_of(8);
            records.push((sequence, at, end));
            (sequence, at) = (sequence + 1, end);
        }
        Some(Self {
            path,
            previous,
            begin,
            records,
            walked: true,
            is_last: true,
        })
    }
}

impl Rig {
    /// Does some. It is done to what a process would read: on the platter and in memory.
    pub(super) fn harm(&mut self) -> Harm {
        let quiet = self.expected.cut.is_none() && self.expected.installing.is_none();
        let segments = self.segments();
        let harm = if segments.is_empty() || self.random.chance(250_000) {
            self.harm_anything()
        } else {
            let index = self.random.index(segments.len());
            self.harm_segment(&segments[index])
        };
        Harm {
            // What half a cut or half a checkpoint leaves is judged by its entries alone.
            must_be_found: harm.must_be_found && quiet,
            place: harm.place.filter(|_| quiet),
            leaves: if quiet { harm.leaves } else { Some(0) },
            ..harm
        }
    }

    fn segments(&self) -> Vec<Segment> {
        let own = directory(self.expected.generation.told());
        let inside = |path: &PathBuf| {
            path.parent() == Some(&own) && path.extension().is_some_and(|end| end == "segment")
        };
        let mut paths = self.platter.paths();
        paths.retain(inside);
        let read = |path: PathBuf| {
            let bytes = self.platter.read(&path)?;
            Segment::read(path, &bytes)
        };
        let mut segments: Vec<_> = paths.into_iter().filter_map(read).collect();
        let applied = self.expected.applied;
        let count = segments.len();
        for index in 0..count {
            let next = segments.get(index + 1).map(|next| next.previous);
            segments[index].walked = next.is_none_or(|previous| previous > applied);
            segments[index].is_last = next.is_none();
        }
        segments
    }

    fn harm_segment(&mut self, segment: &Segment) -> Harm {
        let path = segment.path.clone();
        let bytes = self.platter.read(&path).map_or(0, |bytes| bytes.len());
        let used = segment.records.last().map_or(segment.begin, |last| last.2);
        let end = if self.random.chance(800_000) {
            used
        } else {
            bytes
        };
        let at = self.random.index(end.max(1));
        match self.random.below(10) {
            0 => {
                self.platter.lose(&path);
                self.shortened(segment, "gone", 0)
            }
            1 => {
                self.platter.truncate(&path, at);
                self.shortened(segment, "truncated", at)
            }
            _ => {
                let bit = self.random.index(8);
                self.platter.flip(&path, at, bit);
                self.flipped(segment, at)
            }
        }
    }

    fn flipped(&self, segment: &Segment, at: usize) -> Harm {
        let hit = segment
            .records
            .iter()
            .zip(1..)
            .find(|((_, begin, end), _)| (*begin..*end).contains(&at));
        let harm = Harm {
            path: segment.path.clone(),
            what: "flipped",
            at,
            ..Harm::default()
        };
        match hit {
            None => Harm {
                must_be_found: at < segment.begin,
                ..harm
            },
            Some((&(sequence, begin, _), _)) => {
                let bytes = self.platter.read(&segment.path).unwrap_or_default();
                let covered = begin + RECORD_HEADER + u32_at(&bytes, begin).unwrap_or(0);
                // The padding behind a batch says nothing, unless the length was hit.
                let says = at < covered || at < begin + RECORD_HEADER;
                Harm {
                    place: Some(begin as u64),
                    leaves: says.then(|| self.expected.least().min(sequence - 1)),
                    must_be_found: says && segment.walked && sequence <= self.expected.provable(),
                    ..harm
                }
            }
        }
    }

    /// The file ends at `at`, or is gone.
    fn shortened(&self, segment: &Segment, what: &'static str, at: usize) -> Harm {
        let gone = what == "gone";
        let first_lost = segment
            .records
            .iter()
            .find(|(_, _, end)| *end > at)
            .map(|(sequence, begin, _)| (*sequence, *begin));
        let told = match first_lost {
            // A later segment says what stood in this one.
            _ if !segment.is_last && segment.walked => true,
            Some((sequence, _)) => segment.walked && sequence <= self.expected.provable_by_mark(),
            None => false,
        };
        Harm {
            path: segment.path.clone(),
            what,
            at,
            is_harmless: false,
            place: first_lost.map(|(_, begin)| begin as u64).filter(|_| !gone),
            leaves: Some(first_lost.map_or(self.expected.least(), |(sequence, _)| sequence - 1)),
            must_be_found: (!gone && at < segment.begin)
                || (told && (gone || first_lost.is_some())),
        }
    }

    /// Any file at all.
    fn harm_anything(&mut self) -> Harm {
        let own = directory(self.expected.generation.told());
        let counts = |path: &PathBuf| {
            let inside = path.parent() == Some(&own) || path.parent() == Some(Path::new(DIRECTORY));
            inside && path.extension().is_none_or(|end| end != "segment")
        };
        let mut paths = self.platter.paths();
        paths.retain(counts);
        if self.random.chance(HALF) {
            paths.retain(|path| path.parent() == Some(Path::new(DIRECTORY)));
        }
        let path = paths[self.random.index(paths.len())].clone();
        let bytes = self.platter.read(&path).unwrap_or_default();
        if self.random.chance(200_000) {
            self.platter.lose(&path);
            let needed = ["PROMISE", "durable"];
            return Harm {
                must_be_found: needed.iter().any(|name| path.ends_with(name)),
                path,
                what: "gone",
                ..Harm::default()
            };
        }
        // Where something stands.
        let says = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0);
        let says: Vec<usize> = says.map(|(at, _)| at).collect();
        let at = match says.len() {
            0 => 0,
            count => says[self.random.index(count)],
        };
        let bit = self.random.index(8);
        self.platter.flip(&path, at, bit);
        Harm {
            path,
            what: "flipped",
            at,
            is_harmless: true,
            ..Harm::default()
        }
    }
}
