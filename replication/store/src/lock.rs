//! LOCK: which process has the directory open, and which ones certainly have
//! not any more.
//!
//! ```text
//! 4711                                    the number of the process
//! place 5d2f…-… 2049 1310731              boot, device and inode of this very file
//! incarnation 9f86d081884c7d65            who has it open, and before that, the newest first
//! ```
//!
//! Whoever put its incarnation here held the lock of this file. While it
//! holds it, the kernel gives it to nobody else, nor the file's inode to
//! another file: who got the lock in the same place knows that all the others
//! let go of it. A copy lies in another place, or under another kernel, and
//! proves nothing. It must never be used to tell who is alive.
//!
//! It is not synced and need not be whole: what it proves ends with the boot,
//! and a part of an incarnation is nobody's.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use replicamq_log::{Context, DiskError, sealed};
use rustix::fs::FlockOperation;

use crate::OpenError;

/// What is read of it.
const LOCK_BYTES_MAX: u64 = 16 << 10;

/// Incarnations that are kept: more than could start before `ZooKeeper`
/// forgets the first one by itself.
const INCARNATIONS_MAX: usize = 32;

const PLACE: &str = "place ";
const INCARNATION: &str = "incarnation ";

/// The file, locked until this is dropped.
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    /// Where it lies; `None` if the system does not say.
    place: Option<String>,
    /// Who has it open, once it said so.
    incarnation: Option<String>,
    /// Who had it open in this place and let go, the newest first.
    predecessors: Vec<String>,
}

impl Lock {
    /// Takes the lock of a directory, unless another process has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join("LOCK");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context("open", &path)?;
        hold(&file, &path, directory)?;
        let place = place(&file).context("look at", &path)?;
        let text = read(&file).context("read", &path)?;
        let lock = Self {
            incarnation: None,
            predecessors: incarnations(&text, place.as_deref()),
            file,
            path,
            place,
        };
        lock.write()?;
        Ok(lock)
    }

    /// Notes who has the directory open now.
    pub(crate) fn enter(&mut self, incarnation: &str) -> Result<(), DiskError> {
        assert!(sealed::is_name(incarnation), "it fits on a line");
        // A process that comes back in another life is not its own predecessor.
        self.predecessors.retain(|one| one != incarnation);
        self.incarnation = Some(incarnation.to_owned());
        self.write()
    }

    pub(crate) fn predecessors(&self) -> &[String] {
        &self.predecessors
    }

    fn write(&self) -> Result<(), DiskError> {
        let mut text = format!("{}\n", std::process::id());
        if let Some(place) = &self.place {
            writeln!(text, "{PLACE}{place}").expect("a string takes all");
            let all = self.incarnation.iter().chain(&self.predecessors);
            for incarnation in all.take(INCARNATIONS_MAX) {
                writeln!(text, "{INCARNATION}{incarnation}").expect("a string takes all");
            }
        }
        // Emptied first: lines of a copied file must not end up below our place.
        self.file
            .set_len(0)
            .and_then(|()| self.file.write_all_at(text.as_bytes(), 0))
            .context("write", &self.path)
    }
}

/// Keeps other processes out until the file is closed, and writes nothing. `None` where no
/// process was ever in.
pub(crate) fn look(directory: &Path) -> Result<Option<File>, OpenError> {
    let path = directory.join("LOCK");
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => {
            let file = opened.context("open", &path)?;
            hold(&file, &path, directory)?;
            Ok(Some(file))
        }
    }
}

fn hold(file: &File, path: &Path, directory: &Path) -> Result<(), OpenError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let text = read(file).context("read", path)?;
            Err(OpenError::Locked {
                directory: directory.to_owned(),
                holder: text.lines().next().unwrap_or_default().to_owned(),
            })
        }
        Err(error) => Err(OpenError::Disk(DiskError {
            operation: "lock",
            path: path.to_owned(),
            offset: None,
            error: error.into(),
        })),
    }
}

