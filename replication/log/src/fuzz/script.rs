//! What may happen to files behind a node's back.

use std::path::PathBuf;
use std::sync::Arc;

use replicamq_fuzzing::Input;

use super::memory::{MemoryDisk, MemoryFile};

const FAULTS_MAX: usize = 6;

/// How many faults there were.
pub(super) fn damage(disk: &MemoryDisk, input: &mut Input<'_>) -> usize {
    let mut faults = 0;
    while faults < FAULTS_MAX && !input.is_empty() {
        let files: Vec<(PathBuf, Arc<MemoryFile>)> = disk
            .files()
            .iter()
            .map(|(path, file)| (path.clone(), Arc::clone(file)))
            .collect();
        let Some((path, file)) = files.get(input.below(files.len().clamp(1, 256))) else {
            break;
        };
        faults += 1;
        match input.below(8) {
            0 | 1 => flip(file, input),
            2 => overwrite(file, input),
            3 => {
                let end = place(file, input);
                file.bytes().truncate(end);
            }
            4 => file.bytes().extend_from_slice(input.bytes()),
            5 => drop(disk.files().remove(path)),
            6 => zero(file, input),
            _ => {
                // A copy in the place of another file, as by a mistaken restore.
                let (target, _) = &files[input.below(files.len().min(256))];
                let bytes = file.bytes().clone();
                let copy = Arc::new(MemoryFile::default());
                *copy.bytes() = bytes;
                disk.files().insert(target.clone(), copy);
            }
        }
    }
    faults
}

/// A place in a file: all of it can be reached, its beginning in small steps.
fn place(file: &MemoryFile, input: &mut Input<'_>) -> usize {
    let at = usize::from(input.byte()) << 8 | usize::from(input.byte());
    at.min(file.bytes().len())
}

fn flip(file: &MemoryFile, input: &mut Input<'_>) {
    let at = place(file, input);
    let bit = input.below(8);
    if let Some(byte) = file.bytes().get_mut(at) {
        *byte ^= 1 << bit;
    }
}

fn overwrite(file: &MemoryFile, input: &mut Input<'_>) {
    let at = place(file, input);
    let written = input.bytes();
    for (old, new) in file.bytes().iter_mut().skip(at).zip(written) {
        *old = *new;
    }
}

/// As a write that was lost, or a hole.
fn zero(file: &MemoryFile, input: &mut Input<'_>) {
    let at = place(file, input);
    let end = place(file, input);
    if let Some(part) = file.bytes().get_mut(at..end) {
        part.fill(0);
    }
}
