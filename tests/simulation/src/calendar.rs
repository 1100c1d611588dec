//! The calendar's time, which jumps where the clock for intervals does not.

/// What clocks show when a run begins.
const START_MS: u64 = 1_700_000_000_000;

/// Milliseconds since the Unix epoch on a machine that is so far off.
#[must_use]
pub fn unix_ms(now_us: u64, off_ms: i64) -> u64 {
    (START_MS + now_us / 1_000).saturating_add_signed(off_ms)
}
