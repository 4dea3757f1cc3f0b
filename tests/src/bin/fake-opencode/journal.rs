//! The fake's log, for the test to read.

use opencode_run_tests::fake_log::{Record, Request};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The maximum number of bytes of stdin that are logged.
const STDIN_KEPT: usize = 1024 * 1024;

/// The log file, to which every invocation appends.
pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Logs the start of an invocation.
    pub(crate) fn begin(log: &Path, command: &str, number: usize, argv: &[String], cwd: &Path) -> io::Result<Self> {
        let journal = Self { file: OpenOptions::new().create(true).append(true).open(log)? };
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let env: BTreeMap<String, String> =
            std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
        journal.append(&Record::Start {
            pid: std::process::id(),
            command: command.to_owned(),
            number,
            argv: argv.to_vec(),
            cwd: cwd.to_path_buf(),
            env,
        })?;
        Ok(journal)
    }

    /// Logs the content of stdin.
    pub(crate) fn stdin(&self, bytes: &[u8]) -> io::Result<()> {
        let kept = &bytes[..bytes.len().min(STDIN_KEPT)];
        let text = String::from_utf8_lossy(kept).into_owned();
        self.append(&Record::Stdin { pid: std::process::id(), text, bytes: bytes.len() })
    }

    /// Logs a request.
    pub(crate) fn request(&self, request: Request) -> io::Result<()> {
        self.append(&Record::Request { pid: std::process::id(), request })
    }

    /// Logs the exit.
    pub(crate) fn exit(&self, code: i32) -> io::Result<()> {
        self.append(&Record::Exit { pid: std::process::id(), code })
    }

    /// Appends with one write per line, so that lines of parallel invocations do not mix.
    fn append(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        (&self.file).write_all(&line)
    }
}
