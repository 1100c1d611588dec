//! The values that keys may have, each with one way to read and one to write it,
//! the same for a flag, a variable and a file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads a value from TOML through `FromStr`, so that a file accepts what a flag does.
/// With `or number`, a bare integer is read like its digits.
macro_rules! reads_like_a_flag {
    (@visit $type:ty, $expecting:literal, { $($number:tt)* }) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    $($number)*
                }
                deserializer.deserialize_any(Text)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
    ($type:ty, $expecting:literal) => {
        reads_like_a_flag!(@visit $type, $expecting, {});
    };
    ($type:ty, $expecting:literal or number) => {
        reads_like_a_flag!(@visit $type, $expecting, {
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                number.to_string().parse().map_err(E::custom)
            }
        });
    };
}
pub(crate) use reads_like_a_flag;

/// A length of time: `50ms`, `2s`, `1m`, or `0`. A bare number could be meant as either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interval(pub(crate) Duration);

impl Interval {
    pub(crate) const fn from_ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    pub(crate) fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{text}` is not a length of time: write for example \"500ms\", \"2s\", \"1m\" or \"7d\""
            )
        };
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| refused())?;
        let unit_ms = match text[digits..].trim() {
            "" if number > 0 => {
                return Err(format!(
                    "`{text}` lacks its unit: write \"{text}s\" or \"{text}ms\""
                ));
            }
            "" | "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refused()),
        };
        let ms = number.checked_mul(unit_ms).ok_or_else(refused)?;
        Ok(Self::from_ms(ms))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_ms() {
            ms if ms >= 86_400_000 && ms % 86_400_000 == 0 => write!(f, "{}d", ms / 86_400_000),
            ms if ms >= 3_600_000 && ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms >= 60_000 && ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms >= 1_000 && ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

reads_like_a_flag!(Interval, "a length of time such as \"500ms\" or \"2s\"" or number);

/// A number of bytes: `64MiB`, `100k`, or a bare number. `k`, `M` and `G` are powers of 1024, as in ActiveMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{text}` is not a number of bytes: write for example 65536, \"64KiB\" or \"1GiB\""
            )
        };
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| refused())?;
        let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            _ => return Err(refused()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in UNITS {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

reads_like_a_flag!(Bytes, "a number of bytes such as 65536 or \"64KiB\"" or number);

/// How far a write must have come on one side before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durability {
    /// It is not waited for.
    None,
    /// In the memory of the node (its log file, not yet synced).
    Mem,
    /// Synced to the disk.
    Disk,
}

/// When a send is safe: on the master itself, and on enough replicas to make a quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SyncMode {
    pub(crate) local: Durability,
    pub(crate) remote: Durability,
}

const SYNC_MODES: [(&str, Durability, Durability); 6] = [
    ("quorum_disk", Durability::Disk, Durability::Disk),
    ("quorum_mem", Durability::Mem, Durability::Mem),
    ("local_disk", Durability::Disk, Durability::None),
    ("local_mem", Durability::Mem, Durability::None),
    ("remote_disk", Durability::None, Durability::Disk),
    ("remote_mem", Durability::None, Durability::Mem),
];

/// No guess at what was meant: it decides what a power cut takes.
const SYNC_WORDS: &str = "quorum_disk (on the disks of a quorum: safe), quorum_mem (in the memory of a quorum: what several nodes lose together is lost), or a combination of local_disk, local_mem, remote_disk and remote_mem";

impl SyncMode {
    pub(crate) const QUORUM_DISK: Self = Self {
        local: Durability::Disk,
        remote: Durability::Disk,
    };
}

impl FromStr for SyncMode {
    type Err = String;

    /// Comma-separated as in the original; the strongest on each side wins.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut mode = Self {
            local: Durability::None,
            remote: Durability::None,
        };
        for part in text.split(',').map(str::trim) {
            let Some((_, local, remote)) = SYNC_MODES.iter().find(|(name, ..)| *name == part)
            else {
                return Err(format!("`{part}` is not a sync mode: use {SYNC_WORDS}"));
            };
            mode.local = mode.local.max(*local);
            mode.remote = mode.remote.max(*remote);
        }
        Ok(mode)
    }
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SYNC_MODES
            .iter()
            .find(|(_, local, remote)| (*local, *remote) == (self.local, self.remote));
        if let Some((name, ..)) = whole {
            return f.write_str(name);
        }
        let side = |durability| match durability {
            Durability::Disk => "disk",
            Durability::Mem | Durability::None => "mem",
        };
        write!(f, "local_{},remote_{}", side(self.local), side(self.remote))
    }
}

