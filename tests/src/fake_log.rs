//! The fake's log: one record per line, and the invocations that the records describe.

use crate::or_panic::OrPanic;
use crate::serve_script::is_route;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// An invocation began.
    Start {
        /// The fake's pid.
        pid: u32,
        /// The matching key of the script.
        command: String,
        /// The number of earlier invocations with this key.
        number: usize,
        /// The command line without the program.
        argv: Vec<String>,
        /// The working directory.
        cwd: PathBuf,
        /// The whole environment.
        env: BTreeMap<String, String>,
    },
    /// The fake read stdin to the end.
    Stdin {
        /// The fake's pid.
        pid: u32,
        /// The content, up to 1 MiB.
        text: String,
        /// The number of bytes.
        bytes: usize,
    },
    /// The fake received a request as a server.
    Request {
        /// The fake's pid.
        pid: u32,
        /// The request as received.
        request: Request,
    },
    /// The fake exits by itself.
    Exit {
        /// The fake's pid.
        pid: u32,
        /// The exit code.
        code: i32,
    },
}

/// A request to a fake that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The directory in the query.
    pub directory: Option<PathBuf>,
    /// The body; `null` if it was not JSON.
    pub body: serde_json::Value,
}

/// One start of the fake, according to its log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invocation {
    /// The fake's pid.
    pub pid: u32,
    /// The matching key of the script.
    pub command: String,
    /// The number of earlier invocations with this key.
    pub number: usize,
    /// The command line without the program.
    pub argv: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The content of stdin, if it was read to the end; up to 1 MiB.
    pub stdin: Option<String>,
    /// The size of stdin in bytes, if it was read to the end.
    pub stdin_bytes: Option<usize>,
    /// The received requests as a server, in order.
    pub requests: Vec<Request>,
    /// The exit code, if it exited by itself.
    pub exit: Option<i32>,
}

impl Invocation {
    /// Returns the requests to this route, such as `POST /session`; `*` matches any one segment.
    #[must_use]
    pub fn requests_of(&self, route: &str) -> Vec<&Request> {
        self.requests.iter().filter(|request| is_route(route, &request.method, &request.path)).collect()
    }

    /// Returns the word after this flag, or after `flag=`.
    #[must_use]
    pub fn flag(&self, flag: &str) -> Option<&str> {
        let mut words = self.argv.iter();
        while let Some(word) = words.next() {
            if word == flag {
                return words.next().map(String::as_str);
            }
            if let Some(value) = word.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
                return Some(value);
            }
        }
        None
    }
}

/// Reads the log of a fake, in the order of the invocations' starts; empty if it was never started.
///
/// # Panics
///
/// If the log cannot be read.
#[must_use]
#[track_caller]
pub fn fake_log(log: &Path) -> Vec<Invocation> {
    let text = match fs::read_to_string(log) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("failed to read {}: {error}", log.display()),
    };
    let mut invocations: Vec<Invocation> = Vec::new();
    for line in text.lines() {
        let record: Record = serde_json::from_str(line).or_panic(format_args!("read {line:?} of {}", log.display()));
        add(&mut invocations, record);
    }
    invocations
}

/// Adds a record to the last invocation of its pid: a pid may be reused.
fn add(invocations: &mut Vec<Invocation>, record: Record) {
    let last = |invocations: &mut Vec<Invocation>, wanted: u32, change: &dyn Fn(&mut Invocation)| {
        if let Some(invocation) = invocations.iter_mut().rev().find(|invocation| invocation.pid == wanted) {
            change(invocation);
        }
    };
    match record {
        Record::Start { pid, command, number, argv, cwd, env } => {
            let stdin = None;
            let stdin_bytes = None;
            let exit = None;
            let requests = Vec::new();
            invocations.push(Invocation { pid, command, number, argv, cwd, env, stdin, stdin_bytes, requests, exit });
        }
        Record::Stdin { pid, text, bytes } => last(invocations, pid, &|invocation| {
            invocation.stdin = Some(text.clone());
            invocation.stdin_bytes = Some(bytes);
        }),
        Record::Request { pid, request } => {
            last(invocations, pid, &|invocation| invocation.requests.push(request.clone()));
        }
        Record::Exit { pid, code } => last(invocations, pid, &|invocation| invocation.exit = Some(code)),
    }
}
