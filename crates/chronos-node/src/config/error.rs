//! Why a command line, a variable or a file was refused.

use std::fmt;

/// One line that says what is wrong and what to do. The process exits with code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// Keeps the message on one line, whatever a user's value in it contains.
    pub(super) fn new(message: impl fmt::Display) -> Self {
        let message: String = message
            .to_string()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Self(message)
    }
}

/// A value in quotes, cut to a length that fits a line.
pub(super) fn quoted(value: &str) -> String {
    const LONGEST: usize = 80;
    if value.chars().count() <= LONGEST {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(LONGEST).collect();
    format!("{start:?}...")
}
