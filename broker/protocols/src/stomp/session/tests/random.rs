//! Whatever a client says and whatever the core answers, in any order.

use proptest::prelude::*;

use super::*;
use crate::stomp::Limits;

#[derive(Debug, Clone)]
enum Event {
    Says(Vec<u8>),
    Receipt(u64),
    Refused(Option<u64>),
    Deliver(u64, u64),
    BrowseEnd(u64),
    Flushed,
    Passes(u64),
}

fn frame_text() -> impl Strategy<Value = Vec<u8>> {
    let header = prop::sample::select(vec![
        "accept-version:1.0",
        "accept-version:1.1",
        "accept-version:1.2",
        "heart-beat:100,100",
        "destination:/queue/a",
        "id:s",
        "id:t",
        "id:1-1",
        "id:1-2",
        "ack:client",
        "ack:client-individual",
        "message-id:m",
        "subscription:s",
        "transaction:t",
        "receipt:r",
        "browser:true",
        "durable:true",
        "content-length:4",
        "priority:3",
        "expires:x",
        "selector:a",
        "k\\c:v\\n",
        "no colon",
    ]);
    let verb = prop::sample::select(vec![
        "CONNECT",
        "STOMP",
        "SEND",
        "SEND",
        "SUBSCRIBE",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "ACK",
        "NACK",
        "BEGIN",
        "COMMIT",
        "ABORT",
        "DISCONNECT",
        "MESSAGE",
        "NOTHING",
    ]);
    let end = prop::sample::select(vec!["\n\0", "\nbody\0", "\n\0\n\n", "\n", "\0"]);
    (verb, prop::collection::vec(header, 0..5), end).prop_map(|(verb, headers, end)| {
        let mut text = format!("{verb}\n");
        for header in headers {
            text.push_str(header);
            text.push('\n');
        }
        text.push_str(end);
        text.into_bytes()
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => frame_text().prop_map(Event::Says),
        1 => prop::collection::vec(any::<u8>(), 0..8).prop_map(Event::Says),
        3 => (0..6u64).prop_map(Event::Receipt),
        1 => prop::option::of(0..6u64).prop_map(Event::Refused),
        4 => (0..3u64, 0..4u64).prop_map(|(to, number)| Event::Deliver(to, number)),
        1 => (0..3u64).prop_map(Event::BrowseEnd),
        1 => Just(Event::Flushed),
        1 => (0..40_000u64).prop_map(Event::Passes),
    ]
}

fn apply(talk: &mut Talk, event: Event) {
    match event {
        Event::Says(bytes) => {
            talk.input.extend_from_slice(&bytes);
            talk.receive();
        }
        Event::Receipt(receipt) => talk.receipt(receipt),
        Event::Refused(receipt) => talk.refused(receipt, Refusal::SubscriptionUnknown),
        Event::Deliver(subscription, delivery) => talk.deliver(subscription, delivery, "m"),
        Event::BrowseEnd(subscription) => talk.effect(&Effect::BrowseEnd {
            connection: ConnectionId(1),
            subscription: SubscriptionId(subscription),
        }),
        Event::Flushed => talk.session.written(&mut talk.out.commands),
        Event::Passes(ms) => talk.tick(talk.now_ms + ms),
    }
}

/// Reads what a client would.
fn frames_of(bytes: &[u8], version: Version) -> Vec<Frame> {
    let mut decoder = Decoder::new(Limits::default());
    decoder.set_version(version);
    let mut input = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut input).unwrap() {
        frames.push(frame);
    }
    assert_eq!(input, "", "half a frame was written");
    frames
}

proptest! {
    #[test]
    fn what_is_written_is_stomp_and_ends_with_the_error(
        connected in prop::option::of(prop::sample::select(VERSIONS.to_vec())),
        events in prop::collection::vec(event(), 0..40),
    ) {
        let mut talk = connected.map_or_else(Talk::fresh, Talk::connected);
        for event in events {
            let closing = talk.session.is_closing();
            let written = talk.out.write.len();
            apply(&mut talk, event);
            if closing {
                prop_assert_eq!(talk.out.write.len(), written, "said more after the end");
            }
        }
        let frames = frames_of(&talk.out.write, talk.session.version());
        let errors = frames.iter().filter(|frame| frame.verb == Verb::Error).count();
        prop_assert_eq!(errors, usize::from(talk.session.fault().is_some()));
        if errors > 0 {
            let last = frames.last().map(|frame| frame.verb);
            prop_assert_eq!(last, Some(Verb::Error));
            prop_assert!(talk.session.is_closing());
        }
        for (at, command) in talk.out.commands.iter().enumerate() {
            let connects = matches!(command, Command::Connect { .. });
            prop_assert_eq!(connects, at == 0 && connected.is_none(), "{:?}", command);
        }
    }
}
