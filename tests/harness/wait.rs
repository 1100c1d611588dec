//! Waiting for a condition of the real world, and never for time alone.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the slow machine of a busy developer may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A point in real time from which to measure.
#[derive(Debug, Clone, Copy)]
pub struct Since(Instant);

impl Since {
    /// Measures from here.
    #[expect(
        clippy::disallowed_methods,
        reason = "real processes live in real time: this is where their tests read it"
    )]
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// The time that has passed.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Looks until there is something; fails with what was waited for.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, look).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Looks until there is something, or the time is over.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let since = Since::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if since.elapsed() >= time {
            return None;
        }
        pause(LOOK_EVERY);
    }
}

/// Between two looks.
pub fn pause(time: Duration) {
    let (_never, tick) = mpsc::channel::<()>();
    // The sender lives, and nothing is ever sent.
    assert!(tick.recv_timeout(time).is_err(), "nothing is sent");
}
