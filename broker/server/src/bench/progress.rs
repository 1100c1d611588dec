//! What is shown on stderr while a bench runs.

use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::BenchArgs;
use super::tally::Tally;
use crate::clock;
use crate::terminal;

const REDRAW: Duration = Duration::from_millis(250);
/// Where nobody watches, a line a while is enough.
const LINE: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    bar: ProgressBar,
    tally: Rc<Tally>,
    warmup_ms: u64,
    /// When the rates were computed last, and what had been sent and received by then.
    before: (u64, u64, u64),
}

impl Progress {
    pub(super) fn new(args: &BenchArgs, tally: Rc<Tally>) -> Self {
        let length = args.count.unwrap_or(args.duration.as_ms());
        let style = ProgressStyle::with_template("{prefix:9} {wide_bar} {msg}");
        let bar = ProgressBar::new(length.max(1));
        bar.set_style(style.expect("the template is sound"));
        Self {
            bar,
            tally,
            warmup_ms: args.warmup.as_ms(),
            before: (clock::monotonic_ms(), 0, 0),
        }
    }

    /// Redraws for ever.
    pub(super) async fn show(&mut self) {
        let pause = if terminal::watched() { REDRAW } else { LINE };
        loop {
            sleep(pause).await;
            let message = self.rates();
            let (phase, done) = self.phase();
            if terminal::watched() {
                self.bar.set_prefix(phase);
                self.bar.set_position(done);
                self.bar.set_message(message);
            } else {
                terminal::remark(&format!("{phase}: {message}"));
            }
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn phase(&self) -> (&'static str, u64) {
        let window = self.tally.window();
        let now_ns = clock::monotonic_ns();
        let ended = window.until_ns.is_some_and(|until| now_ns >= until)
            || window
                .count
                .is_some_and(|count| self.tally.sends().0 >= count);
        if now_ns < window.from_ns && self.warmup_ms > 0 {
            ("warm-up", 0)
        } else if ended {
            ("draining", self.bar.length().unwrap_or_default())
        } else if window.count.is_some() {
            ("measuring", self.tally.sends().0)
        } else {
            ("measuring", (now_ns - window.from_ns) / 1_000_000)
        }
    }

    fn rates(&mut self) -> String {
        let now = (
            clock::monotonic_ms(),
            self.tally.confirmed(),
            self.tally.received(),
        );
        let took_ms = (now.0 - self.before.0).max(1);
        let rate = |count: u64| count * 1_000 / took_ms;
        let message = format!(
            "sent {}/s, received {}/s, waiting {}",
            rate(now.1 - self.before.1),
            rate(now.2 - self.before.2),
            self.tally.missing(),
        );
        self.before = now;
        message
    }
}
