//! What lies in a data directory beside the log and the store that are in use.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::directory::{ASIDE, GENERATION, LOG, OUTGOING, STAGING};

/// Bytes on the disk that neither the log nor the store needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aside {
    /// What was found damaged and kept for a human.
    pub damaged_bytes: u64,
    /// Of a checkpoint that is being gathered.
    pub staging_bytes: u64,
    /// Of checkpoints for replicas, without what the store itself still has.
    pub outgoing_bytes: u64,
    /// Files that wait to become segments of the log.
    pub spare_bytes: u64,
}

/// How often a file was met, its size, and how many names it has.
type Files = BTreeMap<(u64, u64), (u64, u64, u64)>;

impl Aside {
    /// Looks at a data directory; a process may be at work in it.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let mut aside = Self {
            damaged_bytes: own_bytes(&directory.join(ASIDE))?,
            staging_bytes: own_bytes(&directory.join(STAGING))?,
            outgoing_bytes: own_bytes(&directory.join(OUTGOING))?,
            spare_bytes: 0,
        };
        for (name, _) in list(directory)? {
            if !name.starts_with(GENERATION) {
                continue;
            }
            for (file, metadata) in list(&directory.join(name).join(LOG))? {
                match file.rsplit_once('.') {
                    Some((_, "damaged")) => aside.damaged_bytes += metadata.len(),
                    Some((_, "spare")) => aside.spare_bytes += metadata.len(),
                    _ => {}
                }
            }
        }
        Ok(aside)
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.damaged_bytes + self.staging_bytes + self.outgoing_bytes + self.spare_bytes
    }
}

/// What would be free if the directory went: a file that has a name elsewhere would stay.
fn own_bytes(directory: &Path) -> io::Result<u64> {
    let mut files = Files::new();
    walk(directory, &mut files)?;
    let own = files.values().filter(|(met, _, names)| met == names);
    Ok(own.map(|(_, bytes, _)| bytes).sum())
}

fn walk(directory: &Path, files: &mut Files) -> io::Result<()> {
    for (name, metadata) in list(directory)? {
        if metadata.is_dir() {
            walk(&directory.join(name), files)?;
        } else {
            let key = (metadata.dev(), metadata.ino());
            let file = files
                .entry(key)
                .or_insert((0, metadata.len(), metadata.nlink()));
            file.0 += 1;
        }
    }
    Ok(())
}

/// What is there; what goes meanwhile is not.
fn list(directory: &Path) -> io::Result<Vec<(String, fs::Metadata)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            metadata => found.push((entry.file_name().to_string_lossy().into_owned(), metadata?)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_needs_no_more_is_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert_eq!(Aside::of(directory.path()).unwrap(), Aside::default());
        for made in [
            "generation-3/log",
            "generation-3/store",
            "damaged/log",
            "staging",
            "outgoing/0",
            "outgoing/1",
        ] {
            fs::create_dir_all(path(made)).unwrap();
        }
        let write = |name: &str, bytes| fs::write(path(name), vec![1; bytes]).unwrap();
        write("damaged/log/1.segment", 10);
        write("generation-3/log/1.damaged", 5);
        write("generation-3/log/kept-0.spare", 3);
        write("generation-3/log/2.segment", 1000);
        write("staging/1.sst", 7);
        write("generation-3/store/1.sst", 1000);
        write("outgoing/0/2.sst", 20);
        fs::hard_link(path("generation-3/store/1.sst"), path("outgoing/0/1.sst")).unwrap();
        fs::hard_link(path("outgoing/0/2.sst"), path("outgoing/1/2.sst")).unwrap();
        let aside = Aside::of(directory.path()).unwrap();
        let expected = Aside {
            damaged_bytes: 15,
            staging_bytes: 7,
            outgoing_bytes: 20,
            spare_bytes: 3,
        };
        assert_eq!(aside, expected);
        // The store compacts, and the checkpoint alone has the file.
        fs::remove_file(path("generation-3/store/1.sst")).unwrap();
        assert_eq!(Aside::of(directory.path()).unwrap().outgoing_bytes, 1020);
    }
}
