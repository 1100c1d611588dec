//! A node that became master of three, and what it does when time has passed unseen.

mod alone;

use replicamq_core::{Command, ConnectionId, Receipt};
use replicamq_quorum::{
    Appended, AskAnswer, EpochRecord, Event as QuorumEvent, Hello, Keeper, Limits, Member, Message,
    NodeId, Position, PromiseAnswer, SyncMode,
};

use super::*;

fn at(monotonic_ms: u64) -> Now {
    Now {
        monotonic_ms,
        unix_ms: 1_000_000 + monotonic_ms,
    }
}

struct Master {
    node: Node,
    now_ms: u64,
}

impl Master {
    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.node.step(event, at(self.now_ms), &mut effects);
        effects
    }

    fn quorum(&mut self, event: QuorumEvent) -> Vec<Effect> {
        self.step(Event::Quorum(event))
    }

    fn hears(&mut self, message: Message) -> Vec<Effect> {
        let from = NodeId::new("b");
        self.quorum(QuorumEvent::Received { from, message })
    }

    /// The replica has everything, and answers what was sent just now.
    fn echo(&mut self) -> Vec<Effect> {
        let (last, ..) = self.node.quorum().positions();
        self.hears(Message::Appended(Appended {
            epoch: Epoch(1),
            appended: last,
            durable: last,
            applied: Sequence(0),
            stamp_ms: self.now_ms,
        }))
    }

    /// Elected by `b`, and about to read what the broker is built from.
    fn elected() -> (Self, Vec<Effect>) {
        let node = NodeId::new("a");
        let quorum = replicamq_quorum::Config {
            node: node.clone(),
            replicas: 3,
            weight: 1,
            sync: SyncMode::QUORUM_DISK,
            limits: Limits::default(),
        };
        let config = Config {
            quorum,
            limits: replicamq_core::Limits::default(),
        };
        let recovered = Recovered {
            log_first: Sequence(1),
            ..Recovered::default()
        };
        let mut master = Self {
            node: Node::new(config, &recovered, at(0)),
            now_ms: 10,
        };
        master.quorum(QuorumEvent::Keeper(three()));
        let willing = Message::AskAnswer(AskAnswer {
            unwilling: None,
            promised: Epoch(0),
            durable: Position::default(),
            weight: 1,
            rank: 1,
            master: None,
        });
        master.hears(willing.clone());
        master.now_ms = 200;
        master.hears(willing);
        let epoch = Epoch(1);
        master.quorum(QuorumEvent::Claimed { epoch, won: true });
        master.quorum(QuorumEvent::PromiseStored { epoch });
        master.hears(Message::PromiseAnswer(PromiseAnswer {
            refused: None,
            epoch,
            durable: Position::default(),
        }));
        master.hears(Message::Hello(Hello {
            epoch,
            last: Position::default(),
            history: replicamq_quorum::EpochHistory::default(),
            unfilled: false,
        }));
        let first = Position::new(1, 1);
        master.quorum(QuorumEvent::Logged {
            appended: first,
            durable: first,
        });
        master.echo();
        let sequence = Sequence(1);
        let effects = master.quorum(QuorumEvent::Applied { sequence });
        (master, effects)
    }

    /// With an empty store, and open for clients.
    fn open() -> Self {
        let (mut master, mut effects) = Self::elected();
        // Every read of the store finds nothing.
        while !effects.contains(&Effect::Serve { epoch: Epoch(1) }) {
            effects = master.step(Event::Loaded {
                token: load(&effects),
                pairs: Vec::new(),
                more: false,
            });
        }
        master
    }
}

/// `a`, `b` and `c`, all of them alive, and nobody ever led.
fn three() -> Keeper {
    let names = ["a", "b", "c"].map(NodeId::new);
    let member = |(rank, node): (i64, &NodeId)| Member {
        node: node.clone(),
        rank,
        weight: 1,
        durable: Position::default(),
    };
    Keeper {
        members: (0..).zip(&names).map(member).collect(),
        voters: names.into(),
        epoch: EpochRecord::default(),
    }
}

/// The token of the read that a broker in the making waits for.
fn load(effects: &[Effect]) -> u64 {
    let load = effects.iter().find_map(|effect| match effect {
        Effect::Load(request) => Some(request.token),
        _ => None,
    });
    load.expect("the broker is being built from the store")
}

fn connect() -> Event {
    Event::Command {
        connection: ConnectionId(7),
        command: Command::Connect {
            client_id: None,
            receipt: Receipt(1),
        },
    }
}

fn answered(effects: &[Effect]) -> bool {
    let mut effects = effects.iter();
    effects.any(|effect| matches!(effect, Effect::Client(_)))
}

/// All of it at once, at the end, took so long for a large `duplicate_window` that the
/// replicas heard nothing meanwhile and chose another master, to whom the same happened.
#[test]
fn what_a_broker_is_built_from_is_worked_on_page_by_page() {
    let (mut master, effects) = Master::elected();
    let page = |key: &'static [u8], effects: &[Effect]| Event::Loaded {
        token: load(effects),
        pairs: vec![(Bytes::from_static(key), Bytes::from_static(&[7; 16]))],
        more: true,
    };
    let refused = |effects: &[Effect]| {
        let mut effects = effects.iter();
        effects.any(|effect| matches!(effect, Effect::Unreadable { .. }))
    };
    let whole = b"W\0\0\0\0\0\0\0\x01";
    let effects = master.step(page(whole, &effects));
    assert!(!refused(&effects), "{effects:?}");
    // There is more to come, and yet it is known that this is not a key.
    let effects = master.step(page(b"W\0", &effects));
    assert!(refused(&effects), "{effects:?}");
}

/// Whether commands may come was asked before the process was stopped, and the answer
/// was used after it went on: a fenced master answered a client.
#[test]
fn a_command_that_outlived_the_lease_waits_for_it() {
    let mut master = Master::open();
    assert!(answered(&master.step(connect())), "the lease is held");

    let mut master = Master::open();
    assert!(master.node.accepts_commands(at(master.now_ms)));
    master.now_ms += Limits::default().lease_ms + 100;
    assert!(!answered(&master.step(connect())), "the lease is gone");
    // It is not lost: another echo, and it is done.
    assert!(answered(&master.echo()));
}

#[test]
fn a_command_that_waits_for_the_lease_goes_with_the_mastership() {
    let mut master = Master::open();
    master.now_ms += Limits::default().step_down_ms + 100;
    let effects = master.step(connect());
    assert!(!answered(&effects), "{effects:?}");
    let effects = master.quorum(QuorumEvent::Tick);
    // Its connection is dropped without a word, and the client asks the next master.
    assert!(
        effects.contains(&Effect::Retire) && !answered(&effects),
        "{effects:?}"
    );
}
