//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

use super::setting::Setting;

/// Where a value came from, weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing set it.
    Default,
    /// The configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// The command line.
    Flag,
}

impl Source {
    /// The setting as the user wrote it, for the beginning of an error.
    pub(super) fn label(&self, setting: &Setting) -> String {
        match self {
            Self::Default | Self::Flag => format!("-{}", setting.name),
            Self::File { path, line } => {
                format!("{}:{line}: {}", path.display(), setting.path())
            }
            Self::Variable(name) => name.clone(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "file {}, line {line}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}
