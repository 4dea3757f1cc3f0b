//! The problems of a `.env` file and their messages.

use crate::{EnvKey, MAX_FILE_BYTES, MAX_VALUE_LINES, keys::capitals};
use opencode_run_core::{ModelParameter, ModelSourceType};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The maximum number of problems that the text of an [`EnvFileError`] lists.
const MAX_LISTED: usize = 20;

/// A file of model sources that is invalid, with all of its problems.
#[derive(Debug)]
pub struct EnvFileError {
    problems: Vec<EnvProblem>,
}

impl EnvFileError {
    /// Creates an error from at least one problem.
    pub(crate) fn new(problems: Vec<EnvProblem>) -> Self {
        Self { problems }
    }

    /// Returns all problems, by line.
    #[must_use]
    pub fn problems(&self) -> &[EnvProblem] {
        &self.problems
    }
}

impl fmt::Display for EnvFileError {
    /// Writes one line per problem, at most 20, and then the number of further ones.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(MAX_LISTED).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        match self.problems.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

// No source: the text of each problem is complete.
impl std::error::Error for EnvFileError {}

/// One problem of a file. Its text is `file:line: reason`, including the solution.
#[derive(Debug)]
#[non_exhaustive]
pub struct EnvProblem {
    /// The path of the file as given.
    pub file: PathBuf,
    /// The line, from 1; `None` for the whole file.
    pub line: Option<usize>,
    /// The kind of the problem.
    pub kind: EnvProblemKind,
    /// The part of the file that is ignored because of the problem.
    pub ignored: Ignored,
}

impl fmt::Display for EnvProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}{}", self.kind, self.ignored)
    }
}

impl std::error::Error for EnvProblem {}

/// The part of an auto-discovered file that is ignored because of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// Nothing: the line belongs to no existing source, or the problem is already an error.
    Nothing,
    /// The source of this type.
    Source(ModelSourceType),
    /// The whole file.
    File,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Source(source_type) => write!(f, " (the {source_type} source is ignored)"),
            Self::File => f.write_str(" (the file is ignored)"),
        }
    }
}

