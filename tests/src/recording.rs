//! Recordings of the real opencode: one directory each, with the input and the output.

use crate::script::SignalName;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Returns the directory of all recordings, `crates/process/recordings/run` of the sources.
#[must_use]
pub fn recordings_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/process/recordings/run")
}

/// A recorded run of the real opencode.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recording {
    /// How it was recorded and how it ended; the file `about.json`.
    pub about: About,
    /// The lines of stdout without their newlines; the file `stdout.jsonl`.
    pub stdout: Vec<String>,
    /// All of stderr; the file `stderr.txt`.
    pub stderr: String,
}

/// The settings of a recording, and its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The version of opencode.
    pub version: String,
    /// The command line without the program.
    pub argv: Vec<String>,
    /// The content of stdin.
    pub stdin: String,
    /// How the process ended.
    pub end: End,
    /// The duration in milliseconds.
    pub duration_ms: u64,
    /// The time limit in seconds after which the process was killed, if it was.
    #[serde(default)]
    pub killed_after_s: Option<u64>,
    /// The number of requests to the model, including those of an earlier turn.
    pub model_requests: usize,
    /// A note for readers.
    #[serde(default)]
    pub note: Option<String>,
    /// The additional configuration.
    #[serde(default)]
    pub config: serde_json::Value,
    /// The signal that was sent, and the seconds after the first line.
    #[serde(default)]
    pub signal: Option<(SignalName, u64)>,
    /// The rules of the scripted model.
    pub rules: serde_json::Value,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The process exited with this code.
    Code(i32),
    /// The process was ended by this signal.
    Signal(SignalName),
}

impl Recording {
    /// Reads a recording from its directory.
    ///
    /// # Errors
    ///
    /// If a file is missing or invalid.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let about = serde_json::from_str(&fs::read_to_string(dir.join("about.json"))?)?;
        let stdout = fs::read_to_string(dir.join("stdout.jsonl"))?.lines().map(str::to_owned).collect();
        let stderr = fs::read_to_string(dir.join("stderr.txt"))?;
        Ok(Self { about, stdout, stderr })
    }

    /// Reads the recording with this name, such as `1.18.33/plain-text`.
    ///
    /// # Errors
    ///
    /// As [`Recording::read`].
    pub fn named(name: &str) -> io::Result<Self> {
        Self::read(&recordings_dir().join(name))
    }

    /// Returns the session id of the first event that has one.
    #[must_use]
    pub fn session_id(&self) -> Option<String> {
        self.stdout.iter().find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(event.get("sessionID")?.as_str()?.to_owned())
        })
    }

    /// Returns the names of all recordings, such as `1.18.33/plain-text`, in order.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn names() -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for version in fs::read_dir(recordings_dir())? {
            let version = version?;
            if !version.file_type()?.is_dir() {
                continue;
            }
            for recording in fs::read_dir(version.path())? {
                let recording = recording?.path();
                if recording.join("about.json").is_file() {
                    let parts = [version.path(), recording].map(|path| path.file_name().map(ToOwned::to_owned));
                    names.extend(parts.into_iter().flatten().reduce(|mut all, part| {
                        all.push("/");
                        all.push(part);
                        all
                    }));
                }
            }
        }
        let mut names: Vec<String> = names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }
}
