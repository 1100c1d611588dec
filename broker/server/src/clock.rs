//! The one place that reads a clock.
//!
//! Everything else is told the time, so that it can be tested and simulated.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time now: for deadlines and measurements.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is where the clock is read"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(now)
}

/// Nanoseconds since the first reading in this process; never goes back.
pub(crate) fn monotonic_ns() -> u64 {
    let start = start();
    u64::try_from(now().duration_since(start).as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds since the first reading in this process; never goes back.
pub(crate) fn monotonic_ms() -> u64 {
    monotonic_ns() / 1_000_000
}

/// Waits until [`monotonic_ms`] shows this; without a time, for ever.
pub(crate) async fn until(at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => {
            let wait_ms = at_ms.saturating_sub(monotonic_ms());
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        None => std::future::pending().await,
    }
}

/// Milliseconds since the Unix epoch; follows the system's clock wherever it goes.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is where the clock is read"
)]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_starts_small_and_does_not_go_back() {
        let first = monotonic_ms();
        assert!(monotonic_ms() >= first);
        assert!(unix_ms() > 1_700_000_000_000);
    }
}
