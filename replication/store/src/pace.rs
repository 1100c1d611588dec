//! Housekeeping that is due every so often. Only the threads' own upkeep hangs
//! on it: nothing that another node or a client can see.

use std::time::{Duration, Instant};

pub(crate) struct Pace {
    every: Duration,
    last: Instant,
}

impl Pace {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, last: now() }
    }

    /// True once per interval.
    pub(crate) fn due(&mut self) -> bool {
        let now = now();
        let due = now.duration_since(self.last) >= self.every;
        if due {
            self.last = now;
        }
        due
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "paces upkeep; what is decided by it costs time, never data"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
