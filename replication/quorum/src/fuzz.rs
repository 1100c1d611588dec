//! What fuzzers call: one node whose peers say anything at any time, while its own disk, store and
//! ZooKeeper behave. See `replicamq-fuzzing`.
//!
//! A confused or hostile peer may cost this node an election or a refusal, never its process: no
//! assertion of the quorum can be reached from another node.

mod own;
mod peers;

use replicamq_fuzzing::Input;

use crate::{Config, Copy, Event, Limits, NodeId, Quorum, SyncMode};
use own::Own;

/// More than that tells nothing new.
const EVENTS_MAX: usize = 400;

const NODES: [&str; 4] = ["a", "b", "c", "stranger"];

fn node(input: &mut Input<'_>) -> NodeId {
    NodeId::new(input.pick(&NODES))
}

/// Begins with an empty node, a filled one or one to be filled; then one event after the other.
pub fn quorum(data: &[u8]) {
    let mut input = Input::new(data);
    let recovered = own::recovered(&mut input);
    let config = config(&mut input);
    let mut now_ms = 1_000;
    let quorum = Quorum::new(config, &recovered, now_ms);
    let mut own = Own::new(quorum, &recovered);
    for _ in 0..EVENTS_MAX {
        if input.is_empty() || own.is_over() {
            return;
        }
        let event = match input.below(16) {
            0..=7 => Some(peers::says(&own, &mut input)),
            8 | 9 => own.disk_answers(),
            10 => own.store_answers(),
            11 => Some(own.keeper_answers(&mut input)),
            12 => own.log_read(),
            13 => {
                own.propose(&mut input);
                None
            }
            14 => {
                own.hand_over(&mut input);
                None
            }
            _ => Some(Event::Tick),
        };
        now_ms += [0, 1, 40, 60, 260, 510, 1_010, 2_100][input.below(8)];
        if let Some(event) = event {
            own.step(event, now_ms);
        }
    }
}

fn config(input: &mut Input<'_>) -> Config {
    let copies = [Copy::Disk, Copy::Memory, Copy::None];
    let sync = SyncMode {
        local: input.pick(&copies),
        remote: input.pick(&copies),
    };
    // Small, so that what they bound happens.
    let small = Limits {
        tail_bytes_max: 200,
        pipeline_bytes_max: 400,
        applying_bytes_max: 200,
        unapplied_bytes_max: 600,
        unapplied_entries_max: 8,
        ship_bytes_max: 200,
        message_bytes_max: 150,
        ..Limits::default()
    };
    Config {
        node: NodeId::new("b"),
        replicas: input.pick(&[3, 1, 2, 5]),
        weight: 1,
        sync,
        limits: if input.bool() {
            small
        } else {
            Limits::default()
        },
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_the_quorum_passes() {
        replicamq_fuzzing::replay("quorum", super::quorum);
    }
}
