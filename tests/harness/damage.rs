//! What a disk may do to the files of a node that does not run.

use std::fs;
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

fn halve(path: &Path) {
    let file = fs::File::options()
        .write(true)
        .open(path)
        .expect("the directory is ours to hurt");
    file.set_len(
        file.metadata()
            .expect("the directory is ours to hurt")
            .len()
            / 2,
    )
    .expect("the directory is ours to hurt");
}

/// Hurts a directory, and tells what its node must name.
pub type Hurt = fn(&Path) -> PathBuf;

/// All that may happen to the files of a node that does not run.
pub const HURTS: [(&str, Hurt); 8] = [
    ("a flipped bit in the newest log segment", |directory| {
        // Where the first record is: behind the header's page.
        let path = files(directory, ".segment")
            .pop()
            .expect("the directory is ours to hurt");
        rot(&path, 4096 + 20);
        path
    }),
    ("a flipped bit in an old log segment", |directory| {
        let path = files(directory, ".segment").remove(0);
        rot(&path, 4096 + 20);
        path
    }),
    ("a missing log segment", |directory| {
        let path = files(directory, ".segment").remove(1);
        fs::remove_file(&path).expect("the directory is ours to hurt");
        path
    }),
    ("half of a log segment", |directory| {
        let path = largest(directory, ".segment");
        halve(&path);
        path
    }),
    ("a flipped bit in a table", |directory| {
        let path = largest(directory, ".sst");
        rot(&path, 1000);
        path
    }),
    ("half of a table", |directory| {
        let path = largest(directory, ".sst");
        halve(&path);
        path
    }),
    ("a missing table", |directory| {
        let path = largest(directory, ".sst");
        fs::remove_file(&path).expect("the directory is ours to hurt");
        path
    }),
    ("a lost epoch", |directory| {
        for path in files(directory, "") {
            let name = path
                .file_name()
                .expect("the directory is ours to hurt")
                .to_str()
                .expect("the directory is ours to hurt");
            if name.starts_with("PROMISE") {
                fs::remove_file(&path).expect("the directory is ours to hurt");
            }
        }
        directory.join("PROMISE")
    }),
];
