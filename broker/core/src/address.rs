//! A destination as clients write it, parsed once into kind and name.

use std::fmt;

use crate::effect::Refusal;

/// Whether consumers compete for messages or each get their own copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DestinationKind {
    /// Each message goes to one consumer.
    Queue,
    /// Each message goes to every subscription.
    Topic,
}

impl DestinationKind {
    /// The word that operators see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Topic => "topic",
        }
    }
}

/// Kind and name of a destination. `/queue/x`, `queue://x` and `x` are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address<'a> {
    /// Queue or topic.
    pub kind: DestinationKind,
    /// The name without its prefix: not empty, without control characters, and
    /// neither a wildcard nor a list.
    pub name: &'a str,
}

const PREFIXES: [(&str, DestinationKind); 4] = [
    ("/queue/", DestinationKind::Queue),
    ("/topic/", DestinationKind::Topic),
    ("queue://", DestinationKind::Queue),
    ("topic://", DestinationKind::Topic),
];

impl<'a> Address<'a> {
    /// Parses an address; its name may have up to `name_bytes_max` bytes.
    pub fn parse(text: &'a str, name_bytes_max: usize) -> Result<Self, Refusal> {
        let known = PREFIXES
            .iter()
            .find_map(|(prefix, kind)| text.strip_prefix(prefix).map(|name| (*kind, name)));
        let (kind, name) = match known {
            Some(parsed) => parsed,
            None if text.starts_with('/') => {
                return Err(invalid(
                    text,
                    "it starts with / but not with a known prefix",
                ));
            }
            None if text.contains("://") => {
                return Err(invalid(text, "it has an unknown scheme before ://"));
            }
            None => (DestinationKind::Queue, text),
        };
        if name.is_empty() {
            return Err(invalid(text, "its name is empty"));
        }
        if name.len() > name_bytes_max {
            return Err(Refusal::LimitReached {
                what: "the length of a destination's name",
                limit: name_bytes_max as u64,
                cure: "choose a shorter name",
            });
        }
        if name.chars().any(char::is_control) {
            return Err(invalid(text, "its name has a control character"));
        }
        // Taken as names, they would never get what their senders mean by them.
        if name.contains(',') {
            return Err(invalid(
                text,
                "composite destinations are not there yet: a comma does not join several, send or subscribe to one destination at a time",
            ));
        }
        if name.split(['.', '/']).any(|part| WILDCARDS.contains(&part)) {
            return Err(invalid(
                text,
                "wildcards are not there yet: subscribe to each destination by its name",
            ));
        }
        Ok(Self { kind, name })
    }
}

/// What stands for any part of a name in ActiveMQ, RabbitMQ and MQTT.
const WILDCARDS: [&str; 3] = ["*", ">", "#"];

impl fmt::Display for Address<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}/{}", self.kind.as_str(), self.name)
    }
}

fn invalid(text: &str, reason: &'static str) -> Refusal {
    Refusal::InvalidDestination {
        address: shortened(text),
        reason,
    }
}

/// A refusal quotes the address; a client's megabyte is not quoted back.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<(DestinationKind, &str), Refusal> {
        Address::parse(text, 10).map(|address| (address.kind, address.name))
    }

    #[test]
    fn each_spelling_is_known() {
        assert_eq!(parsed("/queue/a"), Ok((DestinationKind::Queue, "a")));
        assert_eq!(parsed("queue://a"), Ok((DestinationKind::Queue, "a")));
        assert_eq!(parsed("a.b"), Ok((DestinationKind::Queue, "a.b")));
        assert_eq!(parsed("/topic/a"), Ok((DestinationKind::Topic, "a")));
        assert_eq!(parsed("topic://a/b"), Ok((DestinationKind::Topic, "a/b")));
    }

    #[test]
    fn what_cannot_be_a_destination_is_refused() {
        for text in ["", "/queue/", "/dsub/x", "http://x", "a\u{7}b", "topic://"] {
            assert!(
                matches!(parsed(text), Err(Refusal::InvalidDestination { .. })),
                "{text:?}"
            );
        }
        assert!(parsed("0123456789").is_ok());
        assert!(matches!(
            parsed("0123456789a"),
            Err(Refusal::LimitReached { limit: 10, .. })
        ));
    }

    #[test]
    fn several_destinations_at_once_are_refused_in_words() {
        for (text, words) in [
            ("/topic/a.>", "wildcard"),
            ("/topic/>", "wildcard"),
            ("*", "wildcard"),
            ("/queue/*.a", "wildcard"),
            ("a.*.b", "wildcard"),
            ("/topic/a/*", "wildcard"),
            ("/topic/a.#", "wildcard"),
            ("/queue/a,/queue/b", "composite"),
            ("a,b", "composite"),
        ] {
            let refusal = Address::parse(text, 100).unwrap_err().to_string();
            assert!(refusal.contains(words), "{refusal}");
        }
        for text in ["a*b", "a>", "c#", "a.b>.c", "/topic/2*3"] {
            assert!(Address::parse(text, 100).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,40}") {
            if let Ok(address) = Address::parse(&text, 1024) {
                let written = address.to_string();
                prop_assert_eq!(Address::parse(&written, 1024), Ok(address));
            }
        }
    }
}
