//! How much is read at a time.

use replicamq_proto::store::v1::Message;

use crate::entry::Memory;
use crate::limits::Limits;

/// Read while all windows together are full: just enough to go on.
const PAGE_MESSAGES_MIN: usize = 16;
const PAGE_BYTES_MIN: usize = 64 << 10;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Gap,
    Shadows,
}

/// A read to be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(super) part: Part,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
}

impl Page {
    /// Of what nobody has read, as much as there is room for.
    pub(crate) fn of_gap(from: u64, to: u64, limits: &Limits, memory: &Memory) -> Self {
        let (messages_max, bytes_max) = page_room(limits, memory);
        Self {
            part: Part::Gap,
            from,
            to,
            messages_max,
            bytes_max,
        }
    }
}

/// A message that was read: its sequence, its encoded length, itself.
pub(crate) type Loaded = (u64, usize, Message);

/// How many messages and bytes are read at a time.
pub(crate) fn page_max(limits: &Limits) -> (usize, usize) {
    (limits.window_messages_max / 2, limits.window_bytes_max / 2)
}

/// The same when memory may be short.
pub(crate) fn page_room(limits: &Limits, memory: &Memory) -> (usize, usize) {
    let (mut messages_max, mut bytes_max) = page_max(limits);
    if limits.windows_bytes_max.saturating_sub(memory.windows) < bytes_max {
        messages_max = messages_max.min(PAGE_MESSAGES_MIN);
        bytes_max = bytes_max.min(PAGE_BYTES_MIN);
    }
    (messages_max.max(1), bytes_max)
}
