//! A simulated disk under the shipped log: files and names in two states, what the
//! operating system has and what is on the platter.
//!
//! A process that dies leaves all that it wrote. A loss of power leaves of what was not
//! synced any part: of a file's data any of its sectors (512 bytes, each whole or as
//! before), or whole pages, or the first ones; of a file that grew or was emptied, the old
//! size or the new. Of the changes to names in a directory it leaves, as journaling file
//! systems do, either the first ones of all in their order (ext4, XFS), or any that do not
//! follow upon a lost one of the same name or file (btrfs, whose tree log keeps them apart).
//! Nothing binds names to data: a name may be there before what it names.
//!
//! Everything comes from one [`Random`]: one seed, one disk.

mod content;
mod names;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use replicamq_log::{Aside, Disk, DiskFile, Work};

use crate::platter::content::Content;
use crate::platter::names::Names;
use crate::random::Random;

/// What the system writes whole.
const PAGE_BYTES: usize = 4096;
/// A failed sync, as the system tells it.
const EIO: i32 = 5;
/// No space.
const ENOSPC: i32 = 28;

/// The disk of one machine. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct Platter(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    names: Names,
    /// Counts processes: what an earlier one has open is of no use.
    life: u64,
    /// Changes that the process may still make before it dies.
    budget: Option<u64>,
    dead: bool,
    /// The sync that fails, counted from now.
    failing_sync: Option<u64>,
    /// What all files together may take.
    space: Option<u64>,
    /// Faults that came to pass.
    told: Told,
}

/// Faults that came to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Writes that found no space.
    pub full: u64,
    /// Losses of power that lost something.
    pub torn: u64,
}

/// What an interrupted change came to.
enum Turn {
    Whole,
    /// The process dies in it: it is carried out or not, and nobody hears of it.
    Last,
}

type Shared = Arc<Mutex<Content>>;

/// A file that a process has open.
#[derive(Debug)]
struct Handle {
    platter: Platter,
    life: u64,
    file: Shared,
}

fn lock(file: &Shared) -> MutexGuard<'_, Content> {
    file.lock().expect("nobody panics while holding a file")
}

fn died() -> io::Error {
    io::Error::other("the process died")
}

impl Platter {
    /// An empty disk.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self(Arc::new(Mutex::new(State {
            random,
            names: Names::default(),
            life: 0,
            budget: None,
            dead: false,
            failing_sync: None,
            space: None,
            told: Told::default(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding the disk")
    }

    /// The process dies in the change after so many more.
    pub fn die_after(&self, changes: u64) {
        self.state().budget = Some(changes);
    }

