//! A disk for each node that can be filled without hurting anybody else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Room for log, store, and a checkpoint on its way.
const SIZE: u64 = 768 << 20;

/// What fills it.
const FILLER: &str = "filler";

/// A file with a file system in it, mounted where a node has its directory.
#[derive(Debug)]
pub(crate) struct Disk {
    mounted_at: PathBuf,
}

impl Disk {
    /// `None` where we may not mount.
    pub(crate) fn make(directory: &Path) -> Option<Self> {
        let image = directory.with_extension("image");
        File::create(&image)
            .and_then(|file| file.set_len(SIZE))
            .expect("there is room for a disk");
        // Nothing is kept for root, who we are.
        run(Command::new("mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(&image))?;
        fs::create_dir_all(directory).expect("the node has no directory yet");
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, directory]))?;
        Some(Self {
            mounted_at: directory.to_owned(),
        })
    }

    /// Leaves no room at all.
    pub(crate) fn fill(&self) {
        let filler = File::options()
            .create(true)
            .append(true)
            .open(self.mounted_at.join(FILLER))
            .expect("a name takes no room");
        let mut at = 0;
        let mut step = SIZE;
        while step >= 4096 {
            let free = statvfs(&self.mounted_at).expect("it is mounted");
            step = step.min(free.f_bavail * free.f_frsize);
            match fallocate(&filler, FallocateFlags::empty(), at, step) {
                Ok(()) => at += step,
                // The file system needs some of it for itself.
                Err(_) => step /= 2,
            }
        }
    }

    /// Makes room again.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.mounted_at.join(FILLER)).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the node may still run.
        run(Command::new("umount").arg("-l").arg(&self.mounted_at));
    }
}

/// Removes all that a node has written, as a new disk would.
pub(crate) fn wipe(directory: &Path) {
    for entry in fs::read_dir(directory).expect("the node has a directory") {
        let path = entry.expect("the node has a directory").path();
        if path.ends_with("lost+found") {
            continue;
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        removed.expect("its node does not run");
    }
}

fn run(command: &mut Command) -> Option<()> {
    let output = command.output().ok()?;
    output.status.success().then_some(())
}