/// Which boot of the machine this is; empty if the system does not say.
pub(crate) fn boot_id() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// Of two files that are open at the same time under one kernel, no two have the same.
fn place(file: &File) -> io::Result<Option<String>> {
    let (boot, metadata) = (boot_id(), file.metadata()?);
    let place = format!("{boot} {} {}", metadata.dev(), metadata.ino());
    Ok((!boot.is_empty()).then_some(place))
}

fn read(file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    // From wherever the file was read to: it was just opened.
    file.take(LOCK_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What was noted here; nothing of what was noted elsewhere and copied.
fn incarnations(text: &str, place: Option<&str>) -> Vec<String> {
    let mut lines = text.lines().skip(1);
    let noted = lines.next().and_then(|line| line.strip_prefix(PLACE));
    if noted.is_none() || noted != place {
        return Vec::new();
    }
    let names = lines.filter_map(|line| line.strip_prefix(INCARNATION));
    let names = names.filter(|name| sealed::is_name(name));
    names.take(INCARNATIONS_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(directory: &Path) -> Lock {
        Lock::take(directory).unwrap()
    }

    /// Opens it, tells who was there before, and lets go.
    fn pass(directory: &Path, incarnation: &str) -> Vec<String> {
        let mut lock = take(directory);
        lock.enter(incarnation).unwrap();
        lock.predecessors().to_vec()
    }

    fn copy(from: &Path, to: &Path) {
        fs::copy(from.join("LOCK"), to.join("LOCK")).unwrap();
    }

    #[test]
    fn who_comes_later_knows_who_went() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(pass(path, "first").is_empty());
        // Who only looks takes nothing away.
        drop(take(path));
        assert_eq!(pass(path, "second"), ["first"]);
        assert_eq!(pass(path, "third"), ["second", "first"]);
        // The same process in its next life.
        assert_eq!(pass(path, "third"), ["second", "first"]);
        for number in 0..2 * INCARNATIONS_MAX {
            pass(path, &format!("{number:0255}"));
        }
        let found = pass(path, "last");
        let kept = INCARNATIONS_MAX..2 * INCARNATIONS_MAX;
        let kept: Vec<_> = kept.rev().map(|number| format!("{number:0255}")).collect();
        assert_eq!(found, kept);
    }

    #[test]
    fn a_copy_proves_nothing_of_the_original() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut live = take(one.path());
        live.enter("live").unwrap();
        copy(one.path(), two.path());
        assert!(pass(two.path(), "copy").is_empty());
        // Nor when it is put over a file that was there.
        copy(one.path(), two.path());
        assert!(pass(two.path(), "copy").is_empty());
        drop(live);
        assert_eq!(pass(one.path(), "next"), ["live"]);
    }

    #[test]
    fn a_second_name_of_the_file_is_locked_too() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut live = take(one.path());
        live.enter("live").unwrap();
        fs::hard_link(one.path().join("LOCK"), two.path().join("LOCK")).unwrap();
        let error = Lock::take(two.path()).err().unwrap();
        let us = std::process::id().to_string();
        assert!(
            matches!(&error, OpenError::Locked { holder, .. } if *holder == us),
            "{error}"
        );
    }

    #[test]
    fn another_boot_and_whatever_else_lies_there_prove_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("LOCK");
        pass(directory.path(), "first");
        let text = fs::read_to_string(&path).unwrap();
        let boot = boot_id();
        let long = format!("4711\n{}", "x".repeat(1 << 20));
        for other in [
            text.replace(&boot, "5d2f-0"),
            text.replace(PLACE, ""),
            text.replace(INCARNATION, ""),
            "4711\n".to_owned(),
            String::new(),
            long,
        ] {
            fs::write(&path, &other).unwrap();
            let found = pass(directory.path(), "next");
            assert!(found.is_empty(), "{found:?} from {other:.200}");
        }
        fs::write(&path, b"\xff\0\xfe").unwrap();
        assert!(pass(directory.path(), "next").is_empty());
        fs::write(&path, &text).unwrap();
        assert_eq!(pass(directory.path(), "next"), ["first"]);
    }
}
