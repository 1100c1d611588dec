//! A process takes what has happened, steps its state machine, and then carries out what that wants.
//!
//! What came together is taken in one turn, as the server's loop does it: the effects of the
//! first event are carried out when the last one has been stepped through.

use std::collections::VecDeque;

use replicamq_node::{Effect, Event};
use replicamq_quorum::Event::Tick;

use crate::world::{Happening, Phase, World};

/// Packets of clients that one turn takes.
const TURN_COMMANDS_MAX: usize = 512;

impl World {
    /// Time passes.
    pub fn tick(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        let at = self.random.between(self.plan.tick_us);
        self.after(at, Happening::Tick { node, life });
        if !self.nodes[node].paused() {
            self.deliver(node, Tick);
        }
    }

    /// A stopped process goes on: what waits for it is one turn.
    pub fn resume(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        let inbox = self.nodes[node].process_mut().inbox.take();
        let name = &self.nodes[node].name;
        self.trace.line(self.now_us, || format!("{name} goes on"));
        self.keeper_heard(node);
        let mut events = inbox.unwrap_or_default();
        if self.random.chance(500_000) {
            events.push_front(Event::Quorum(Tick));
        }
        if self.life(node) == Some(life) {
            self.step(node, events);
        }
    }

    /// Gives the replicated log's part an event.
    pub fn deliver(&mut self, node: usize, event: replicamq_quorum::Event) {
        self.deliver_to_node(node, Event::Quorum(event));
    }

    /// Gives an event to a node's process: at once, with its next turn, or when it goes on.
    pub fn deliver_to_node(&mut self, node: usize, event: Event) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        match (&mut process.inbox, &mut process.turn) {
            (Some(waiting), _) | (None, Some(waiting)) => waiting.push_back(event),
            (None, None) if self.plan.turn_us.1 > 0 => {
                process.turn = Some(VecDeque::from([event]));
                self.plan_turn(node);
            }
            (None, None) => self.step(node, VecDeque::from([event])),
        }
    }

    /// Something waits for the node's next turn.
    pub fn call_turn(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        if process.inbox.is_some() || process.turn.is_some() {
            return;
        }
        if self.plan.turn_us.1 > 0 {
            process.turn = Some(VecDeque::new());
            self.plan_turn(node);
        } else {
            self.step(node, VecDeque::new());
        }
    }

    fn plan_turn(&mut self, node: usize) {
        let life = self.nodes[node].process_mut().life;
        let at = self.random.between(self.plan.turn_us);
        self.after(at, Happening::Turn { node, life });
    }

    /// A turn comes, unless the process was stopped before it.
    pub fn turn(&mut self, node: usize, life: u64) {
        if self.life(node) == Some(life) && !self.nodes[node].paused() {
            self.end_turn(node);
        }
    }

    /// A batch that nobody waits for has waited long enough.
    pub fn seal(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        self.nodes[node].process_mut().seal_due_ms = None;
        self.call_turn(node);
    }

    /// Everything that waits for its turn is taken now.
    pub fn end_turn(&mut self, node: usize) {
        let process = self.nodes[node].process.as_mut();
        if let Some(events) = process.and_then(|process| process.turn.take()) {
            self.step(node, events);
        }
    }

    /// One turn of the real state machine: what has happened, then what clients ask, then the
    /// batch of all that.
    fn step(&mut self, node: usize, events: VecDeque<Event>) {
        let now_us = self.now_us;
        let Some(now) = self.nodes[node].now(now_us) else {
            return;
        };
        let mut effects = std::mem::take(&mut self.effects);
        let machine = &mut self.nodes[node];
        let name = &machine.name;
        let process = machine.process.as_mut().expect("it has a time");
        let (life, now_ms) = (process.life, now.monotonic_ms);
        self.figures.steps += events.len() as u64;
        for event in events {
            if event != Event::Quorum(Tick) {
                self.trace
                    .line(now_us, || format!("{name} {now_ms} <- {event:?}"));
            }
            let before = effects.len();
            process.node.step(event, now, &mut effects);
            let speaks = speaks(&effects[before..]);
            self.checkers.leased(name, process, speaks, now_ms);
        }
        let mut left = TURN_COMMANDS_MAX;
        while left > 0 && process.node.accepts_commands(now) {
            let Some((connection, commands)) = process.commands.pop_front() else {
                break;
            };
            left -= 1;
            for command in commands {
                self.figures.steps += 1;
                self.trace.line(now_us, || {
                    format!("{name} {now_ms} <- {connection:?} {command:?}")
                });
                let event = Event::Command {
                    connection,
                    command,
                };
                let before = effects.len();
                process.node.step(event, now, &mut effects);
                let speaks = speaks(&effects[before..]);
                self.checkers.leased(name, process, speaks, now_ms);
            }
        }
        process.node.seal(now, &mut effects);
        self.carry_out(node, life, &mut effects);
        self.effects = effects;
        self.effects.clear();
        self.plan_seal(node, life);
    }

    fn plan_seal(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        let process = self.nodes[node].process_mut();
        let Some(due_ms) = process.node.seal_due_ms() else {
            return;
        };
        if process.seal_due_ms.is_some() {
            return;
        }
        process.seal_due_ms = Some(due_ms);
        let at = process.clock.shows_us(due_ms);
        self.at(at, Happening::Seal { node, life });
    }

    /// Carries out what a step wants done, and looks at what it left.
    pub fn carry_out(&mut self, node: usize, life: u64, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            if self.life(node) != Some(life) {
                break;
            }
            let name = &self.nodes[node].name;
            self.trace
                .line(self.now_us, || format!("{name}     -> {effect:?}"));
            if self.ambushed(node, &effect) {
                break;
            }
            self.node_effect(node, effect);
        }
        if self.life(node) != Some(life) {
            return;
        }
        self.flush_outbox(node);
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let (last, durable, committed, applied) = process.quorum().positions();
        for number in [last.sequence.0, durable.sequence.0, committed.0, applied.0] {
            self.trace.fold(number);
        }
        self.checkers
            .stepped(node, &self.nodes[node], self.plan.sync);
        if self.silent && self.phase == Phase::Faulty {
            self.checkers.leases(&self.nodes, self.now_us);
        }
    }
}

/// Whether clients are to hear of it.
fn speaks(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Client(_)))
}
