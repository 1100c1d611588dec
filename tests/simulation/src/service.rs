//! The server's side of a client: its port, what it asks, what it is answered, and reads of the store.

use replicamq_core::{Command, ConnectionId, Effect as ClientEffect, LoadRequest};
use replicamq_node::{Effect, Event};

use crate::clients::Happening;
use crate::ground::Trouble;
use crate::node::ApplyJob;
use crate::world::World;

/// Between a delivery that needs no acknowledgement and the report that the socket has it.
const WRITTEN_US: u64 = 20;

impl World {
    /// One effect of a living process.
    pub fn node_effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Quorum(effect) => self.effect(node, effect),
            Effect::Client(effect) => self.client_effect(node, effect),
            Effect::Load(request) => self.apply(node, ApplyJob::Load(request)),
            Effect::Serve { epoch } => {
                self.nodes[node].process_mut().serves = Some(epoch);
            }
            Effect::Retire => self.retire(node),
            Effect::Unreadable { reason } => {
                let text = format!("{}: {reason}", self.nodes[node].name);
                self.checkers.fail("store", &text);
            }
        }
    }

    fn client_effect(&mut self, node: usize, effect: ClientEffect) {
        let connection = match &effect {
            ClientEffect::Receipt { connection, .. }
            | ClientEffect::Refused { connection, .. }
            | ClientEffect::BrowseEnd { connection, .. } => *connection,
            ClientEffect::Deliver(delivery) => delivery.connection,
            ClientEffect::Load(_) => return,
        };
        match &effect {
            ClientEffect::Receipt { receipt, .. } => {
                self.checkers.receipted(&self.nodes, node, *receipt);
                self.answered(node, *receipt);
            }
            ClientEffect::Deliver(delivery) => {
                let feed = self.feed_of(connection);
                self.checkers
                    .delivered((node, &self.nodes[node]), feed, delivery);
            }
            ClientEffect::Refused { .. }
            | ClientEffect::BrowseEnd { .. }
            | ClientEffect::Load(_) => {}
        }
        let process = self.nodes[node].process_mut();
        let outbox = &mut process.outbox;
        match outbox.iter_mut().find(|(to, _)| *to == connection) {
            Some((_, group)) => group.push(effect),
            None => outbox.push((connection, vec![effect])),
        }
    }

    /// What a turn had for clients goes to their sockets.
    pub fn flush_outbox(&mut self, node: usize) {
        let process = self.nodes[node].process_mut();
        if process.outbox.is_empty() {
            return;
        }
        let outbox = std::mem::take(&mut process.outbox);
        for (connection, effects) in outbox {
            if !self.nodes[node].process_mut().links.contains(&connection) {
                continue;
            }
            if self.acknowledges_nothing(connection) {
                self.written_to(connection, &effects);
            }
            self.send_to_client(connection, effects);
        }
    }

    /// The socket has deliveries of a client that acknowledges nothing.
    fn written_to(&mut self, connection: ConnectionId, effects: &[ClientEffect]) {
        let last = effects.iter().rev().find_map(|effect| match effect {
            ClientEffect::Deliver(delivery) => Some(delivery),
            _ => None,
        });
        let Some(last) = last else {
            return;
        };
        let written = Command::Written {
            subscription: last.subscription,
            last: last.delivery,
        };
        let deliveries = effects.iter().filter_map(|effect| match effect {
            ClientEffect::Deliver(delivery) => Some(&*delivery.message),
            _ => None,
        });
        let feed = self.feed_of(connection);
        self.checkers.ledger.settles(feed, deliveries, false);
        let commands = vec![written];
        let happening = Happening::Asked {
            connection,
            commands,
        };
        self.after(WRITTEN_US, happening);
    }

    /// The store's thread has come to a read.
    pub fn load(&mut self, node: usize, request: &LoadRequest) {
        let loaded = self.nodes[node].disk.store.load(request);
        let loaded = loaded.map_err(Trouble::Damaged);
        let Some((pairs, more)) = self.done(node, loaded) else {
            return;
        };
        let token = request.token;
        self.deliver_to_node(node, Event::Loaded { token, pairs, more });
    }

    /// Clients' commands wait in their queue until the node takes them.
    pub fn commanded(&mut self, node: usize, connection: ConnectionId, commands: Vec<Command>) {
        let process = self.nodes[node].process_mut();
        process.commands.push_back((connection, commands));
        self.call_turn(node);
    }

    /// The port closes: every client is dropped without a word.
    fn retire(&mut self, node: usize) {
        let process = self.nodes[node].process_mut();
        process.serves = None;
        process.commands.clear();
        process.outbox.clear();
        let links = std::mem::take(&mut process.links);
        for link in links {
            self.drop_client(link, false);
        }
    }
}
