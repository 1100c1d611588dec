//! A host whose packets leave late, each by a time of its own, so that some overtake others.
//!
//! The kernel queues what the host sends (NFQUEUE), and a thread there lets it go when its time
//! has come. `tc netem` would do that in the kernel, but many kernels are built without it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nfq::{Message, Queue, Verdict};

use crate::network::{enter, run};
use crate::wait::Since;

const QUEUE: u16 = 0;
/// Packets that wait at a time; what comes then is lost, as in any router.
const PACKETS_MAX: u32 = 100_000;
/// How exactly times are kept.
const TICK: Duration = Duration::from_millis(1);

/// Ends with the value: what still waits is let go.
#[derive(Debug)]
pub(crate) struct Delay {
    namespace: String,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Delay {
    /// Delays what the host of this network namespace sends by `time`, give or take a quarter.
    pub(crate) fn begin(namespace: &Path, time: Duration) -> io::Result<Self> {
        let (end, ended) = channel();
        let (ready, begun) = channel();
        let host = File::open(namespace)?;
        let thread = thread::spawn(move || {
            enter(&host)?;
            let queue = open();
            let opened = queue.as_ref().map(drop);
            let told = ready.send(opened.map_err(|error| io::Error::other(error.to_string())));
            told.expect("the maker waits for it");
            hold(queue?, time, &ended)
        });
        let delay = Self {
            namespace: namespace.display().to_string(),
            end: Some(end),
            thread: Some(thread),
        };
        begun.recv().map_err(io::Error::other)??;
        delay.rule("-A")?;
        Ok(delay)
    }

    fn rule(&self, change: &str) -> io::Result<()> {
        let queue = QUEUE.to_string();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.namespace))
            .args(["iptables", "-w", change, "OUTPUT", "-o", "eth0", "-j"])
            .args(["NFQUEUE", "--queue-num", &queue, "--queue-bypass"]);
        run(&mut command, "")
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        // There is none if it could not be set.
        drop(self.rule("-D"));
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(Ok(())))), "{ended:?}");
        }
    }
}

fn open() -> io::Result<Queue> {
    let mut queue = Queue::open()?;
    queue.bind(QUEUE)?;
    // Only the kernel needs to see what is in a packet.
    queue.set_copy_range(QUEUE, 0)?;
    queue.set_queue_max_len(QUEUE, PACKETS_MAX)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

fn hold(mut queue: Queue, time: Duration, ended: &Receiver<()>) -> io::Result<()> {
    let since = Since::now();
    let mut held: BTreeMap<(Duration, u64), Message> = BTreeMap::new();
    let mut number = 0_u64;
    loop {
        loop {
            match queue.recv() {
                Ok(message) => {
                    number += 1;
                    held.insert((since.elapsed() + spread(time, number), number), message);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let is_over = ended.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected);
        let now = since.elapsed();
        while let Some(first) = held.first_entry()
            && (is_over || first.key().0 <= now)
        {
            let mut message = first.remove();
            message.set_verdict(Verdict::Accept);
            queue.verdict(message)?;
        }
        if is_over {
            return queue.unbind(QUEUE);
        }
    }
}

/// From three to five quarters, another for each of the next packets.
fn spread(time: Duration, number: u64) -> Duration {
    let part = u32::try_from(number * 7 % 16).expect("it is below 16");
    time * (24 + part) / 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_lie_around_the_middle() {
        let all: Vec<Duration> = (0..16)
            .map(|number| spread(Duration::from_millis(320), number))
            .collect();
        let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert_eq!((least.as_millis(), most.as_millis()), (240, 390));
    }
}
