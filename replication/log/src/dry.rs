//! A disk that keeps to itself what is written on it: the very code of a start tells what it
//! would make of a directory, of which not a byte changes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::{Aside, Disk, DiskFile, PAGE_BYTES, RealDisk, Work};

const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);

/// The disk of this machine, for reading; what is written lasts as long as this does. It is
/// meant for looks: zeros take no room, anything else that is written takes memory.
#[derive(Debug, Default)]
pub struct DryDisk {
    /// What has been opened, made or, without a file, removed.
    names: Mutex<BTreeMap<PathBuf, Option<Arc<DryFile>>>>,
}

#[derive(Debug)]
struct DryFile {
    real: Option<File>,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    bytes: u64,
    /// By number, in place of what the real file has there; without a page, zeros.
    pages: BTreeMap<u64, Option<Box<[u8; PAGE]>>>,
}

impl DryDisk {
    fn names(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Arc<DryFile>>>> {
        self.names
            .lock()
            .expect("nobody panics while holding the names")
    }

    fn file(&self, path: &Path) -> io::Result<Arc<DryFile>> {
        let mut names = self.names();
        match names.get(path) {
            Some(Some(file)) => Ok(Arc::clone(file)),
            Some(None) => Err(ErrorKind::NotFound.into()),
            None => {
                let real = File::open(path)?;
                let file = Arc::new(DryFile::new(real.metadata()?.len(), Some(real)));
                names.insert(path.to_owned(), Some(Arc::clone(&file)));
                Ok(file)
            }
        }
    }
}

impl Disk for DryDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path)?)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(DryFile::new(0, None));
        let made = Some(Arc::clone(&file));
        self.names().insert(path.to_owned(), made);
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.file(from)?;
        let mut names = self.names();
        names.insert(from.to_owned(), None);
        names.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.names().insert(path.to_owned(), None);
        Ok(())
    }

    /// A start would make a directory that is not there.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut found = match RealDisk.list(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        let names = self.names();
        found.retain(|name| !names.contains_key(&directory.join(name)));
        let there = names.iter().filter(|(_, file)| file.is_some());
        let here = there.filter(|(path, _)| path.parent() == Some(directory));
        found.extend(here.filter_map(|(path, _)| path.file_name()?.to_str().map(str::to_owned)));
        Ok(found)
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn aside(&self, work: Work) -> io::Result<Aside> {
        Ok(Aside::Done(work()))
    }
}

impl DryFile {
    fn new(bytes: u64, real: Option<File>) -> Self {
        let pages = BTreeMap::new();
        Self {
            real,
            content: Mutex::new(Content { bytes, pages }),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content
            .lock()
            .expect("nobody panics while holding the content")
    }

    fn page(&self, content: &Content, number: u64) -> io::Result<Box<[u8; PAGE]>> {
        let mut page = Box::new([0; PAGE]);
        match (content.pages.get(&number), &self.real) {
            (Some(Some(kept)), _) => page.copy_from_slice(&kept[..]),
            (Some(None), _) | (None, None) => {}
            (None, Some(real)) => {
                let mut filled = 0;
                while filled < PAGE {
                    let at = number * PAGE_BYTES + filled as u64;
                    match real.read_at(&mut page[filled..], at)? {
                        0 => break,
                        read => filled += read,
                    }
                }
            }
        }
        Ok(page)
    }
}

/// The pages of `[offset, offset + bytes)`: each with what of it is meant, and where that
/// stands in the whole.
fn pieces(
    offset: u64,
    bytes: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == bytes {
            return None;
        }
        let at = offset + done as u64;
        let from = usize::try_from(at % PAGE_BYTES).expect("less than a page");
        let size = (PAGE - from).min(bytes - done);
        let piece = (at / PAGE_BYTES, from..from + size, done..done + size);
        done += size;
        Some(piece)
    })
}

impl DiskFile for DryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().bytes)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.content();
        if offset + bytes.len() as u64 > content.bytes {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for (number, within, place) in pieces(offset, bytes.len()) {
            bytes[place].copy_from_slice(&self.page(&content, number)?[within]);
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.content();
        for (number, within, place) in pieces(offset, bytes.len()) {
            let mut page = self.page(&content, number)?;
            page[within].copy_from_slice(&bytes[place]);
            let kept = page.iter().any(|byte| *byte != 0).then_some(page);
            content.pages.insert(number, kept);
        }
        content.bytes = content.bytes.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut content = self.content();
        content.bytes = content.bytes.max(bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_directory_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let real: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for name in ["one", "two", "three"] {
            fs::write(path(name), &real).unwrap();
        }
        let disk = DryDisk::default();
        let one = disk.open(&path("one")).unwrap();
        let mut expected = real.clone();
        for (offset, size, byte) in [(4000, 200, 7), (4096, 4096, 0), (9_990, 500, 9)] {
            one.write_all_at(&vec![byte; size], offset as u64).unwrap();
            expected.resize(expected.len().max(offset + size), 0);
            expected[offset..offset + size].fill(byte);
        }
        let mut read = vec![0; expected.len()];
        one.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, expected);
        assert!(one.read_exact_at(&mut read, 1).is_err(), "it ends there");
        one.reserve(20_000).unwrap();
        assert_eq!(one.len().unwrap(), 20_000);

        disk.rename(&path("one"), &path("four")).unwrap();
        disk.remove(&path("two")).unwrap();
        disk.create(&path("five")).unwrap();
        let mut names = disk.list(directory.path()).unwrap();
        names.sort();
        assert_eq!(names, ["five", "four", "three"]);
        for gone in ["one", "two", "six"] {
            let error = disk.open(&path(gone)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{gone}");
        }
        let mut again = vec![0; expected.len()];
        let four = disk.open(&path("four")).unwrap();
        four.read_exact_at(&mut again, 0).unwrap();
        assert_eq!(again, expected);
        assert!(disk.list(&path("nowhere")).unwrap().is_empty());

        for name in ["one", "two", "three"] {
            assert_eq!(fs::read(path(name)).unwrap(), real, "{name}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
