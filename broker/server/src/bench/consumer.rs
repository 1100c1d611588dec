//! One connection that receives, counts and acknowledges.

use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use replicamq_protocols::stomp::client::{AckMode, Subscribing, With};
use replicamq_protocols::stomp::{Frame, Verb};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::tally::Tally;
use super::{Ack, guard};
use crate::client::Connection;
use crate::clock;

const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Consumer {
    connection: Connection,
    ack: Ack,
    force: bool,
    queue: String,
    tally: Rc<Tally>,
    frame: Frame,
}

impl Consumer {
    pub(super) fn new(connection: Connection, ack: Ack, force: bool, tally: Rc<Tally>) -> Self {
        Self {
            connection,
            ack,
            force,
            queue: String::new(),
            tally,
            frame: Frame::new(Verb::Message),
        }
    }

    /// Subscribes and waits until the broker has done so.
    pub(super) async fn subscribe(&mut self, queue: &str, prefetch: u32) -> anyhow::Result<()> {
        queue.clone_into(&mut self.queue);
        let subscribing = Subscribing {
            id: "1",
            destination: queue,
            ack: match self.ack {
                Ack::Auto => AckMode::Auto,
                Ack::Client => AckMode::Client,
                Ack::Individual => AckMode::ClientIndividual,
            },
            prefetch: Some(prefetch),
            receipt: Some("subscribed"),
            ..Subscribing::default()
        };
        let (client, out) = self.connection.writer();
        client.subscribe(&subscribing, out);
        let answered = async {
            while self.frame.verb != Verb::Receipt {
                self.connection.exchange().await?;
                self.take_received()?;
            }
            anyhow::Ok(())
        };
        match timeout(SUBSCRIBE_TIMEOUT, answered).await {
            Ok(result) => result,
            Err(_) => bail!(
                "the broker did not answer within {} s",
                SUBSCRIBE_TIMEOUT.as_secs()
            ),
        }
    }

    /// Receives until everything has been drained, then says goodbye.
    pub(super) async fn run(mut self, drained: CancellationToken) -> anyhow::Result<()> {
        loop {
            self.take_received()?;
            tokio::select! {
                // Cancelled, an exchange has lost nothing.
                exchanged = self.connection.exchange() => exchanged?,
                () = drained.cancelled() => break,
            }
        }
        self.take_received()?;
        self.connection.end().await?;
        Ok(())
    }

    /// Counts and acknowledges everything that has been read, up to a receipt; the
    /// acknowledgements leave together.
    fn take_received(&mut self) -> anyhow::Result<()> {
        let mut last = None;
        while self.connection.received(&mut self.frame)? {
            if self.frame.verb == Verb::Receipt {
                break;
            }
            // Without its acknowledgement it goes back when this connection ends.
            if !self.force && guard::is_foreign(&self.frame) {
                return Err(guard::Foreign::new(&self.queue).into());
            }
            let redelivered = self.frame.header("redelivered") == Some("true");
            self.tally
                .receive(&self.frame.body, redelivered, clock::monotonic_ns());
            match self.ack {
                Ack::Auto => {}
                Ack::Individual => {
                    let (client, out) = self.connection.writer();
                    client.ack(&self.frame, With::default(), out);
                }
                Ack::Client => last = Some(self.frame.clone()),
            }
        }
        if let Some(last) = last {
            let (client, out) = self.connection.writer();
            client.ack(&last, With::default(), out);
        }
        Ok(())
    }
}
