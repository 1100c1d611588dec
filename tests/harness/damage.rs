//! What a disk may do to the files of a node that does not run.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The files of a node whose name ends so, the oldest first.
fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory is ours to hurt") {
        let path = entry.expect("the directory is ours to hurt").path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_str().is_some_and(|name| name.ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The largest file of a node whose name ends so.
pub fn largest(directory: &Path, end: &str) -> PathBuf {
    let files = files(directory, end);
    let size = |path: &PathBuf| {
        path.metadata()
            .expect("the directory is ours to hurt")
            .len()
    };
    files
        .into_iter()
        .max_by_key(size)
        .expect("the directory is ours to hurt")
}

/// Changes one bit in place, as a disk might.
pub fn rot(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.expect("the directory is ours to hurt");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)
        .expect("the directory is ours to hurt");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset)
        .expect("the directory is ours to hurt");
}

/// Half of it is gone; how much is left.
fn halve(path: &Path) -> u64 {
    let file = fs::File::options().write(true).open(path);
    let file = file.expect("the directory is ours to hurt");
    let size = file.metadata().expect("the directory is ours to hurt");
    let left = size.len() / 2;
    file.set_len(left).expect("the directory is ours to hurt");
    left
}

fn remove(path: PathBuf) -> Hurt {
    fs::remove_file(&path).expect("the directory is ours to hurt");
    Hurt { path, within: None }
}

/// What was hurt.
#[derive(Debug)]
pub struct Hurt {
    /// The file.
    pub path: PathBuf,
    /// Where the record or block begins of which a byte was hurt, if it is still there.
    pub within: Option<RangeInclusive<u64>>,
}

impl Hurt {
    /// Whether a line tells the file, and the place in it.
    pub fn is_told_by(&self, line: &str) -> bool {
        let path = self.path.to_str().expect("our paths are text");
        let Some((before, after)) = line.split_once(path) else {
            return false;
        };
        let Some(within) = &self.within else {
            return (before.contains("damaged") || after.contains("damaged"))
                && !line.contains("at byte");
        };
        let number = ["at byte ", "offset "].iter().find_map(|words| {
            let number = after.strip_prefix(' ')?.strip_prefix(words)?;
            number.split(|letter: char| !letter.is_ascii_digit()).next()
        });
        let number = number.and_then(|number| number.parse().ok());
        number.is_some_and(|number| within.contains(&number))
    }
}

/// Where the first record of a segment is: behind the header's page.
const FIRST_RECORD: u64 = 4096;

fn rot_first_record(path: PathBuf) -> Hurt {
    rot(&path, FIRST_RECORD + 20);
    let within = Some(FIRST_RECORD..=FIRST_RECORD);
    Hurt { path, within }
}

/// Changes a bit of a record in the middle of what the newest segment holds.
pub fn rot_middle(directory: &Path, part: u64, parts: u64) -> Hurt {
    let path = segments(directory).pop();
    let path = path.expect("the directory is ours to hurt");
    let bytes = fs::read(&path).expect("the directory is ours to hurt");
    let end = bytes.iter().rposition(|byte| *byte != 0);
    let end = end.expect("the directory is ours to hurt") as u64;
    let offset = FIRST_RECORD + (end - FIRST_RECORD) * part / parts;
    rot(&path, offset);
    let within = Some(FIRST_RECORD..=offset);
    Hurt { path, within }
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    files(directory, ".segment")
}

/// Damages something in the directory of a node that does not run.
pub type Harm = fn(&Path) -> Hurt;

/// All that may happen to the files of a node that does not run.
pub const HURTS: [(&str, Harm); 10] = [
    ("a flipped bit in the newest log segment", |directory| {
        rot_first_record(
            segments(directory)
                .pop()
                .expect("the directory is ours to hurt"),
        )
    }),
    ("a flipped bit in an old log segment", |directory| {
        rot_first_record(segments(directory).remove(0))
    }),
    ("a missing log segment", |directory| {
        remove(segments(directory).remove(1))
    }),
    ("half of a log segment", |directory| {
        let path = largest(directory, ".segment");
        let within = Some(FIRST_RECORD..=halve(&path));
        Hurt { path, within }
    }),
    ("a flipped bit in a table", |directory| {
        let path = largest(directory, ".sst");
        rot(&path, 1000);
        let within = Some(0..=1000);
        Hurt { path, within }
    }),
    ("half of a table", |directory| {
        let path = largest(directory, ".sst");
        halve(&path);
        Hurt { path, within: None }
    }),
    ("a missing table", |directory| {
        remove(largest(directory, ".sst"))
    }),
    ("a lost epoch", |directory| {
        remove(directory.join("PROMISE"))
    }),
    ("a lost note of what counts", |directory| {
        remove(directory.join("CURRENT"))
    }),
    ("a lost identity", |directory| {
        remove(directory.join("IDENTITY"))
    }),
];
