//! A process takes what has happened, steps its state machine, and then carries out what that wants.
//!
//! What came together is taken in one turn, as the server's loop does it: the effects of the
//! first event are carried out when the last one has been stepped through.

use std::collections::VecDeque;

use replicamq_quorum::{Effect, Event};

use crate::world::{Happening, Phase, World};

impl World {
    /// Time passes.
    pub fn tick(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        let at = self.random.between(self.plan.tick_us);
        self.after(at, Happening::Tick { node, life });
        if !self.nodes[node].paused() {
            self.deliver(node, Event::Tick);
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
            events.push_front(Event::Tick);
        }
        if self.life(node) == Some(life) {
            self.step(node, events);
        }
    }

    /// Gives an event to a node's process: at once, with its next turn, or when it goes on.
    pub fn deliver(&mut self, node: usize, event: Event) {
        let turn_us = self.plan.turn_us;
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let life = process.life;
        match (&mut process.inbox, &mut process.turn) {
            (Some(waiting), _) | (None, Some(waiting)) => waiting.push_back(event),
            (None, None) if turn_us.1 > 0 => {
                process.turn = Some(VecDeque::from([event]));
                let at = self.random.between(turn_us);
                self.after(at, Happening::Turn { node, life });
            }
            (None, None) => self.step(node, VecDeque::from([event])),
        }
    }

    /// A turn comes, unless the process was stopped before it.
    pub fn turn(&mut self, node: usize, life: u64) {
        if self.life(node) == Some(life) && !self.nodes[node].paused() {
            self.end_turn(node);
        }
    }

    /// Everything that waits for its turn is taken now.
    pub fn end_turn(&mut self, node: usize) {
        let process = self.nodes[node].process.as_mut();
        if let Some(events) = process.and_then(|process| process.turn.take()) {
            self.step(node, events);
        }
    }

    /// One turn of the real state machine.
    fn step(&mut self, node: usize, events: VecDeque<Event>) {
        let now_us = self.now_us;
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let life = process.life;
        let now_ms = process.clock.now_ms(now_us);
        let mut effects = std::mem::take(&mut self.effects);
        for event in events {
            self.figures.steps += 1;
            if event != Event::Tick {
                let name = &self.nodes[node].name;
                self.trace
                    .line(now_us, || format!("{name} {now_ms} <- {event:?}"));
            }
            let process = self.nodes[node].process_mut();
            process.quorum.step(event, now_ms, &mut effects);
        }
        self.carry_out(node, life, &mut effects);
        self.effects = effects;
        self.effects.clear();
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
            self.effect(node, effect);
        }
        if let Some(process) = &self.nodes[node].process {
            let (last, durable, committed, applied) = process.quorum.positions();
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
}
