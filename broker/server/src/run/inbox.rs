//! What clients' connections and the node loop hand to each other.

use std::sync::Arc;

use replicamq_core::{Command, ConnectionId, Effect};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Inputs that wait for the node loop, over all connections.
const INPUTS_MAX: usize = 4_096;

/// Bytes of frames that wait for the node loop, over all connections. A frame
/// larger than this takes all of it.
const INPUT_BYTES_MAX: usize = 64 << 20;

/// Groups of effects that wait for one connection's socket. The core bounds what
/// is in them; a client that lets so many wait is dropped.
pub(crate) const OUTBOX_GROUPS_MAX: usize = 65_536;

/// What a connection has for the node loop.
#[derive(Debug)]
pub(crate) enum Input {
    /// A client connected; its effects go to this outbox.
    Opened {
        connection: ConnectionId,
        outbox: mpsc::Sender<Vec<Effect>>,
    },
    /// It asks something. The permit stands for the bytes, until the loop took them.
    Commands {
        connection: ConnectionId,
        commands: Vec<Command>,
        permit: OwnedSemaphorePermit,
    },
    /// It is gone.
    Closed { connection: ConnectionId },
}

/// The way into the node loop, for connections.
#[derive(Debug, Clone)]
pub(crate) struct InboxSender {
    inputs: mpsc::Sender<Input>,
    bytes: Arc<Semaphore>,
}

/// The node loop is no longer this one: the node stopped being master.
#[derive(Debug)]
pub(crate) struct Retired;

pub(crate) fn inbox() -> (InboxSender, mpsc::Receiver<Input>) {
    let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
    let bytes = Arc::new(Semaphore::new(INPUT_BYTES_MAX));
    (InboxSender { inputs, bytes }, receiver)
}

impl InboxSender {
    pub(crate) async fn opened(
        &self,
        connection: ConnectionId,
        outbox: mpsc::Sender<Vec<Effect>>,
    ) -> Result<(), Retired> {
        self.send(Input::Opened { connection, outbox }).await
    }

    /// Waits while too much is waiting: the connection stops reading meanwhile.
    pub(crate) async fn commands(
        &self,
        connection: ConnectionId,
        commands: Vec<Command>,
        bytes: usize,
    ) -> Result<(), Retired> {
        let bytes = u32::try_from(bytes.min(INPUT_BYTES_MAX)).expect("the limit fits");
        let permit = Arc::clone(&self.bytes)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| Retired)?;
        self.send(Input::Commands {
            connection,
            commands,
            permit,
        })
        .await
    }

    pub(crate) async fn closed(&self, connection: ConnectionId) -> Result<(), Retired> {
        self.send(Input::Closed { connection }).await
    }

    async fn send(&self, input: Input) -> Result<(), Retired> {
        self.inputs.send(input).await.map_err(|_| Retired)
    }
}
