//! The network: unary calls that get lost, and streams that are FIFO until they break.
//!
//! A stream's two ends learn of its end at different times. A cut holds back
//! what is on a stream, as TCP does, and loses unary messages.

use std::collections::{BTreeMap, VecDeque};

use replicamq_quorum::{Event, Hello, Message};

use crate::world::{Happening, World};

/// Names a stream.
pub type StreamId = u64;

/// A stream's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It opened the stream.
    Replica,
    /// It accepted it.
    Master,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// When each message may arrive, and the message.
    queue: VecDeque<(u64, Message)>,
    /// A happening for its head is under way.
    scheduled: bool,
}

/// An end's process, and whether it still holds the stream.
#[derive(Debug, Clone, Copy)]
struct Holder {
    node: usize,
    life: u64,
    open: bool,
}

/// A replica's stream to a master.
#[derive(Debug)]
struct Stream {
    replica: Holder,
    master: Holder,
    to_master: Lane,
    to_replica: Lane,
}

/// What lies between the nodes.
#[derive(Debug)]
pub struct Network {
    /// `cut[from][to]`: nothing passes. Counted, as cuts overlap.
    cuts: Vec<Vec<u32>>,
    streams: BTreeMap<StreamId, Stream>,
    next_stream: StreamId,
}

impl Network {
    /// Everything is connected.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            cuts: vec![vec![0; nodes]; nodes],
            streams: BTreeMap::new(),
            next_stream: 1,
        }
    }

    /// Whether something sent from here arrives there.
    pub fn passes(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] == 0
    }
}

