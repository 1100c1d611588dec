//! Waiting for a condition of the real world, and never for time alone.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one look may take of the time.
const LOOK_MAX: Duration = Duration::from_secs(2);

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

/// Looks until there is something, or the time is over. A machine that stands still as a
/// whole costs at most `LOOK_MAX` of it.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut left = time;
    loop {
        let since = Since::now();
        if let Some(found) = look() {
            return Some(found);
        }
        if left.is_zero() {
            return None;
        }
        pause(LOOK_EVERY);
        left = left.saturating_sub(since.elapsed().min(LOOK_MAX));
    }
}

/// Between two looks.
pub fn pause(time: Duration) {
    let (_never, tick) = mpsc::channel::<()>();
    // The sender lives, and nothing is ever sent.
    assert!(tick.recv_timeout(time).is_err(), "nothing is sent");
}
