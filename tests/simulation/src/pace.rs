//! Real time, for telling how fast a batch of seeds goes. No run ever sees it.

use std::time::{Duration, Instant};

/// A point in real time from which to measure.
#[derive(Debug, Clone, Copy)]
pub struct Since(Instant);

impl Since {
    /// Measures from here.
    #[expect(
        clippy::disallowed_methods,
        reason = "a batch tells a person how long it took; its runs have a time of their own"
    )]
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// The time that has passed.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
