//! What happened, as a number always and as text on demand.

use std::collections::VecDeque;

/// Lines kept for the report of a failed run.
const LINES_MAX: usize = 2_000_000;

/// The history of one run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// With text, or only the hash.
    #[must_use]
    pub fn new(text: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: text.then(VecDeque::new),
        }
    }

    /// Folds numbers into the hash.
    pub fn fold(&mut self, number: u64) {
        self.hash = (self.hash ^ number)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(5);
    }

    /// A line, made only if somebody reads it.
    pub fn line(&mut self, at_us: u64, text: impl FnOnce() -> String) {
        self.fold(at_us);
        let Some(lines) = &mut self.lines else {
            return;
        };
        let line = format!("{:>10}.{:03} {}", at_us / 1_000, at_us % 1_000, text());
        let mut hash = self.hash;
        for byte in line.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.hash = hash;
        lines.push_back(line);
        if lines.len() > LINES_MAX {
            lines.pop_front();
        }
    }

    /// Of all that happened so far. A run with text hashes its text too.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The text, if it was kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flatten().map(String::as_str)
    }
}
