//! Simulated clients and the connections between them and the nodes.
//!
//! They behave like `failover:` clients: one that loses its connection, or waits too long for
//! an answer, goes to another node that serves, and asks again for what was not answered.

pub mod consumer;
pub mod producer;

use std::collections::{BTreeMap, BTreeSet};

use replicamq_core::{Command, ConnectionId, Effect, Receipt};

use crate::checkers::ledger::Feed;
use crate::clients::consumer::Consumer;
use crate::clients::producer::Producer;
use crate::node::Node;
use crate::world::World;

/// A connection from its first packet until both ends know that it is over.
#[derive(Debug)]
struct Link {
    client: usize,
    node: usize,
    life: u64,
    /// The server's end was opened.
    accepted: bool,
    /// The client has not given it up.
    open: bool,
    /// Nothing passes any more, though an end may not know.
    dead: bool,
    /// When the last packet arrives over there, and here: packets stay in order.
    there_us: u64,
    here_us: u64,
}

/// A client, whatever it does.
#[derive(Debug)]
pub struct Client {
    work: Work,
    link: Option<ConnectionId>,
    /// Only the last alarm that was set wakes it.
    alarm: u64,
    /// Answers that it waits for on this connection.
    awaits: BTreeSet<Receipt>,
    /// When it last asked or heard.
    active_us: u64,
    /// How long it waits for an answer.
    patience_us: u64,
}

#[derive(Debug)]
enum Work {
    Produce(Producer),
    Consume(Consumer),
}

/// What happens to clients and connections.
#[derive(Debug)]
pub enum Happening {
    /// A client looks around.
    Wakes {
        /// Which.
        client: usize,
        /// Its alarm at that time.
        alarm: u64,
    },
    /// A packet reaches the server.
    Asked {
        /// On this connection.
        connection: ConnectionId,
        /// What is in it.
        commands: Vec<Command>,
    },
    /// A packet reaches the client.
    Told {
        /// On this connection.
        connection: ConnectionId,
        /// What is in it.
        effects: Vec<Effect>,
    },
    /// The client's end learns that it is over.
    Breaks {
        /// Which.
        connection: ConnectionId,
    },
    /// The server's end learns that it is over.
    Closes {
        /// Which.
        connection: ConnectionId,
    },
    /// A node is reached again.
    CutEnds {
        /// Which.
        node: usize,
    },
}

/// All clients and connections.
#[derive(Debug, Default)]
pub struct Clients {
    list: Vec<Client>,
    links: BTreeMap<ConnectionId, Link>,
    /// Where each connection that ever was has its deliveries from.
    feeds: BTreeMap<ConnectionId, Feed>,
    /// Nodes that no client reaches. Counted, as cuts overlap.
    cut: Vec<u32>,
}

impl World {
    /// Something happens to a client.
    pub fn client_happens(&mut self, happening: Happening) {
        match happening {
            Happening::Wakes { client, alarm } => self.client_wakes(client, alarm),
            Happening::Asked {
                connection,
                commands,
            } => self.asked(connection, commands),
            Happening::Told {
                connection,
                effects,
            } => self.told(connection, effects),
            Happening::Breaks { connection } => self.link_breaks(connection),
            Happening::Closes { connection } => self.link_closes(connection),
            Happening::CutEnds { node } => self.client_cut_ends(node),
        }
    }

    /// The clients of this plan, none of them connected.
    pub fn hire_clients(&mut self) {
        self.clients.cut = vec![0; self.nodes.len()];
        let plan = self.plan.clients.clone();
        for _ in 0..plan.producers {
            let producer = Producer::new(&plan, &mut self.random);
            self.hire(Work::Produce(producer));
        }
        for consumer in Consumer::all(&plan, &mut self.random) {
            self.hire(Work::Consume(consumer));
        }
    }

    fn hire(&mut self, work: Work) {
        let client = self.clients.list.len();
        let patience_us = self.random.between(self.plan.clients.patience_us);
        self.clients.list.push(Client {
            work,
            link: None,
            alarm: 0,
            awaits: BTreeSet::new(),
            active_us: 0,
            patience_us,
        });
        let at = self.random.between((1_000_000, 1_100_000));
        self.after(at, Happening::Wakes { client, alarm: 0 });
    }

    fn set_alarm(&mut self, client: usize, us: u64) {
        let one = &mut self.clients.list[client];
        one.alarm += 1;
        let alarm = one.alarm;
        self.after(us, Happening::Wakes { client, alarm });
    }

