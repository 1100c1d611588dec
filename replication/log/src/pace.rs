//! Housekeeping that is due every so often. Only the threads' own upkeep hangs
//! on it: nothing that another node or a client can see.

use std::time::{Duration, Instant};

/// What is done every so often.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    last: Instant,
}

impl Pace {
    /// Due for the first time after the interval.
    pub fn new(every: Duration) -> Self {
        Self { every, last: now() }
    }

    /// True once per interval.
    pub fn due(&mut self) -> bool {
        let now = now();
        let due = now.duration_since(self.last) >= self.every;
        if due {
            self.last = now;
        }
        due
    }
}

/// What the clock shows.
#[expect(
    clippy::disallowed_methods,
    reason = "paces upkeep; what is decided by it costs time, never data"
)]
pub fn now() -> Instant {
    Instant::now()
}
