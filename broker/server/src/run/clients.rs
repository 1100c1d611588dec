//! The clients of a master: their port, and the way to each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use replicamq_core::{ConnectionId, Effect};
use tokio::sync::mpsc;

use crate::connection::Settings;
use crate::listener::{ListenError, Open, Reserved};
use crate::run::inbox::{Input, inbox};

/// The client port in its two states, and the connections behind it.
#[derive(Debug)]
pub(crate) struct Clients {
    settings: Arc<Settings>,
    connections_max: usize,
    port: Port,
    outboxes: BTreeMap<ConnectionId, Outbox>,
    /// Those with effects to hand over at the end of this turn.
    dirty: Vec<ConnectionId>,
}

#[derive(Debug)]
enum Port {
    /// No port is configured, or it is between two states.
    None,
    Reserved(Reserved),
    Open {
        port: Open,
        inputs: mpsc::Receiver<Input>,
    },
}

#[derive(Debug)]
struct Outbox {
    sender: mpsc::Sender<Vec<Effect>>,
    group: Vec<Effect>,
}

impl Clients {
    pub(crate) fn new(
        port: Option<Reserved>,
        connections_max: usize,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            settings,
            connections_max,
            port: port.map_or(Port::None, Port::Reserved),
            outboxes: BTreeMap::new(),
            dirty: Vec::new(),
        }
    }

    pub(crate) fn open(&mut self) -> Result<(), ListenError> {
        let Port::Reserved(reserved) = std::mem::replace(&mut self.port, Port::None) else {
            return Ok(());
        };
        let address = reserved.address();
        let (sender, inputs) = inbox();
        let port = reserved.open(self.connections_max, Arc::clone(&self.settings), sender)?;
        self.port = Port::Open { port, inputs };
        tracing::info!(%address, "open for STOMP clients");
        Ok(())
    }

    /// Drops every client without a word, so that it tries another node.
    pub(crate) async fn close(&mut self) -> Result<(), ListenError> {
        let port = std::mem::replace(&mut self.port, Port::None);
        self.port = match port {
            Port::Open { port, inputs } => {
                drop(inputs);
                let connections = self.outboxes.len();
                self.outboxes.clear();
                self.dirty.clear();
                let reserved = port.close().await?;
                tracing::info!(connections, address = %reserved.address(), "closed to clients");
                Port::Reserved(reserved)
            }
            port => port,
        };
        Ok(())
    }

    /// Ends with the node's life; the port stays reserved.
    pub(crate) async fn retire(&mut self) -> Result<Option<Reserved>, ListenError> {
        self.close().await?;
        Ok(match std::mem::replace(&mut self.port, Port::None) {
            Port::Reserved(reserved) => Some(reserved),
            Port::None | Port::Open { .. } => None,
        })
    }

    /// The next thing a client wants; never while the port is closed.
    pub(crate) async fn next(&mut self) -> Input {
        loop {
            match &mut self.port {
                Port::Open { inputs, .. } => {
                    if let Some(input) = inputs.recv().await {
                        return input;
                    }
                    std::future::pending::<()>().await;
                }
                Port::None | Port::Reserved(_) => std::future::pending().await,
            }
        }
    }

    pub(crate) fn try_next(&mut self) -> Option<Input> {
        match &mut self.port {
            Port::Open { inputs, .. } => inputs.try_recv().ok(),
            Port::None | Port::Reserved(_) => None,
        }
    }

    pub(crate) fn register(&mut self, connection: ConnectionId, sender: mpsc::Sender<Vec<Effect>>) {
        let group = Vec::new();
        self.outboxes.insert(connection, Outbox { sender, group });
    }

    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.outboxes.remove(&connection);
    }

    /// Puts an effect where its connection will find it after [`Clients::flush`].
    pub(crate) fn push(&mut self, connection: ConnectionId, effect: Effect) {
        if let Some(outbox) = self.outboxes.get_mut(&connection) {
            if outbox.group.is_empty() {
                self.dirty.push(connection);
            }
            outbox.group.push(effect);
        }
    }

    pub(crate) fn flush(&mut self) {
        for connection in self.dirty.drain(..) {
            let Some(outbox) = self.outboxes.get_mut(&connection) else {
                continue;
            };
            let group = std::mem::take(&mut outbox.group);
            if let Err(mpsc::error::TrySendError::Full(_)) = outbox.sender.try_send(group) {
                // Dropping the outbox ends the connection.
                tracing::warn!(
                    connection = connection.0,
                    "dropped a client that does not read what it asked for"
                );
                self.outboxes.remove(&connection);
            }
        }
    }
}
