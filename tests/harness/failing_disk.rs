//! A file system over real files whose syncs can be made to fail or to hang, and that can
//! lose its power: what was not synced is then gone. Names are durable at once.
//!
//! It is what a disk may do to a process that was not built for a test: every write and sync
//! of a node, its own and `RocksDB`'s, comes through here.

mod files;
mod mount;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use self::files::Files;
use self::mount::Mounted;

/// How a sync ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syncs {
    Work,
    /// With `EIO`. As on Linux, the pages count as clean afterwards: no later sync writes them.
    Fail,
    /// Not at all, until it is healed.
    Hang,
}

/// A mounted one; unmounted when it is dropped.
#[derive(Debug)]
pub struct FailingDisk {
    files: Arc<Mutex<Files>>,
    mounted_at: PathBuf,
    session: Option<BackgroundSession>,
}

impl FailingDisk {
    /// Mounts one over a new directory; `None` where that is not allowed.
    pub fn mount(at: &Path) -> Option<Self> {
        let root = platter(at);
        for directory in [at, &root] {
            fs::create_dir_all(directory).expect("there is room for temporary files");
        }
        let files = Arc::new(Mutex::new(Files::new(root)));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("failing-disk".to_owned())];
        config.acl = SessionACL::Owner;
        let session = fuser::spawn_mount(Mounted::new(&files), at, &config).ok()?;
        Some(Self {
            files,
            mounted_at: at.to_owned(),
            session: Some(session),
        })
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        locked(&self.files)
    }

    /// Syncs fail from now on.
    pub fn fail_syncs(&self) {
        self.files().set_syncs(Syncs::Fail);
    }

    /// Syncs do not end.
    pub fn hang_syncs(&self) {
        self.files().set_syncs(Syncs::Hang);
    }

    /// Syncs work again; those that hang end.
    pub fn heal(&self) {
        self.files().set_syncs(Syncs::Work);
    }

    /// Syncs that were asked for and have not worked.
    pub fn troubled_syncs(&self) -> u64 {
        self.files().troubled_syncs()
    }

    /// The power fails: what is not on the platter is gone. Whoever used it is dead by now.
    /// How many pages that cost.
    pub fn lose_power(&self) -> usize {
        let mut files = self.files();
        files.set_syncs(Syncs::Work);
        files.lose_power()
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        self.files().set_syncs(Syncs::Work);
        // Lazily: the node may still run, and its files go with its end.
        let mut unmount = Command::new("umount");
        drop(unmount.arg("-l").arg(&self.mounted_at).output());
        drop(self.session.take());
    }
}

/// Where the files behind it lie: what is mounted there before is its disk.
pub fn platter(at: &Path) -> PathBuf {
    at.with_extension("platter")
}

fn locked(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}
