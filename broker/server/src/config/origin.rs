//! Where each key's value came from, so that a refusal can point at it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::keys::KEYS;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    Flag { key: &'static str },
    Variable { name: &'static str },
    File { path: PathBuf, line: Line },
}

/// A line of a file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: usize,
    /// Without its end, and without what it says if that is a secret.
    pub(crate) text: String,
    /// What to underline, in characters from the start of the line.
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Line {
    /// The first line that a span of bytes touches.
    pub(super) fn at(text: &str, span: std::ops::Range<usize>) -> Self {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor(text, span.end).clamp(start, line_end);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let from = text[line_start..start].chars().count();
        let width = text[start..end].chars().count().max(1);
        Self {
            number: text[..line_start].matches('\n').count() + 1,
            text: without_secret(line),
            from,
            to: from + width,
        }
    }

    /// What it says was left out.
    pub(super) fn is_secret(&self) -> bool {
        self.text.ends_with(LEFT_OUT)
    }
}

const LEFT_OUT: &str = "= …";

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// Secrets stay out of terminals and logs, even when they are badly written.
fn without_secret(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) if key.contains("token") || key.contains("password") => {
            format!("{key}{LEFT_OUT}")
        }
        _ => line.to_owned(),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag { key } => write!(f, "--{}", key.replace('_', "-")),
            Self::Variable { name } => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{}", path.display(), line.number),
        }
    }
}

/// The origin of every key that was set.
#[derive(Debug, Default)]
pub(crate) struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    /// From the flags and variables that clap found.
    pub(super) fn from_matches(matches: &ArgMatches) -> Self {
        let mut origins = BTreeMap::new();
        for &(key, name) in KEYS {
            match matches.value_source(key) {
                Some(ValueSource::CommandLine) => {
                    origins.insert(key, Origin::Flag { key });
                }
                Some(ValueSource::EnvVariable) => {
                    origins.insert(key, Origin::Variable { name });
                }
                _ => {}
            }
        }
        Self(origins)
    }

    /// Notes where in a file a key stands; flags and variables go before it.
    pub(super) fn note_file(&mut self, key: &'static str, path: &Path, line: Line) {
        let path = path.to_owned();
        self.0.entry(key).or_insert(Origin::File { path, line });
    }

    pub(crate) fn of(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_bytes_and_marked_by_its_characters() {
        let text = "a = 1\r\nname = \"队列\" # x\nb = 2";
        let start = text.find("\"队").unwrap();
        let line = Line::at(text, start..start + 8);
        assert_eq!((line.number, line.from, line.to), (2, 7, 11));
        assert_eq!(line.text, "name = \"队列\" # x");
        let last = Line::at(text, text.len() + 5..text.len() + 9);
        assert_eq!((last.number, last.text.as_str()), (3, "b = 2"));
        let inside_a_character = Line::at(text, start + 2..start + 3);
        assert_eq!(inside_a_character.number, 2);
    }

    #[test]
    fn a_line_with_a_secret_is_cut() {
        let line = Line::at("security_token = 12345", 17..22);
        assert_eq!(line.text, "security_token = …");
    }
}
