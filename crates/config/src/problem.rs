//! What can be wrong with a `.env`, and how it is said.

use crate::{EnvKey, MAX_FILE_BYTES, MAX_VALUE_LINES, keys::capitals};
use opencode_run_core::{ModelParameter, ModelSourceType};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// How many problems the text of an [`EnvFileError`] spells out.
const SPELT_OUT: usize = 20;

/// A file of model sources that cannot be used as it stands, with everything that is wrong with it.
#[derive(Debug)]
pub struct EnvFileError {
    problems: Vec<EnvProblem>,
}

impl EnvFileError {
    /// Makes an error of at least one problem.
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
    /// Writes a line for each problem; of more than 20 the first 20 and how many there are beyond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(SPELT_OUT).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        match self.problems.len().saturating_sub(SPELT_OUT) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

// Without a source: the text of each problem is complete.
impl std::error::Error for EnvFileError {}

/// One thing that is wrong with a file, and where. Its text is `file:line: reason` and says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub struct EnvProblem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, from 1; none where the whole file is meant.
    pub line: Option<usize>,
    /// What is wrong.
    pub kind: EnvProblemKind,
    /// What is not used because of it.
    pub left_out: LeftOut,
}

impl fmt::Display for EnvProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}{}", self.kind, self.left_out)
    }
}

impl std::error::Error for EnvProblem {}

/// What of a found file is not used because of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOut {
    /// Nothing: the line names no source that there is, or the problem is an error already.
    Nothing,
    /// The source of this type.
    Source(ModelSourceType),
    /// The whole file.
    File,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Source(source_type) => write!(f, " (the {source_type} source is left out)"),
            Self::File => f.write_str(" (the file is left out)"),
        }
    }
}

/// What is wrong with a file or a line of it.
///
/// No text holds a value of the file, except numbers that are out of range.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvProblemKind {
    /// The file is not there.
    #[error("there is no such file: check the path")]
    NotFound,
    /// A directory was named.
    #[error("it is a directory: name the file in it")]
    Directory,
    /// A found file is a pipe or a device.
    #[error("it is no regular file: name it explicitly if it is to be read")]
    NotRegular,
    /// Reading failed.
    #[error("it cannot be read ({}): check the path and its permissions", .0.kind())]
    Unreadable(io::Error),
    /// The file is too large.
    #[error("it has more than {} KiB, which no file of model sources has: check the path", MAX_FILE_BYTES / 1024)]
    TooLarge,
    /// The file is UTF-16.
    #[error("it is UTF-16 text: save it as UTF-8")]
    Utf16,
    /// A line is not UTF-8.
    #[error("the line is not UTF-8: save the file as UTF-8")]
    NotUtf8,
    /// A line holds a NUL byte.
    #[error("the line holds a NUL byte: save the file as plain text")]
    Nul,
    /// A line begins with no `KEY=`.
    #[error("the line is not KEY=VALUE: write {}=VALUE, or begin a comment with #", KeyOr("KEY", *key))]
    NotKeyValue {
        /// The key that it seems to be about.
        key: Option<EnvKey>,
    },
    /// A quote is not closed.
    #[error(
        "{} has a quote that is not closed, or only after more than {} lines: close it",
        KeyOr("the value", *key),
        MAX_VALUE_LINES
    )]
    UnclosedQuote {
        /// The key that it seems to be about.
        key: Option<EnvKey>,
    },
    /// The value cannot be read.
    #[error(
        "{} cannot be read: put a value with spaces, quotes or backslashes in single quotes",
        KeyOr("the value", *key)
    )]
    UnreadableValue {
        /// The key that it seems to be about.
        key: Option<EnvKey>,
    },
    /// A quoted value runs over a line that sets a key of ours.
    #[error("the quoted value that begins here runs over line {line}, which sets {key}: close the quote before it")]
    Swallowed {
        /// The key that is not set so.
        key: EnvKey,
        /// The line that would set it.
        line: usize,
    },
    /// A key is nearly one of ours.
    #[error("{name} is not a known key: did you mean {key}?")]
    NearKey {
        /// The key in the file.
        name: String,
        /// The key that it is near to.
        key: EnvKey,
    },
    /// A key of a known type has an unknown setting.
    #[error("{name} is no setting of the {source_type} source: the settings are {}", Settings)]
    UnknownSetting {
        /// The key in the file, cut where it might go over into a value.
        name: String,
        /// The type.
        source_type: ModelSourceType,
    },
    /// A key has a setting of ours and no type.
    #[error("{name} names no source type: did you mean {key}?")]
    NoType {
        /// The key in the file.
        name: String,
        /// The same setting of the default source.
        key: EnvKey,
    },
    /// A key has a setting of ours and an unknown type.
    #[error("{name} names no source type that there is: the types are {}", Types)]
    UnknownType {
        /// The key in the file, cut where it might go over into a value.
        name: String,
    },
    /// A key is set twice.
    #[error("{key} is set a second time: line {first} sets it already, remove one of the two")]
    Twice {
        /// The key.
        key: EnvKey,
        /// The line that sets it first.
        first: usize,
    },
    /// A value is no number.
    #[error("{key} is not a number: write one such as 0.2")]
    NotANumber {
        /// The key.
        key: EnvKey,
    },
    /// A value is no whole number.
    #[error("{key} is not a whole number: write one such as 4096, in digits alone and at most {}", u32::MAX)]
    NotWhole {
        /// The key.
        key: EnvKey,
    },
    /// A source has no model.
    #[error("the {source_type} source has no model: set MODEL_{}_MODEL", capitals(*source_type))]
    NoModel {
        /// The type.
        source_type: ModelSourceType,
    },
    /// A provider's package is set for a model that opencode knows.
    #[error("{key} is only used with a base URL: remove it, or set MODEL_{}_BASEURL", capitals(key.source_type))]
    PackageWithoutUrl {
        /// The key.
        key: EnvKey,
    },
    /// A found file names a package that opencode would download and run.
    #[error(
        "{key} is outside of @ai-sdk/, and opencode would download and run it: name the file explicitly if you trust it"
    )]
    ForeignPackage {
        /// The key.
        key: EnvKey,
    },
    /// A found file names a command.
    #[error("{key} would run a command: name the file explicitly if you trust it")]
    CommandInFoundFile {
        /// The key.
        key: EnvKey,
    },
    /// A found file names a file for its key, which would go to the address that it names as well.
    #[error("{key} would send a file to the base URL: name the file explicitly if you trust it")]
    KeyFileInFoundFile {
        /// The key.
        key: EnvKey,
    },
    /// A value would not reach the model.
    #[error("{key}: {reason}")]
    Refused {
        /// The key.
        key: EnvKey,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// A key, or other words where it is not known.
struct KeyOr(&'static str, Option<EnvKey>);

impl fmt::Display for KeyOr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(key) => key.fmt(f),
            None => f.write_str(self.0),
        }
    }
}

/// All settings, listed.
struct Settings;

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ModelParameter::ALL.map(ModelParameter::suffix).join(", "))
    }
}

/// All types, listed as they stand in keys.
struct Types;

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ModelSourceType::ALL.map(capitals).join(", "))
    }
}
