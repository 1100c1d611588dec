//! Messages of others: a bench takes none of them.

use std::time::Duration;

use replicamq_protocols::stomp::Frame;
use thiserror::Error;
use tokio::time::timeout;

use super::stamp::Stamp;
use super::{Ack, BenchArgs};
use crate::client::{Event, Session, Subscription};

/// A broker that does not know browsing never says that this was all.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
#[error(
    "{queue} holds messages that are not of this bench: name a queue of its own with --destination, or take them out for good with --force"
)]
pub(super) struct Foreign {
    queue: String,
}

impl Foreign {
    pub(super) fn new(queue: &str) -> Self {
        let queue = queue.to_owned();
        Self { queue }
    }
}

/// No bench has sent it: not this one, and none before.
pub(super) fn is_foreign(message: &Frame) -> bool {
    Stamp::from_body(&message.body).is_none()
}

/// Looks at the first message of a queue, without taking it. Consumers look at the others;
/// where the broker acknowledges by itself, they could only count what is gone.
pub(super) async fn look(args: &BenchArgs, queue: &str) -> anyhow::Result<()> {
    let mut session = Session::open(args.client.broker.clone(), args.client.opening()).await?;
    session.subscribe(Subscription {
        id: "look".to_owned(),
        destination: queue.to_owned(),
        ack: "client-individual",
        prefetch: 1,
        browse: true,
        durable: None,
    });
    let first = async {
        loop {
            if let Event::Message(message) = session.next().await? {
                return anyhow::Ok(message);
            }
        }
    };
    if let Ok(first) = timeout(LOOK_TIMEOUT, first).await {
        let first = first?;
        let is_end = first.header("browser") == Some("end");
        if !is_end && (args.ack == Ack::Auto || is_foreign(&first)) {
            return Err(Foreign::new(queue).into());
        }
    }
    session.close().await?;
    Ok(())
}