    /// The sync after so many more fails, once.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state().failing_sync = Some(syncs);
    }

    /// From now on there is so much space beyond what is used, or as much as anyone wants.
    pub fn set_free_space(&self, bytes: Option<u64>) {
        let mut state = self.state();
        let used = state.names.used_bytes();
        state.space = bytes.map(|bytes| used + bytes);
    }

    /// Whether this disk is the cause of an error, and not what was asked of it.
    pub fn caused(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(EIO | ENOSPC)) || error.kind() == ErrorKind::Other
    }

    /// What was to happen to the process does not.
    pub fn disarm(&self) {
        let mut state = self.state();
        state.budget = None;
        state.failing_sync = None;
    }

    /// The process is gone: what it wrote stays.
    pub fn kill(&self) {
        let mut state = self.state();
        state.life += 1;
        state.budget = None;
        state.dead = false;
        state.failing_sync = None;
    }

    /// The power fails. Whether anything was lost.
    pub fn lose_power(&self) -> bool {
        self.kill();
        let mut state = self.state();
        let state = &mut *state;
        let mut lost = state.names.lose_power(&mut state.random);
        for file in state.names.files() {
            lost |= lock(file).lose_power(&mut state.random);
        }
        state.told.torn += u64::from(lost);
        lost
    }

    /// Empties it.
    pub fn wipe(&self) {
        self.kill();
        self.state().names = Names::default();
    }

    /// Faults that came to pass.
    pub fn told(&self) -> Told {
        self.state().told
    }

    /// Everything that has a name, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.paths().cloned().collect()
    }

    /// What a file holds, as a process would read it.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let file = self.state().names.get(path)?;
        let bytes = lock(&file).written().to_vec();
        Some(bytes)
    }

    /// Flips a bit, here and on the platter.
    pub fn flip(&self, path: &Path, offset: usize, bit: usize) {
        if let Some(file) = self.state().names.get(path) {
            lock(&file).flip(offset, bit);
        }
    }

    /// The rest of the file is gone.
    pub fn truncate(&self, path: &Path, bytes: usize) {
        if let Some(file) = self.state().names.get(path) {
            lock(&file).truncate(bytes);
        }
    }

    /// The file is gone, also from the platter.
    pub fn lose(&self, path: &Path) {
        self.state().names.lose(path);
    }

    fn handle(&self, life: u64, file: Shared) -> Arc<dyn DiskFile> {
        Arc::new(Handle {
            platter: self.clone(),
            life,
            file,
        })
    }
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(died()) } else { Ok(()) }
    }

    /// A change is about to be made.
    fn turn(&mut self) -> io::Result<Turn> {
        self.alive()?;
        match &mut self.budget {
            Some(0) => {
                self.dead = true;
                if self.random.chance(500_000) {
                    Ok(Turn::Last)
                } else {
                    Err(died())
                }
            }
            Some(left) => {
                *left -= 1;
                Ok(Turn::Whole)
            }
            None => Ok(Turn::Whole),
        }
    }

    /// Whether this sync is the one that fails.
    fn sync_fails(&mut self) -> bool {
        match &mut self.failing_sync {
            Some(0) => {
                self.failing_sync = None;
                self.told.failed_syncs += 1;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn find_space(&mut self, more: u64) -> io::Result<()> {
        if let Some(space) = self.space
            && more > 0
            && self.names.used_bytes() + more > space
        {
            self.told.full += 1;
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }
}

impl Turn {
    fn end<T>(&self, value: T) -> io::Result<T> {
        match self {
            Self::Whole => Ok(value),
            Self::Last => Err(died()),
        }
    }
}

impl Disk for Platter {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.alive()?;
        let file = state.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(self.handle(state.life, file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let turn = state.turn()?;
        let file = if let Some(file) = state.names.get(path) {
            lock(&file).empty();
            file
        } else {
            let file = Shared::default();
            state.names.link(path, &file);
            file
        };
        turn.end(self.handle(state.life, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let turn = state.turn()?;
        state.names.rename(from, to)?;
        turn.end(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let turn = state.turn()?;
        state.names.unlink(path)?;
        turn.end(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.alive()?;
        let mut names = state.names.list(directory);
        // No order is promised.
        state.random.shuffle(&mut names);
        Ok(names)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        let turn = state.turn()?;
        if state.sync_fails() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        state.names.sync(directory);
        turn.end(())
    }

    fn aside(&self, work: Work) -> io::Result<Aside> {
        self.state().alive()?;
        Ok(Aside::Done(work()))
    }
}

impl Handle {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.platter.state();
        if state.life != self.life {
            return Err(died());
        }
        state.alive()?;
        Ok(state)
    }
}

impl DiskFile for Handle {
    fn len(&self) -> io::Result<u64> {
        let _state = self.state()?;
        Ok(lock(&self.file).written().len() as u64)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let _state = self.state()?;
        let file = lock(&self.file);
        let from = usize::try_from(offset).expect("files are small");
        let found = file.written().get(from..from + bytes.len());
        bytes.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let turn = state.turn()?;
        let from = usize::try_from(offset).expect("files are small");
        let grown = (from + bytes.len()).saturating_sub(lock(&self.file).written().len());
        state.find_space(grown as u64)?;
        let written = match turn {
            Turn::Whole => bytes.len(),
            // Its first pages are there: within one, nothing interrupts the system.
            Turn::Last => {
                let pages = state.random.index(bytes.len().div_ceil(PAGE_BYTES) + 1);
                let end = (from / PAGE_BYTES + pages) * PAGE_BYTES;
                end.saturating_sub(from).min(bytes.len())
            }
        };
        lock(&self.file).write(&bytes[..written], from, &mut state.random);
        turn.end(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let turn = state.turn()?;
        let here = lock(&self.file).written().len() as u64;
        state.find_space(bytes.saturating_sub(here))?;
        lock(&self.file).grow(usize::try_from(bytes).expect("files are small"));
        turn.end(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let turn = state.turn()?;
        let mut file = lock(&self.file);
        if state.sync_fails() {
            file.fail_sync(&mut state.random);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        file.sync();
        turn.end(())
    }
}