    /// A client looks for a node, or goes on with its work.
    fn client_wakes(&mut self, client: usize, alarm: u64) {
        if self.clients.list[client].alarm != alarm {
            return;
        }
        let one = &self.clients.list[client];
        let waited_us = self.now_us - one.active_us;
        if one.link.is_some() && !one.awaits.is_empty() && waited_us > one.patience_us {
            self.hang_up(client);
            return;
        }
        if self.clients.list[client].link.is_none() && !self.connect(client) {
            let at = self.random.between((4_000, 20_000));
            self.set_alarm(client, at);
            return;
        }
        let pause = match &self.clients.list[client].work {
            Work::Produce(_) => {
                self.produce(client);
                self.plan.clients.pause_us
            }
            Work::Consume(_) => {
                self.consume(client);
                self.plan.clients.rest_us
            }
        };
        if self.clients.list[client].link.is_some() {
            let at = self.random.between(pause);
            self.set_alarm(client, at);
        }
    }

    /// Tries one node after the other, from any on.
    fn connect(&mut self, client: usize) -> bool {
        let nodes = self.nodes.len();
        let first = self.random.index(nodes);
        let found = (first..first + nodes)
            .map(|node| node % nodes)
            .find(|&node| self.clients.cut[node] == 0 && is_open(&self.nodes[node]));
        let Some(node) = found else {
            return false;
        };
        let life = self.life(node).expect("an open port has a process");
        let connection = ConnectionId(self.name());
        self.clients.links.insert(
            connection,
            Link {
                client,
                node,
                life,
                accepted: false,
                open: true,
                dead: false,
                there_us: 0,
                here_us: 0,
            },
        );
        let one = &mut self.clients.list[client];
        one.link = Some(connection);
        one.awaits.clear();
        match &one.work {
            Work::Produce(_) => self.begin_producing(client),
            Work::Consume(consumer) => {
                self.clients.feeds.insert(connection, consumer.feed);
                self.begin_consuming(client);
            }
        }
        true
    }

    /// A client asks; the answers that it then waits for are among the commands.
    fn ask(&mut self, client: usize, commands: Vec<Command>, awaits: &[Receipt]) {
        let now_us = self.now_us;
        let one = &mut self.clients.list[client];
        let Some(connection) = one.link else {
            return;
        };
        if one.awaits.is_empty() {
            one.active_us = now_us;
        }
        one.awaits.extend(awaits);
        let delay = self.plan.clients.wire.draw(&mut self.random);
        let Some(link) = self.clients.links.get_mut(&connection) else {
            return;
        };
        link.there_us = link.there_us.max(now_us + delay);
        let at = link.there_us;
        let happening = Happening::Asked {
            connection,
            commands,
        };
        self.at(at, happening);
    }

    /// Commands reach the server's socket.
    fn asked(&mut self, connection: ConnectionId, commands: Vec<Command>) {
        let Some(link) = self.clients.links.get_mut(&connection) else {
            return;
        };
        if link.dead {
            return;
        }
        let (node, life, accepted) = (link.node, link.life, link.accepted);
        let process = self.nodes[node].process.as_mut();
        let Some(process) = process.filter(|process| process.life == life) else {
            return;
        };
        if !accepted {
            if process.serves.is_none() {
                self.drop_client(connection, false);
                return;
            }
            link.accepted = true;
            process.links.insert(connection);
        }
        if process.links.contains(&connection) {
            self.commanded(node, connection, commands);
        }
    }

    /// The server sends.
    pub(crate) fn send_to_client(&mut self, connection: ConnectionId, effects: Vec<Effect>) {
        let delay = self.plan.clients.wire.draw(&mut self.random);
        let now_us = self.now_us;
        if let Some(link) = self.clients.links.get_mut(&connection)
            && !link.dead
        {
            link.here_us = link.here_us.max(now_us + delay);
            let at = link.here_us;
            self.at(
                at,
                Happening::Told {
                    connection,
                    effects,
                },
            );
        }
    }

    /// Answers and deliveries reach a client.
    fn told(&mut self, connection: ConnectionId, effects: Vec<Effect>) {
        let Some(link) = self.clients.links.get(&connection) else {
            return;
        };
        if link.dead || !link.open {
            return;
        }
        let client = link.client;
        let one = &mut self.clients.list[client];
        one.active_us = self.now_us;
        for effect in &effects {
            if let Effect::Receipt { receipt, .. } = effect {
                one.awaits.remove(receipt);
            }
        }
        match &one.work {
            Work::Produce(_) => self.producer_hears(client, effects),
            Work::Consume(_) => self.consumer_hears(client, effects),
        }
    }

