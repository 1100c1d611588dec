//! Reading, at the start of a mastership, the small records from which the
//! broker is built: a few ranges, page by page.

use bytes::Bytes;
use replicamq_core::{BootError, Broker, Limits, LoadRequest};

const PAGE_PAIRS_MAX: usize = 10_000;

/// What is worked on at a time: between two pages the node is heard.
const PAGE_BYTES_MAX: usize = 512 << 10;

/// The ranges still to read, and what was made of the others.
#[derive(Debug)]
pub(crate) struct Boot {
    ranges: Vec<(Bytes, Bytes)>,
    broker: replicamq_core::Boot,
}

pub(crate) enum Step {
    Read(LoadRequest),
    /// Everything was read.
    Done,
}

impl Boot {
    pub(crate) fn new(limits: Limits) -> Self {
        let mut ranges = Broker::boot_ranges();
        ranges.reverse();
        Self {
            ranges,
            broker: replicamq_core::Boot::new(limits),
        }
    }

    /// The next page to read, if there is one.
    pub(crate) fn next(&self) -> Step {
        match self.ranges.last() {
            Some((from, to)) => Step::Read(LoadRequest {
                token: 0,
                from: from.clone(),
                to: to.clone(),
                pairs_max: PAGE_PAIRS_MAX,
                bytes_max: PAGE_BYTES_MAX,
            }),
            None => Step::Done,
        }
    }

    pub(crate) fn loaded(
        &mut self,
        pairs: Vec<(Bytes, Bytes)>,
        more: bool,
    ) -> Result<Step, BootError> {
        let next = pairs.last().map(|(key, _)| after(key));
        self.broker.add(pairs)?;
        match (more, next) {
            (true, Some(from)) => {
                if let Some(range) = self.ranges.last_mut() {
                    range.0 = from;
                }
            }
            (true | false, _) => {
                self.ranges.pop();
            }
        }
        Ok(self.next())
    }

    pub(crate) fn finish(self, epoch: u64) -> Result<Broker, BootError> {
        self.broker.finish(epoch)
    }
}

/// The smallest key that follows.
fn after(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}
