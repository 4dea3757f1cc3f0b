//! Lines of the results file, written and read.

use super::TaskResult;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The beginning of every line.
pub(super) const LINE_START: &[u8] = b"{\"v\":";

/// A line that is not a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The results file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The line is not a result.
    #[error("{}:{line}: not a result: {message}", path.display())]
    Invalid {
        /// The results file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The reason why the line is not a result.
        message: String,
    },
    /// A later version wrote the line.
    #[error("{}:{line}: version {version} of the results format is not supported", path.display())]
    Version {
        /// The results file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The version in the line.
        version: u64,
    },
}

/// Returns a result as a line.
///
/// U+0085, U+2028 and U+2029 are escaped: Python's `splitlines` treats each as the end of a line.
#[must_use]
pub fn to_line(result: &TaskResult) -> String {
    // Serialization fails only for maps whose keys are not strings, and a result has none.
    let mut line = serde_json::to_string(result).unwrap_or_default();
    if line.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        line = line.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    }
    line.push('\n');
    line
}

/// Reads the results of a file, one per attempt. An incomplete last line, which a running batch may still be writing,
/// is skipped.
///
/// # Errors
///
/// If the file cannot be read. The iterator returns an error for a line that is not a result.
pub fn read_lines(path: &Path) -> Result<impl Iterator<Item = Result<TaskResult, LineError>> + use<>, LineError> {
    let path = path.to_owned();
    let file = File::open(&path).map_err(|source| LineError::Io { path: path.clone(), source })?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Err(source) => return Some(Err(LineError::Io { path: path.clone(), source })),
                Ok(0) => return None,
                Ok(_) => number += 1,
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let parsed = serde_json::from_slice::<TaskResult>(&line);
            return match parsed {
                Ok(result) if result.v > TaskResult::VERSION => {
                    Some(Err(LineError::Version { path: path.clone(), line: number, version: result.v.into() }))
                }
                Ok(result) => Some(Ok(result)),
                Err(_) if !line.ends_with(b"\n") => None,
                Err(error) => Some(Err(invalid(&path, number, &error))),
            };
        }
    }))
}

/// Creates the error for a line that is not a result.
pub(super) fn invalid(path: &Path, line: u64, error: &serde_json::Error) -> LineError {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default().to_owned();
    LineError::Invalid { path: path.to_owned(), line, message }
}
