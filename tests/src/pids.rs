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
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did: tells it from a later process with the same pid.
    pub start: u64,
    /// What it does.
    pub kind: String,
    /// By what its starter finds it here.
    pub tag: String,
}

impl Spawned {
    /// Returns whether it is this very process that lives; one that is dead and not reaped does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.id().is_alive()
    }

    pub(crate) fn id(&self) -> ProcessId {
        ProcessId { pid: self.pid, start: self.start }
    }
}

/// The pids file of a script, one JSON object a line.
#[derive(Debug, Clone)]
pub struct Pids {
    path: PathBuf,
}

impl Pids {
    /// Names the file, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns where the file is.
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
        // One write a line: lines of parallel processes do not mix.
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(&line)
    }

    /// Reads all that is recorded so far; nothing if there is no file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or a whole line is not an entry.
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
