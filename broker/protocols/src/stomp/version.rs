//! The versions of the protocol, and the choice of one.

use std::fmt;

/// A version of STOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// No escaping, no heart-beats, no `NACK`.
    #[default]
    V1_0,
    /// Escapes `\n`, `\c` and `\\`.
    V1_1,
    /// Escapes `\r`, too; acknowledges by the `ack` header.
    V1_2,
}

impl Version {
    /// Every version, as the `version` header of an ERROR lists them.
    pub const ALL: &'static str = "1.0,1.1,1.2";

    /// As headers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The version that a header names.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "1.0" => Some(Self::V1_0),
            "1.1" => Some(Self::V1_1),
            "1.2" => Some(Self::V1_2),
            _ => None,
        }
    }

    /// The highest version that both ends speak. A client that does not send
    /// `accept-version` speaks 1.0.
    pub fn negotiate(accept: Option<&str>) -> Option<Self> {
        match accept {
            None => Some(Self::V1_0),
            Some(list) => list.split(',').filter_map(Self::parse).max(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins() {
        for (accept, expected) in [
            (None, Some(Version::V1_0)),
            (Some("1.0"), Some(Version::V1_0)),
            (Some("1.0,1.1"), Some(Version::V1_1)),
            (Some("1.2,1.0"), Some(Version::V1_2)),
            (Some(" 1.1 , 2.0 "), Some(Version::V1_1)),
            (Some("2.0,3"), None),
            (Some(""), None),
        ] {
            assert_eq!(Version::negotiate(accept), expected, "{accept:?}");
        }
    }
}
