//! Whether the machine itself stood still: then nodes take each other for dead, rightly, and
//! elect more often than the fault asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use replicamq_harness::cluster::say;
use replicamq_harness::wait::Since;

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Half of what a node waits for a silent master.
const STILL: Duration = Duration::from_millis(400);

/// Looks at the clock all the time, as a node does.
#[derive(Debug)]
pub(crate) struct Watch {
    stalls: Arc<AtomicU64>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        let (end, ended) = channel();
        let stalls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&stalls);
        let thread = thread::spawn(move || {
            loop {
                let since = Since::now();
                if ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                let passed = since.elapsed();
                if passed > STILL {
                    counted.fetch_add(1, Ordering::Relaxed);
                    say(&format!(
                        "         this machine stood still for {passed:.1?}"
                    ));
                }
            }
        });
        Self {
            stalls,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// How often it stood still so far.
    pub(crate) fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()), "it only looks");
    }
}