/// The kinds of problems of a file or a line.
///
/// No message contains a value of the file, except numbers that are out of range.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvProblemKind {
    /// The file does not exist.
    #[error("there is no such file: check the path")]
    NotFound,
    /// A directory was named.
    #[error("it is a directory: name the file in it")]
    Directory,
    /// An auto-discovered file is a pipe or a device.
    #[error("it is not a regular file: name it explicitly to read it")]
    NotRegular,
    /// Reading failed.
    #[error("it cannot be read ({}): check the path and its permissions", .0.kind())]
    Unreadable(io::Error),
    /// The file is too large.
    #[error("it is larger than {} KiB, the limit for a file of model sources: check the path", MAX_FILE_BYTES / 1024)]
    TooLarge,
    /// The file is UTF-16.
    #[error("it is UTF-16 text: save it as UTF-8")]
    Utf16,
    /// A line is not UTF-8.
    #[error("the line is not UTF-8: save the file as UTF-8")]
    NotUtf8,
    /// A line contains a NUL byte.
    #[error("the line contains a NUL byte: save the file as plain text")]
    Nul,
    /// A line does not begin with `KEY=`.
    #[error("the line is not KEY=VALUE: write {}=VALUE, or begin a comment with #", KeyOr("KEY", *key))]
    NotKeyValue {
        /// The key that the line seems to set.
        key: Option<EnvKey>,
    },
    /// A quote is not closed.
    #[error(
        "{} has a quote that is not closed within {} lines: close it",
        KeyOr("the value", *key),
        MAX_VALUE_LINES
    )]
    UnclosedQuote {
        /// The key that the line seems to set.
        key: Option<EnvKey>,
    },
    /// The value cannot be read.
    #[error(
        "{} cannot be read: put a value with spaces, quotes or backslashes in single quotes",
        KeyOr("the value", *key)
    )]
    UnreadableValue {
        /// The key that the line seems to set.
        key: Option<EnvKey>,
    },
    /// A quoted value spans a line that sets a key of ours.
    #[error("the quoted value that begins here includes line {line}, which sets {key}: close the quote before it")]
    Swallowed {
        /// The key that is not set, because the quoted value contains its line.
        key: EnvKey,
        /// The line that would set the key.
        line: usize,
    },
    /// A key is probably a misspelling of one of ours.
    #[error("{name} is not a known key: did you mean {key}?")]
    NearKey {
        /// The key in the file.
        name: String,
        /// The similar key.
        key: EnvKey,
    },
    /// A key of a known type has an unknown setting.
    #[error("{name} is not a setting of the {source_type} source: the settings are {}", Settings)]
    UnknownSetting {
        /// The key in the file, truncated before anything that may be a value.
        name: String,
        /// The type in the key.
        source_type: ModelSourceType,
    },
    /// A key has a setting of ours but no type.
    #[error("{name} names no source type: did you mean {key}?")]
    NoType {
        /// The key in the file.
        name: String,
        /// The same setting of the default source.
        key: EnvKey,
    },
    /// A key has a setting of ours but an unknown type.
    #[error("{name} names an unknown source type: the types are {}", Types)]
    UnknownType {
        /// The key in the file, truncated before anything that may be a value.
        name: String,
    },
    /// A key is set twice.
    #[error("{key} is set twice: line {first} already sets it; remove one of the two")]
    Duplicate {
        /// The key that is set twice.
        key: EnvKey,
        /// The line that first sets the key.
        first: usize,
    },
    /// A value is not a number.
    #[error("{key} is not a number: write one such as 0.2")]
    NotANumber {
        /// The key of the value.
        key: EnvKey,
    },
    /// A value is not a whole number.
    #[error("{key} is not a whole number: write one such as 4096, only digits, at most {}", u32::MAX)]
    NotWhole {
        /// The key of the value.
        key: EnvKey,
    },
    /// A source has no model.
    #[error("the {source_type} source has no model: set MODEL_{}_MODEL", capitals(*source_type))]
    NoModel {
        /// The type of the source.
        source_type: ModelSourceType,
    },
    /// A provider package is set for a model that opencode knows.
    #[error("{key} is only used with a base URL: remove it, or set MODEL_{}_BASEURL", capitals(key.source_type))]
    PackageWithoutUrl {
        /// The key that sets the package.
        key: EnvKey,
    },
    /// An auto-discovered file names a package that opencode would download and run.
    #[error(
        "{key} is outside @ai-sdk/, and opencode would download and run it: name the file explicitly if you trust it"
    )]
    ForeignPackage {
        /// The key that sets the package.
        key: EnvKey,
    },
    /// An auto-discovered file names a command.
    #[error("{key} would run a command: name the file explicitly if you trust it")]
    CommandInFoundFile {
        /// The key that sets the command.
        key: EnvKey,
    },
    /// An auto-discovered file names a key file, whose content would be sent to the file's base URL.
    #[error("{key} would send a file to the base URL: name the file explicitly if you trust it")]
    KeyFileInFoundFile {
        /// The key that sets the file.
        key: EnvKey,
    },
    /// A value is invalid for the model.
    #[error("{key}: {reason}")]
    Invalid {
        /// The key of the value.
        key: EnvKey,
        /// The problem and its solution.
        reason: String,
    },
}

/// Displays a key, or other words if the key is unknown.
struct KeyOr(&'static str, Option<EnvKey>);

impl fmt::Display for KeyOr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(key) => key.fmt(f),
            None => f.write_str(self.0),
        }
    }
}

/// The list of all settings.
struct Settings;

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ModelParameter::ALL.map(ModelParameter::suffix).join(", "))
    }
}

/// The list of all types, as spelt in keys.
struct Types;

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ModelSourceType::ALL.map(capitals).join(", "))
    }
}
