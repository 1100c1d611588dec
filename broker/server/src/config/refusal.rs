//! Why a configuration is refused: where, what, and the cure.

use std::fmt;

use super::origin::{Line, Origin};

/// A refused configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    place: String,
    line: Option<Line>,
    problem: String,
    cure: Option<String>,
}

impl Refusal {
    pub(super) fn new(place: String, problem: String) -> Self {
        Self {
            place,
            line: None,
            problem,
            cure: None,
        }
    }

    /// With the place from which the refused value came.
    pub(super) fn at(origin: &Origin, problem: String) -> Self {
        let line = match origin {
            Origin::File { line, .. } => Some(line.clone()),
            Origin::Default | Origin::Flag { .. } | Origin::Variable { .. } => None,
        };
        let place = match origin {
            Origin::Default => "configuration".to_owned(),
            Origin::Flag { .. } | Origin::Variable { .. } | Origin::File { .. } => {
                origin.to_string()
            }
        };
        Self {
            place,
            line,
            problem,
            cure: None,
        }
    }

    pub(super) fn cure(self, cure: &str) -> Self {
        Self {
            cure: Some(cure.to_owned()),
            ..self
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)?;
        if let Some(line) = &self.line {
            let number = line.number.to_string();
            let gutter = " ".repeat(number.len());
            write!(f, "\n  {number} | {}", line.text)?;
            if line.to <= line.text.chars().count() {
                let indent = " ".repeat(line.from);
                let marks = "^".repeat(line.to - line.from);
                write!(f, "\n  {gutter} | {indent}{marks}")?;
            }
        }
        if let Some(cure) = &self.cure {
            write!(f, "\n  cure: {cure}")?;
        }
        Ok(())
    }
}
