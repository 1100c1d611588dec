//! The files behind the file system: what was written to each since it was last synced, and
//! what stood there before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{Errno, ReplyEmpty};

use super::Syncs;

const PAGE_BYTES: u64 = 4096;
/// What the kernel calls the root, whatever its number is.
const ROOT: u64 = 1;

/// What stood in a page; shorter where the file ended in it.
type Pages = BTreeMap<u64, Vec<u8>>;

/// A file as the platter has it, where that is not what readers see.
#[derive(Debug, Default)]
struct Unsynced {
    /// Its length on the platter.
    bytes: u64,
    /// Written since the last sync.
    fresh: Pages,
    /// Written before a sync that failed: no later one writes them.
    doomed: Pages,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    root_number: u64,
    /// One path of each file and directory that the kernel has looked up.
    paths: BTreeMap<u64, PathBuf>,
    open: BTreeMap<u64, (u64, Arc<File>)>,
    handles: u64,
    unsynced: BTreeMap<u64, Unsynced>,
    syncs: Syncs,
    hanging: Vec<(u64, ReplyEmpty)>,
    troubled_syncs: u64,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        let root_number = fs::metadata(&root).expect("it was just made").ino();
        Self {
            paths: BTreeMap::from([(ROOT, root.clone())]),
            root,
            root_number,
            open: BTreeMap::new(),
            handles: 0,
            unsynced: BTreeMap::new(),
            syncs: Syncs::Work,
            hanging: Vec::new(),
            troubled_syncs: 0,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The number of a file as the kernel knows it.
    pub(super) fn number(&self, found: &fs::Metadata) -> u64 {
        match found.ino() {
            number if number == self.root_number => ROOT,
            number => number,
        }
    }

    pub(super) fn path(&self, number: u64) -> io::Result<PathBuf> {
        let path = self.paths.get(&number).cloned();
        path.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Remembers where a file is found; what it is.
    pub(super) fn look_up(&mut self, path: PathBuf) -> io::Result<fs::Metadata> {
        let found = fs::symlink_metadata(&path)?;
        self.paths.insert(self.number(&found), path);
        Ok(found)
    }

    pub(super) fn describe(&self, number: u64, handle: Option<u64>) -> io::Result<fs::Metadata> {
        match handle.and_then(|handle| self.open.get(&handle)) {
            Some((_, file)) => file.metadata(),
            None => fs::symlink_metadata(self.path(number)?),
        }
    }

    /// A new file, or one that was emptied: nothing of it is on the platter.
    pub(super) fn created(&mut self, number: u64) {
        self.unsynced.insert(number, Unsynced::default());
    }

    pub(super) fn opened(&mut self, number: u64, file: File) -> u64 {
        self.handles += 1;
        self.open.insert(self.handles, (number, Arc::new(file)));
        self.handles
    }

    pub(super) fn released(&mut self, handle: u64) {
        self.open.remove(&handle);
    }

    pub(super) fn file(&self, handle: u64) -> io::Result<(u64, Arc<File>)> {
        let open = self.open.get(&handle).cloned();
        open.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Keeps what stands in `[from, to)` until that is synced.
    fn keep(&mut self, number: u64, file: &File, from: u64, to: u64) -> io::Result<()> {
        let bytes = file.metadata()?.len();
        let unsynced = self.unsynced.entry(number).or_insert_with(|| Unsynced {
            bytes,
            ..Unsynced::default()
        });
        for page in from / PAGE_BYTES..to.div_ceil(PAGE_BYTES) {
            if unsynced.fresh.contains_key(&page) {
                continue;
            }
            let before = match unsynced.doomed.remove(&page) {
                Some(before) => before,
                None => read_page(file, page, bytes)?,
            };
            unsynced.fresh.insert(page, before);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, handle: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let (number, file) = self.file(handle)?;
        self.keep(number, &file, offset, offset + data.len() as u64)?;
        file.write_all_at(data, offset)
    }

    pub(super) fn resize(&mut self, number: u64, bytes: u64) -> io::Result<()> {
        let file = File::options()
            .write(true)
            .read(true)
            .open(self.path(number)?)?;
        let before = file.metadata()?.len();
        self.keep(number, &file, bytes, before.max(bytes))?;
        file.set_len(bytes)
    }

    pub(super) fn reserve(&mut self, handle: u64, from: u64, bytes: u64) -> io::Result<()> {
        let (number, file) = self.file(handle)?;
        let end = file.metadata()?.len();
        self.keep(number, &file, end, end)?;
        let flags = rustix::fs::FallocateFlags::empty();
        Ok(rustix::fs::fallocate(&*file, flags, from, bytes)?)
    }

    /// Answers at once, unless it hangs.
    pub(super) fn sync(&mut self, handle: u64, reply: ReplyEmpty) {
        let (number, file) = match self.file(handle) {
            Ok(found) => found,
            Err(error) => return reply.error(error.into()),
        };
        match self.syncs {
            Syncs::Work => match self.synced(number, &file) {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error.into()),
            },
            Syncs::Fail => {
                self.troubled_syncs += 1;
                if let Some(unsynced) = self.unsynced.get_mut(&number) {
                    unsynced.doomed.append(&mut unsynced.fresh);
                }
                reply.error(Errno::EIO);
            }
            Syncs::Hang => {
                self.troubled_syncs += 1;
                self.hanging.push((handle, reply));
            }
        }
    }

    fn synced(&mut self, number: u64, file: &File) -> io::Result<()> {
        if let Some(unsynced) = self.unsynced.get_mut(&number) {
            unsynced.bytes = file.metadata()?.len();
            unsynced.fresh.clear();
        }
        Ok(())
    }

    pub(super) fn set_syncs(&mut self, syncs: Syncs) {
        self.syncs = syncs;
        if syncs != Syncs::Hang {
            for (handle, reply) in std::mem::take(&mut self.hanging) {
                self.sync(handle, reply);
            }
        }
    }

    pub(super) fn troubled_syncs(&self) -> u64 {
        self.troubled_syncs
    }

    /// A name goes; with the last one of a file, what was noted of it.
    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        let number = self.number(&found);
        fs::remove_file(path)?;
        if self.paths.get(&number).is_some_and(|known| known == path) {
            self.paths.remove(&number);
        }
        if found.nlink() == 1 {
            self.unsynced.remove(&number);
        }
        Ok(())
    }

    /// With all that lies below, if it is a directory.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if to.is_file() {
            self.remove(to)?;
        }
        fs::rename(from, to)?;
        for path in self.paths.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() {
                    to.to_owned()
                } else {
                    to.join(rest)
                };
            }
        }
        Ok(())
    }

    /// Every file is again what the platter has; how many pages were not.
    pub(super) fn lose_power(&mut self) -> usize {
        let mut pages = 0;
        for (number, unsynced) in std::mem::take(&mut self.unsynced) {
            let Some(path) = self.paths.get(&number) else {
                continue;
            };
            pages += unsynced.fresh.len() + unsynced.doomed.len();
            unsynced.undo(path).expect("the platter takes what it had");
        }
        pages
    }
}

impl Unsynced {
    fn undo(self, path: &Path) -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        for (page, mut before) in self.fresh.into_iter().chain(self.doomed) {
            before.resize(usize::try_from(PAGE_BYTES).expect("a page fits"), 0);
            file.write_all_at(&before, page * PAGE_BYTES)?;
        }
        file.set_len(self.bytes)
    }
}

/// As much of a page as the file has.
fn read_page(file: &File, page: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let from = page * PAGE_BYTES;
    let there = bytes.saturating_sub(from).min(PAGE_BYTES);
    let mut before = vec![0; usize::try_from(there).expect("a page fits")];
    file.read_exact_at(&mut before, from)?;
    Ok(before)
}
