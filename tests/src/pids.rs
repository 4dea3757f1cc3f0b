//! The file in which spawned processes record themselves.

use crate::process_table::ProcessId;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A process that the fake spawned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spawned {
    /// The process id.
    pub pid: i32,
    /// The start time in clock ticks since boot, which distinguishes the process from a later one with the same pid.
    pub start: u64,
    /// The purpose of the process.
    pub kind: String,
    /// A tag by which the starter finds the process here.
    pub tag: String,
}

impl Spawned {
    /// Returns whether this very process is alive; a zombie is not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.id().is_alive()
    }

    pub(crate) fn id(&self) -> ProcessId {
        ProcessId { pid: self.pid, start: self.start }
    }
}

/// The pids file of a script, with one JSON object per line.
#[derive(Debug, Clone)]
pub struct Pids {
    path: PathBuf,
}

impl Pids {
    /// Returns the file at a path, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends this process.
    ///
    /// # Errors
    ///
    /// If the file cannot be written or the process table cannot be read.
    pub fn record(&self, kind: &str, tag: &str) -> io::Result<()> {
        let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let own = ProcessId::of_living(pid).ok_or_else(|| io::Error::other("this process is not in /proc"))?;
        let spawned = Spawned { pid, start: own.start, kind: kind.to_owned(), tag: tag.to_owned() };
        let mut line = serde_json::to_vec(&spawned)?;
        line.push(b'\n');
        // One write per line, so that lines of parallel processes do not mix.
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(&line)
    }

    /// Reads all records so far; empty if the file does not exist.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or a complete line is not a record.
    pub fn read(&self) -> io::Result<Vec<Spawned>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
    }
}
