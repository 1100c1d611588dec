//! The names of files, as the operating system has them and as they are on the platter.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::platter::{Shared, lock};
use crate::random::Random;

/// Names, and the changes that no sync has made durable.
#[derive(Debug, Default)]
pub(super) struct Names {
    written: BTreeMap<PathBuf, Shared>,
    durable: BTreeMap<PathBuf, Shared>,
    unsynced: Vec<Change>,
}

/// In one directory.
#[derive(Debug, Clone)]
enum Change {
    Link(PathBuf, Shared),
    Unlink(PathBuf, Shared),
    Rename(PathBuf, PathBuf, Shared),
}

impl Change {
    fn run(self, names: &mut BTreeMap<PathBuf, Shared>) {
        match self {
            Self::Link(path, file) => {
                names.insert(path, file);
            }
            Self::Unlink(path, _) => {
                names.remove(&path);
            }
            Self::Rename(from, to, file) => {
                names.remove(&from);
                names.insert(to, file);
            }
        }
    }

    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Link(path, _) | Self::Unlink(path, _) | Self::Rename(path, _, _) => path.parent(),
        }
    }

    /// Whether both concern the same name or file.
    fn follows(&self, other: &Self) -> bool {
        let (file, paths) = self.concerns();
        let (other_file, other_paths) = other.concerns();
        let shared = |path: &&Path| other_paths.contains(path);
        Arc::ptr_eq(file, other_file) || paths.iter().any(shared)
    }

    fn concerns(&self) -> (&Shared, [&Path; 2]) {
        match self {
            Self::Link(path, file) | Self::Unlink(path, file) => (file, [path, path]),
            Self::Rename(from, to, file) => (file, [from, to]),
        }
    }
}

impl Names {
    fn change(&mut self, change: Change) {
        change.clone().run(&mut self.written);
        self.unsynced.push(change);
    }

    pub(super) fn get(&self, path: &Path) -> Option<Shared> {
        self.written.get(path).cloned()
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.written.keys()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Shared> {
        self.written.values()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let bytes = self.files().map(|file| lock(file).written().len() as u64);
        bytes.sum()
    }

    pub(super) fn list(&self, directory: &Path) -> Vec<String> {
        let inside = self
            .paths()
            .filter(|path| path.parent() == Some(directory))
            .filter_map(|path| path.file_name());
        inside
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    pub(super) fn link(&mut self, path: &Path, file: &Shared) {
        self.change(Change::Link(path.to_owned(), Arc::clone(file)));
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let file = self.get(path).ok_or(ErrorKind::NotFound)?;
        self.change(Change::Unlink(path.to_owned(), file));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.get(from).ok_or(ErrorKind::NotFound)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    /// The names in this directory are on the platter.
    pub(super) fn sync(&mut self, directory: &Path) {
        for change in std::mem::take(&mut self.unsynced) {
            if change.directory() == Some(directory) {
                change.run(&mut self.durable);
            } else {
                self.unsynced.push(change);
            }
        }
    }

    /// What is left of them. Whether anything was lost.
    pub(super) fn lose_power(&mut self, random: &mut Random) -> bool {
        let changes = std::mem::take(&mut self.unsynced);
        let in_order = random.chance(500_000);
        let kept = random.index(changes.len() + 1);
        let mut lost: Vec<Change> = Vec::new();
        for (index, change) in changes.into_iter().enumerate() {
            let gone = if in_order {
                index >= kept
            } else {
                random.chance(500_000) || lost.iter().any(|other| change.follows(other))
            };
            if gone {
                lost.push(change);
            } else {
                change.run(&mut self.durable);
            }
        }
        self.written.clone_from(&self.durable);
        !lost.is_empty()
    }

    /// Damage: the name is gone.
    pub(super) fn lose(&mut self, path: &Path) {
        self.written.remove(path);
        self.durable.remove(path);
        self.unsynced.retain(|change| {
            let (_, paths) = change.concerns();
            !paths.contains(&path)
        });
    }
}