impl World {
    /// Cuts or heals one direction.
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        let count = &mut self.network.cuts[from][to];
        if cut {
            *count += 1;
            return;
        }
        *count = count.saturating_sub(1);
        let ids: Vec<StreamId> = self.network.streams.keys().copied().collect();
        for id in ids {
            self.kick(id, End::Replica);
            self.kick(id, End::Master);
        }
    }

    /// Heals everything.
    pub fn heal_network(&mut self) {
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                self.network.cuts[from][to] = 0;
                self.set_cut(from, to, false);
            }
        }
    }

    /// `Ask`, `Promise` and their answers.
    pub fn send_unary(&mut self, from: usize, to: usize, message: Message) {
        if self.random.chance(self.plan.unary_loss_ppm) || !self.network.passes(from, to) {
            return;
        }
        if self.random.chance(self.plan.unary_twice_ppm) {
            // The second may come when everything has changed.
            let late = self.random.pick(&[0, 0, 1_000_000, 4_000_000]);
            let at = self.plan.unary.draw(&mut self.random) + self.random.between((0, late));
            let message = message.clone();
            self.after(at, Happening::Unary { from, to, message });
        }
        let at = self.plan.unary.draw(&mut self.random);
        self.after(at, Happening::Unary { from, to, message });
    }

    /// It arrives, if nothing came between.
    pub fn unary_arrives(&mut self, from: usize, to: usize, message: Message) {
        if self.network.passes(from, to) {
            let from = self.nodes[from].name.clone();
            self.deliver(to, Event::Received { from, message });
        }
    }

    /// A replica opens a stream, in place of any other.
    pub fn open_stream(&mut self, replica: usize, master: usize, hello: Hello) {
        self.close_upstream(replica);
        let id = self.network.next_stream;
        self.network.next_stream += 1;
        let life = self.life(replica).expect("a living process opens streams");
        let mut stream = Stream {
            replica: Holder {
                node: replica,
                life,
                open: true,
            },
            master: Holder {
                node: master,
                life: 0,
                open: false,
            },
            to_master: Lane::default(),
            to_replica: Lane::default(),
        };
        let at = self.now_us + self.plan.stream.draw(&mut self.random);
        stream
            .to_master
            .queue
            .push_back((at, Message::Hello(hello)));
        self.network.streams.insert(id, stream);
        if let Some(process) = &mut self.nodes[replica].process {
            process.upstream = Some((id, master));
        }
        let at = self.plan.stream.draw(&mut self.random);
        self.after(at, Happening::StreamOpens { id });
    }

    /// The first packet reaches the master's machine, or not.
    pub fn stream_opens(&mut self, id: StreamId) {
        let Some(stream) = self.network.streams.get_mut(&id) else {
            return;
        };
        let (from, to) = (stream.replica.node, stream.master.node);
        let reachable = self.network.cuts[from][to] == 0
            && self.network.cuts[to][from] == 0
            && !self.nodes[to].powerless;
        match &self.nodes[to].process {
            Some(process) if reachable => {
                stream.master.life = process.life;
                stream.master.open = true;
                self.kick(id, End::Master);
            }
            _ => {
                let refused = if reachable {
                    (50, 500)
                } else {
                    (200_000, 1_000_000)
                };
                let at = self.random.between(refused);
                let end = End::Replica;
                self.after(at, Happening::StreamBreaks { id, end });
            }
        }
    }

    /// From a replica up to its master.
    pub fn send_up(&mut self, replica: usize, master: usize, message: Message) {
        let process = self.nodes[replica].process.as_ref();
        if let Some((id, to)) = process.and_then(|process| process.upstream)
            && to == master
        {
            self.send_on(id, End::Master, message);
        }
    }

    /// From a master down to a replica.
    pub fn send_down(&mut self, master: usize, replica: usize, message: Message) {
        let process = self.nodes[master].process.as_ref();
        if let Some(&id) = process.and_then(|process| process.downstreams.get(&replica)) {
            self.send_on(id, End::Replica, message);
        }
    }

    fn send_on(&mut self, id: StreamId, to: End, message: Message) {
        let at = self.now_us + self.plan.stream.draw(&mut self.random);
        if let Some(stream) = self.network.streams.get_mut(&id) {
            let lane = match to {
                End::Replica => &mut stream.to_replica,
                End::Master => &mut stream.to_master,
            };
            let at = at.max(lane.queue.back().map_or(0, |&(last, _)| last));
            lane.queue.push_back((at, message));
            self.kick(id, to);
        }
    }

    /// Sees to it that the head of a lane will arrive.
    fn kick(&mut self, id: StreamId, to: End) {
        let Some(stream) = self.network.streams.get_mut(&id) else {
            return;
        };
        let (lane, open) = match to {
            End::Replica => (&mut stream.to_replica, stream.replica.open),
            End::Master => (&mut stream.to_master, stream.master.open),
        };
        if let Some(&(at, _)) = lane.queue.front()
            && open
            && !lane.scheduled
        {
            lane.scheduled = true;
            let at = at.max(self.now_us);
            self.at(at, Happening::StreamArrives { id, end: to });
        }
    }

    /// The head of a lane is there.
    pub fn stream_arrives(&mut self, id: StreamId, to: End) {
        let Some(stream) = self.network.streams.get_mut(&id) else {
            return;
        };
        let (from_node, to_node) = match to {
            End::Replica => (stream.master.node, stream.replica.node),
            End::Master => (stream.replica.node, stream.master.node),
        };
        let (lane, holder) = match to {
            End::Replica => (&mut stream.to_replica, stream.replica),
            End::Master => (&mut stream.to_master, stream.master),
        };
        lane.scheduled = false;
        if self.network.cuts[from_node][to_node] > 0 || !holder.open {
            return;
        }
        let Some((_, message)) = lane.queue.pop_front() else {
            return;
        };
        self.kick(id, to);
        if self.life(to_node) != Some(holder.life) {
            return;
        }
        let current = match to {
            End::Replica => self.is_upstream(to_node, id),
            End::Master => self.accept(to_node, from_node, id, &message),
        };
        if current {
            let from = self.nodes[from_node].name.clone();
            self.deliver(to_node, Event::Received { from, message });
        }
    }

    fn is_upstream(&self, node: usize, id: StreamId) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.is_some_and(|process| process.upstream.is_some_and(|(current, _)| current == id))
    }

    /// A greeting makes its stream the replica's one; what comes on an older one is dropped.
    fn accept(&mut self, master: usize, replica: usize, id: StreamId, message: &Message) -> bool {
        let Some(process) = &mut self.nodes[master].process else {
            return false;
        };
        if !matches!(message, Message::Hello(_)) {
            return process.downstreams.get(&replica) == Some(&id);
        }
        if let Some(older) = process.downstreams.insert(replica, id)
            && older != id
        {
            self.close_end(older, End::Master);
            let node = self.nodes[replica].name.clone();
            self.deliver(master, Event::Unlinked { node });
        }
        true
    }

    /// One end closes; the other learns of it later, after what was sent before, or instead of it.
    fn close_end(&mut self, id: StreamId, end: End) {
        let Some(stream) = self.network.streams.get_mut(&id) else {
            return;
        };
        let (mine, other_end, lane) = match end {
            End::Replica => (&mut stream.replica, End::Master, &mut stream.to_master),
            End::Master => (&mut stream.master, End::Replica, &mut stream.to_replica),
        };
        mine.open = false;
        let node = mine.node;
        let other = match end {
            End::Replica => stream.master.node,
            End::Master => stream.replica.node,
        };
        let flushed = lane.queue.back().map_or(0, |&(last, _)| last);
        let mut at = self.now_us + self.random.between((30, 900));
        if self.random.chance(700_000) {
            at = at.max(flushed + 1);
        } else if self.random.chance(300_000) {
            lane.queue.clear();
        }
        if self.network.cuts[node][other] > 0 {
            at += self.random.between((100_000, 4_000_000));
        }
        let end = other_end;
        self.at(at, Happening::StreamBreaks { id, end });
    }

    /// An end learns that its stream is gone.
    pub fn stream_breaks(&mut self, id: StreamId, end: End) {
        let Some(stream) = self.network.streams.get_mut(&id) else {
            return;
        };
        let (mine, other) = match end {
            End::Replica => (&mut stream.replica, &stream.master),
            End::Master => (&mut stream.master, &stream.replica),
        };
        let (was_open, other_open) = (mine.open, other.open);
        mine.open = false;
        let (holder, peer) = (*mine, other.node);
        if !other_open {
            self.network.streams.remove(&id);
        }
        if !was_open {
            return;
        }
        if other_open {
            self.close_end(id, end);
        }
        if self.life(holder.node) != Some(holder.life) {
            return;
        }
        let Some(process) = &mut self.nodes[holder.node].process else {
            return;
        };
        let current = match end {
            End::Replica => process.upstream.take_if(|(up, _)| *up == id).is_some(),
            End::Master => {
                let current = process.downstreams.get(&peer) == Some(&id);
                if current {
                    process.downstreams.remove(&peer);
                }
                current
            }
        };
        if current {
            let node = self.nodes[peer].name.clone();
            self.deliver(holder.node, Event::Unlinked { node });
        }
    }

    /// The replica's end of its stream closes.
    pub fn close_upstream(&mut self, replica: usize) {
        let process = self.nodes[replica].process.as_mut();
        if let Some((id, _)) = process.and_then(|process| process.upstream.take()) {
            self.close_end(id, End::Replica);
        }
    }

    /// The master's end of a replica's stream closes.
    pub fn close_downstream(&mut self, master: usize, replica: usize) {
        let process = self.nodes[master].process.as_mut();
        if let Some(id) = process.and_then(|process| process.downstreams.remove(&replica)) {
            self.close_end(id, End::Master);
        }
    }

    /// A process is gone: its streams reset at once, or fall silent with the machine's power.
    pub fn break_streams_of(&mut self, node: usize, life: u64, power: bool) {
        let ids: Vec<StreamId> = self.network.streams.keys().copied().collect();
        for id in ids {
            let Some(stream) = self.network.streams.get_mut(&id) else {
                continue;
            };
            let ends = [
                (End::Replica, stream.replica, stream.master.node),
                (End::Master, stream.master, stream.replica.node),
            ];
            for (end, holder, peer) in ends {
                if holder.node != node || holder.life != life || !holder.open {
                    continue;
                }
                let mut after = self.random.between((30, 1_500));
                if power || self.network.cuts[node][peer] > 0 {
                    after = self.random.between((100_000, 6_000_000));
                }
                let Some(stream) = self.network.streams.get_mut(&id) else {
                    continue;
                };
                let other = match end {
                    End::Replica => {
                        stream.replica.open = false;
                        End::Master
                    }
                    End::Master => {
                        stream.master.open = false;
                        End::Replica
                    }
                };
                self.after(after, Happening::StreamBreaks { id, end: other });
            }
        }
    }

    /// Breaks one stream for no reason.
    pub fn break_any_stream(&mut self) -> bool {
        let ids: Vec<StreamId> = self.network.streams.keys().copied().collect();
        if ids.is_empty() {
            return false;
        }
        let id = self.random.pick(&ids);
        let first = self.random.pick(&[End::Replica, End::Master]);
        self.at(self.now_us, Happening::StreamBreaks { id, end: first });
        true
    }
}
