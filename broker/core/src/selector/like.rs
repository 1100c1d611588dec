//! LIKE: a pattern in which `%` is any run of characters and `_` any one.
//!
//! A pattern is cut at its `%` into runs. The first run stands at the beginning, the last one at
//! the end, and each between them is sought from where the one before it ended: the leftmost place
//! is as good as any, so that nothing is tried twice. A run without `_` is sought by the standard
//! library in linear time; one with it costs its length at each place, which is why it is bounded.

use crate::limits::SELECTOR_RUN_CHARACTERS_MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    first: Run,
    /// What follows each `%`; the last run stands at the end.
    rest: Box<[Run]>,
}

/// What stands between two `%`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    Text(Box<str>),
    /// `None` is any character.
    Mixed(Box<[Option<char>]>),
}

/// It has a run that is longer than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Pattern {
    /// After `escape`, a `%`, a `_` and the escape character itself stand for themselves. Before
    /// anything else the escape character does, too, as in ActiveMQ.
    pub(super) fn new(pattern: &str, escape: Option<char>) -> Result<Self, TooLong> {
        let mut runs = vec![Vec::new()];
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            let run = runs.last_mut().expect("there is always a first run");
            let is_special = |next: &char| matches!(next, '%' | '_') || Some(*next) == escape;
            if Some(character) == escape
                && let Some(literal) = characters.next_if(is_special)
            {
                run.push(Some(literal));
                continue;
            }
            match character {
                '%' => runs.push(Vec::new()),
                '_' => run.push(None),
                _ => run.push(Some(character)),
            }
        }
        let mut runs = runs.into_iter().map(Run::new);
        let first = runs.next().expect("there is always a first run")?;
        let rest = runs.collect::<Result<_, _>>()?;
        Ok(Self { first, rest })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(mut text) = self.first.after_start(text) else {
            return false;
        };
        let Some((last, between)) = self.rest.split_last() else {
            return text.is_empty();
        };
        for run in between {
            let Some(after) = run.after_leftmost(text) else {
                return false;
            };
            text = after;
        }
        last.is_end(text)
    }
}

impl Run {
    fn new(characters: Vec<Option<char>>) -> Result<Self, TooLong> {
        if let Some(text) = characters.iter().copied().collect::<Option<String>>() {
            Ok(Self::Text(text.into()))
        } else if characters.len() > SELECTOR_RUN_CHARACTERS_MAX {
            Err(TooLong)
        } else {
            Ok(Self::Mixed(characters.into()))
        }
    }

    /// What follows the run, if the text starts with it.
    fn after_start<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Text(run) => text.strip_prefix(&**run),
            Self::Mixed(run) => {
                let mut rest = text.chars();
                let fits = run.iter().all(|wanted| fits(*wanted, rest.next()));
                fits.then_some(rest.as_str())
            }
        }
    }

    /// What follows the run where the text has it first.
    fn after_leftmost<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Text(run) => text.find(&**run).map(|at| &text[at + run.len()..]),
            Self::Mixed(_) => {
                let mut places = text.char_indices();
                places.find_map(|(at, _)| self.after_start(&text[at..]))
            }
        }
    }

    fn is_end(&self, text: &str) -> bool {
        match self {
            Self::Text(run) => text.ends_with(&**run),
            Self::Mixed(run) => {
                let mut rest = text.chars().rev();
                run.iter().rev().all(|wanted| fits(*wanted, rest.next()))
            }
        }
    }
}

fn fits(wanted: Option<char>, found: Option<char>) -> bool {
    found.is_some() && (wanted.is_none() || wanted == found)
}
