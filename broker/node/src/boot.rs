//! Reading, at the start of a mastership, the small records from which the
//! broker is built: a few ranges, page by page.

use bytes::Bytes;
use replicamq_core::LoadRequest;

const PAGE_PAIRS_MAX: usize = 10_000;
const PAGE_BYTES_MAX: usize = 4 << 20;

/// The ranges still to read, and what was read.
#[derive(Debug)]
pub(crate) struct Boot {
    ranges: Vec<(Bytes, Bytes)>,
    pairs: Vec<(Bytes, Bytes)>,
}

pub(crate) enum Step {
    Read(LoadRequest),
    Done(Vec<(Bytes, Bytes)>),
}

impl Boot {
    pub(crate) fn new(mut ranges: Vec<(Bytes, Bytes)>) -> Self {
        ranges.reverse();
        Self {
            ranges,
            pairs: Vec::new(),
        }
    }

    /// The next page to read, or everything.
    pub(crate) fn next(&mut self) -> Step {
        match self.ranges.last() {
            Some((from, to)) => Step::Read(LoadRequest {
                token: 0,
                from: from.clone(),
                to: to.clone(),
                pairs_max: PAGE_PAIRS_MAX,
                bytes_max: PAGE_BYTES_MAX,
            }),
            None => Step::Done(std::mem::take(&mut self.pairs)),
        }
    }

    pub(crate) fn loaded(&mut self, pairs: Vec<(Bytes, Bytes)>, more: bool) -> Step {
        let next = pairs.last().map(|(key, _)| after(key));
        self.pairs.extend(pairs);
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
        self.next()
    }
}

/// The smallest key that follows.
fn after(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}
