//! What the fuzzed functions of all crates share: the reader of their input, and the replay of
//! what the fuzzers found.
//!
//! A fuzzed function stands beside the code that it tries, in a module `fuzz` that is compiled for
//! tests and for fuzzers alone. It takes any bytes, must not panic, and asserts what must hold. The
//! fuzzers themselves are a workspace of their own (`tests/fuzz`).

mod input;

use std::fs;
use std::path::PathBuf;

pub use input::Input;

/// A corpus that holds less was not found, or was emptied by mistake.
const FILES_MIN: usize = 5;

/// Runs a function with each file of its corpus.
pub fn replay(target: &str, run: fn(&[u8])) {
    let corpora = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus"));
    let listed = fs::read_dir(corpora.join(target)).expect("each target has a corpus");
    let mut files: Vec<PathBuf> = listed
        .map(|entry| entry.expect("a corpus can be listed").path())
        .collect();
    assert!(files.len() >= FILES_MIN, "the corpus of {target} is empty");
    files.sort();
    for file in files {
        let data = fs::read(&file).expect("a corpus can be read");
        let done = std::panic::catch_unwind(|| run(&data));
        assert!(done.is_ok(), "{} fails as told above", file.display());
    }
}
