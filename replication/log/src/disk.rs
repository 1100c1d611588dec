//! What the log needs of a disk: a few operations on files, so that the
//! simulator can put a disk of its own in place of the real one.
//!
//! A name that was made, changed or removed is durable only after
//! [`Disk::sync_directory`], what was written only after
//! [`DiskFile::sync_data`]. Nobody relies on more than that.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::fs::FallocateFlags;

use crate::DiskError;

/// A disk with directories that are there already.
pub trait Disk: Debug + Send + Sync {
    /// An existing file, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// A new file, or the one that is there, emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, and takes that from the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// The names in a directory are durable when it returns.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Does work that nobody waits for: on a thread, or at once.
    fn aside(&self, work: Work) -> io::Result<Aside>;
}

/// An open file. It stays readable whatever becomes of its name.
#[expect(
    clippy::len_without_is_empty,
    reason = "the size of a file, which is no collection"
)]
pub trait DiskFile: Debug + Send + Sync {
    /// Its size.
    fn len(&self) -> io::Result<u64>;
    /// Fills `bytes` with what stands at `offset`.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes it at least this big, and finds the space for it, so that a full disk shows now.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// What was written, and the size, are durable when it returns.
    fn sync_data(&self) -> io::Result<()>;
}

/// A file that waits to become a segment, and where it lies.
pub type Ready = (PathBuf, Arc<dyn DiskFile>);

/// What is done aside: a file is made ready.
pub type Work = Box<dyn FnOnce() -> Result<Ready, DiskError> + Send>;

/// What is being done aside.
#[derive(Debug)]
pub enum Aside {
    /// It is done.
    Done(Result<Ready, DiskError>),
    /// It is under way, and ends by itself.
    Thread(JoinHandle<Result<Ready, DiskError>>),
}

impl Aside {
    /// Whether [`Aside::join`] returns at once.
    pub fn is_finished(&self) -> bool {
        match self {
            Self::Done(_) => true,
            Self::Thread(thread) => thread.is_finished(),
        }
    }

    /// Waits until it is done.
    pub fn join(self) -> Result<Ready, DiskError> {
        match self {
            Self::Done(done) => done,
            Self::Thread(thread) => thread.join().expect("making a file does not panic"),
        }
    }
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            // Our own names are all text: another one is not ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn aside(&self, work: Work) -> io::Result<Aside> {
        let thread = thread::Builder::new().name("replicamq-spare".to_owned());
        Ok(Aside::Thread(thread.spawn(work)?))
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // Some file systems cannot: then the size is set and space found on writing.
            Err(rustix::io::Errno::OPNOTSUPP) => self.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }
}