    /// The server's end is gone; the client learns of it.
    pub(crate) fn drop_client(&mut self, connection: ConnectionId, power: bool) {
        let silence = power && self.random.chance(700_000);
        let reset = self.random.between((30, 1_500));
        let Some(link) = self.clients.links.get_mut(&connection) else {
            return;
        };
        let mut at = self.now_us + reset;
        if silence {
            link.dead = true;
            at = self.now_us + self.random.between((100_000, 2_000_000));
        } else if self.random.chance(500_000) {
            at = at.max(link.here_us);
        }
        self.at(at, Happening::Breaks { connection });
    }

    /// The client's end learns that its connection is gone.
    fn link_breaks(&mut self, connection: ConnectionId) {
        let Some(link) = self.clients.links.get_mut(&connection) else {
            return;
        };
        link.open = false;
        let (client, node, life) = (link.client, link.node, link.life);
        let process = self.nodes[node].process.as_ref();
        let is_held = process
            .is_some_and(|process| process.life == life && process.links.contains(&connection));
        if !is_held {
            self.clients.links.remove(&connection);
        }
        if self.clients.list[client].link == Some(connection) {
            self.clients.list[client].link = None;
            let at = self.random.between((200, 5_000));
            self.set_alarm(client, at);
        }
    }

    /// A client gives its connection up, and looks for another.
    fn hang_up(&mut self, client: usize) {
        let Some(connection) = self.clients.list[client].link.take() else {
            return;
        };
        let at = self.random.between((200, 5_000));
        self.set_alarm(client, at);
        let in_order = self.random.chance(500_000);
        let at = self.now_us + self.random.between((30, 900));
        let Some(link) = self.clients.links.get_mut(&connection) else {
            return;
        };
        link.open = false;
        let at = if in_order {
            at.max(link.there_us + 1)
        } else {
            at
        };
        self.at(at, Happening::Closes { connection });
    }

    /// The server's end learns that the client is gone.
    fn link_closes(&mut self, connection: ConnectionId) {
        let Some(link) = self.clients.links.get_mut(&connection) else {
            return;
        };
        let (node, life) = (link.node, link.life);
        if !link.open {
            self.clients.links.remove(&connection);
        }
        let process = self.nodes[node].process.as_mut();
        if let Some(process) = process.filter(|process| process.life == life)
            && process.links.remove(&connection)
        {
            self.commanded(node, connection, vec![Command::Disconnect]);
        }
    }

    /// No client reaches a node any more, nor is reached.
    pub fn cut_clients(&mut self, node: usize, lasts: u64) {
        self.clients.cut[node] += 1;
        self.after(lasts, Happening::CutEnds { node });
        let links = self.clients.links.iter_mut();
        let cut: Vec<ConnectionId> = links
            .filter(|(_, link)| link.node == node && !link.dead)
            .map(|(&connection, link)| {
                link.dead = true;
                connection
            })
            .collect();
        for connection in cut {
            let at = self.random.between((200_000, 3_000_000));
            self.after(at, Happening::Closes { connection });
            let at = self.random.between((20_000, 400_000));
            self.after(at, Happening::Breaks { connection });
        }
    }

    /// Clients reach a node again.
    fn client_cut_ends(&mut self, node: usize) {
        self.clients.cut[node] = self.clients.cut[node].saturating_sub(1);
    }

    /// Everybody is reached.
    pub fn heal_clients(&mut self) {
        self.clients.cut.fill(0);
    }

    /// Where a connection's deliveries come from.
    pub(crate) fn feed_of(&self, connection: ConnectionId) -> Option<Feed> {
        self.clients.feeds.get(&connection).copied()
    }

    pub(crate) fn acknowledges_nothing(&self, connection: ConnectionId) -> bool {
        let link = self.clients.links.get(&connection);
        link.is_some_and(|link| match &self.clients.list[link.client].work {
            Work::Produce(_) => false,
            Work::Consume(consumer) => consumer.is_auto(),
        })
    }

    /// Whether no client waits for an answer, and everyone who consumes is there.
    pub fn clients_are_done(&self) -> bool {
        self.clients.list.iter().all(|one| match &one.work {
            Work::Produce(producer) => producer.is_done(),
            Work::Consume(consumer) => {
                one.link.is_some() && one.awaits.is_empty() && consumer.is_done()
            }
        })
    }
}

/// Whether a client that tries this node is let in.
fn is_open(node: &Node) -> bool {
    let process = node.process.as_ref();
    process.is_some_and(|process| process.serves.is_some())
}