reads_like_a_flag!(SyncMode, "a sync mode such as \"quorum_disk\"");

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("`{other}` is not a log format: use text or json")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

reads_like_a_flag!(LogFormat, "\"text\" or \"json\"");

/// Something that must not be printed: shown as `***` wherever it is formatted.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The secret itself, for the one who checks it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a secret must not be empty: give one, or leave the key out".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err(
                "a secret must not contain control characters such as line ends".to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

reads_like_a_flag!(Secret, "a secret in quotes");

/// The name that was most likely meant, if one is near: at most a third of its letters differ.
pub(crate) fn closest<'n>(written: &str, names: &[&'n str]) -> Option<&'n str> {
    names
        .iter()
        .map(|name| (distance(written, name), *name))
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance: insertions, deletions and replacements.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_with_their_unit() {
        for (text, ms) in [
            ("2s", 2_000),
            ("500ms", 500),
            ("0", 0),
            ("1m", 60_000),
            ("2 s", 2_000),
        ] {
            assert_eq!(text.parse::<Interval>().unwrap().as_ms(), ms, "{text}");
        }
        for text in [
            "",
            "s",
            "2 days",
            "-1s",
            "99999999999999999999s",
            "99999999999999999h",
        ] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
        assert_eq!(
            "2".parse::<Interval>().unwrap_err(),
            "`2` lacks its unit: write \"2s\" or \"2ms\""
        );
        assert_eq!(
            "soon".parse::<Interval>().unwrap_err(),
            "`soon` is not a length of time: write for example \"500ms\", \"2s\", \"1m\" or \"7d\""
        );
    }

    #[test]
    fn what_is_shown_is_read_back_as_the_same() {
        for ms in [1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000] {
            let interval = Interval::from_ms(ms);
            assert_eq!(interval.to_string().parse(), Ok(interval));
        }
        for bytes in [0, 1, 1023, 1024, 1 << 20, 3 << 30, (1 << 20) + 1] {
            assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
        }
        for local in [Durability::None, Durability::Mem, Durability::Disk] {
            for remote in [Durability::Mem, Durability::Disk] {
                let mode = SyncMode { local, remote };
                assert_eq!(mode.to_string().parse(), Ok(mode));
            }
        }
    }

    #[test]
    fn the_strongest_sync_mode_of_each_side_wins() {
        let mode: SyncMode = "local_mem, remote_disk,quorum_mem".parse().unwrap();
        assert_eq!(mode.local, Durability::Mem);
        assert_eq!(mode.remote, Durability::Disk);
        assert_eq!("quorum_disk".parse(), Ok(SyncMode::QUORUM_DISK));
        for text in ["quorum", "quorum_disc", ""] {
            let refused = text.parse::<SyncMode>().unwrap_err();
            assert!(refused.starts_with(&format!("`{text}` is not a sync mode")));
            assert!(refused.contains("quorum_disk (on the disks of a quorum"));
            assert!(refused.contains("quorum_mem (in the memory of a quorum"));
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret: Secret = "hunter2".parse().unwrap();
        assert_eq!(format!("{secret} {secret:?}"), "*** Secret(***)");
        assert_eq!(secret.reveal(), "hunter2");
        assert!("two\nlines".parse::<Secret>().is_err());
        assert!("".parse::<Secret>().is_err());
    }

    #[test]
    fn the_closest_name_is_found_if_it_is_near() {
        let names = ["weight", "replicas", "zk_address"];
        assert_eq!(closest("wieght", &names), Some("weight"));
        assert_eq!(closest("zkAddress", &names), Some("zk_address"));
        assert_eq!(closest("colour", &names), None);
    }
}
