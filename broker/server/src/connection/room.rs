//! Memory for large frames that have not come whole, out of one budget for all connections.
//!
//! A connection asks once for each frame, for all that the frame may need, and has nothing
//! of the budget while it waits: two that wait for each other there cannot be.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all connections may have together.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(super) free: Arc<Semaphore>,
    bytes_max: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }
}

/// What one connection has of it.
pub(super) enum Room {
    /// What every connection has, and no more.
    Own,
    /// It has its place in the queue for room.
    Waiting(BoxFuture<'static, OwnedSemaphorePermit>),
    /// What the frame at hand needs, or all that there is.
    Given(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit),
}

impl Room {
    /// Room for a frame of so many bytes; 0: none is needed any more.
    pub(super) fn fit(&mut self, bytes: usize, budget: &Budget) {
        if bytes == 0 {
            *self = Self::Own;
        }
        if bytes == 0 || !matches!(self, Self::Own) {
            return;
        }
        let count = u32::try_from(bytes.min(budget.bytes_max)).expect("the limit fits");
        let free = Arc::clone(&budget.free);
        let mut given = async move {
            let permit = free.acquire_many_owned(count).await;
            permit.expect("nobody closes it")
        }
        .boxed();
        *self = match given.as_mut().now_or_never() {
            Some(permit) => Self::Given(permit),
            None => Self::Waiting(given),
        };
    }

    pub(super) fn is_awaited(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    pub(super) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// Waits until what is awaited is given. Cancelled, it keeps its place in the queue.
    pub(super) async fn given(&mut self) {
        let Self::Waiting(given) = self else {
            return std::future::pending().await;
        };
        *self = Self::Given(given.await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_for_much_is_not_overtaken_by_those_who_ask_for_little() {
        let budget = Budget::new(100);
        let (mut first, mut large, mut small) = (Room::Own, Room::Own, Room::Own);
        first.fit(60, &budget);
        assert!(first.is_given());
        large.fit(1_000, &budget);
        small.fit(10, &budget);
        assert!(large.is_awaited() && small.is_awaited());
        first.fit(0, &budget);
        // The whole of it, where a frame may be larger than that.
        large.given().await;
        assert!(large.is_given());
        assert_eq!(small.given().now_or_never(), None);
        assert!(small.is_awaited(), "it kept its place");
        drop(large);
        small.given().await;
        assert_eq!(budget.free.available_permits(), 90);
    }
}
