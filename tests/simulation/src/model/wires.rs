//! What is on its way: promises in any order, and the streams between replicas and masters.

use std::collections::{BTreeSet, VecDeque};

use replicamq_quorum::{Hello, Message};

use super::NODES;

/// A replica's stream to a master.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    master: usize,
    /// Its greeting was taken.
    accepted: bool,
    /// Nothing follows what is on it; then the replica learns that it is gone.
    over: bool,
    up: VecDeque<Message>,
    down: VecDeque<Message>,
}

/// All that is on its way.
#[derive(Debug, Clone, Default)]
pub(super) struct Wires {
    /// From, to, and what: in an order of its own, so that equal sets are equal.
    pub(super) unary: Vec<(usize, usize, Message)>,
    /// By replica.
    pub(super) streams: [Option<Stream>; NODES],
    /// A master has yet to learn that this replica's stream is gone.
    pub(super) gone: BTreeSet<(usize, usize)>,
}

impl Wires {
    pub(super) fn unary(&mut self, from: usize, to: usize, message: Message) {
        let packet = (from, to, message);
        if self.unary.contains(&packet) {
            return;
        }
        let key =
            |(from, to, message): &(usize, usize, Message)| (*from, *to, format!("{message:?}"));
        let at = self
            .unary
            .partition_point(|other| key(other) < key(&packet));
        self.unary.insert(at, packet);
    }

    pub(super) fn has_down(&self, replica: usize) -> bool {
        let stream = self.streams[replica].as_ref();
        stream.is_some_and(|stream| stream.over || !stream.down.is_empty())
    }

    pub(super) fn has_up(&self, replica: usize) -> bool {
        let stream = self.streams[replica].as_ref();
        stream.is_some_and(|stream| !stream.over && !stream.up.is_empty())
    }

    /// The master, and its message; none if the stream is gone.
    pub(super) fn down(&mut self, replica: usize) -> Option<(usize, Option<Message>)> {
        let stream = self.streams[replica].as_mut()?;
        let master = stream.master;
        let message = stream.down.pop_front();
        if message.is_none() {
            self.streams[replica] = None;
        }
        Some((master, message))
    }

    pub(super) fn up(&mut self, replica: usize) -> Option<(usize, Message)> {
        let stream = self.streams[replica].as_mut()?;
        let message = stream.up.pop_front()?;
        stream.accepted |= matches!(message, Message::Hello(_));
        Some((stream.master, message))
    }

    pub(super) fn send_up(&mut self, replica: usize, master: usize, message: Message) {
        if let Some(stream) = &mut self.streams[replica]
            && stream.master == master
        {
            stream.up.push_back(message);
        }
    }

    pub(super) fn send_down(&mut self, master: usize, replica: usize, message: Message) {
        if let Some(stream) = &mut self.streams[replica]
            && stream.master == master
            && stream.accepted
            && !stream.over
        {
            stream.down.push_back(message);
        }
    }

    pub(super) fn follow(&mut self, replica: usize, master: usize, hello: Hello) {
        self.unfollow(replica);
        self.streams[replica] = Some(Stream {
            master,
            accepted: false,
            over: false,
            up: VecDeque::from([Message::Hello(hello)]),
            down: VecDeque::new(),
        });
    }

    /// A replica closes its stream; its master learns of it later.
    pub(super) fn unfollow(&mut self, replica: usize) {
        if let Some(stream) = self.streams[replica].take()
            && stream.accepted
            && !stream.over
        {
            self.gone.insert((stream.master, replica));
        }
    }

    /// A master closes a replica's stream; the replica learns of it after what was sent.
    pub(super) fn unlink(&mut self, master: usize, replica: usize) {
        self.gone.remove(&(master, replica));
        if let Some(stream) = &mut self.streams[replica]
            && stream.master == master
            && stream.accepted
        {
            stream.over = true;
            stream.up.clear();
        }
    }

    /// A stream breaks: what was on it is lost, and both ends learn of it.
    pub(super) fn cut(&mut self, replica: usize) {
        if let Some(stream) = &mut self.streams[replica] {
            if stream.accepted && !stream.over {
                self.gone.insert((stream.master, replica));
            }
            stream.over = true;
            stream.up.clear();
            stream.down.clear();
        }
    }

    /// A process dies: its streams with it.
    pub(super) fn crash(&mut self, node: usize) {
        self.unfollow(node);
        self.gone.retain(|(master, _)| *master != node);
        for stream in self.streams.iter_mut().flatten() {
            if stream.master == node {
                stream.over = true;
                stream.up.clear();
                stream.down.clear();
            }
        }
    }
}
