//! Recordings of the real server, of both generations: one file each, with all requests, responses and events in order.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Returns the directory of all recordings of servers, `crates/process/recordings/serve` of the sources.
#[must_use]
pub fn serve_recordings_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/process/recordings/serve")
}

/// A recorded run of a real server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeRecording {
    /// How it was recorded.
    pub about: serde_json::Value,
    /// The recorded entries.
    pub entries: Vec<Entry>,
}

/// One recorded entry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Entry {
    /// The server wrote a line to stdout.
    Stdout(String),
    /// The server wrote a line to stderr.
    Stderr(String),
    /// A client sent a request.
    Request(Request),
    /// The server sent a response.
    Response(Response),
    /// The stream contained an event; the text after `data:`.
    Event(String),
}

/// A recorded request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The number of the request.
    pub n: u64,
    /// The HTTP method.
    pub method: String,
    /// The path, without a query.
    pub path: String,
    /// The body; `null` if it was absent.
    #[serde(default)]
    pub body: serde_json::Value,
}

/// A recorded response.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The request's number.
    pub n: u64,
    /// The HTTP status.
    pub status: u16,
    /// The content type of the body. Recordings of opencode 2 contain only JSON, and do not name it.
    #[serde(default = "json")]
    pub content_type: String,
    /// The body: JSON as received, anything else as a string.
    pub body: Box<RawValue>,
}

impl Response {
    /// Returns the body as received.
    #[must_use]
    pub fn text(&self) -> String {
        if self.content_type != "application/json"
            && let Ok(text) = serde_json::from_str::<String>(self.body.get())
        {
            return text;
        }
        self.body.get().to_owned()
    }
}

fn json() -> String {
    "application/json".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    about: Option<serde_json::Value>,
    #[serde(default, rename = "at_ms")]
    _at_ms: u64,
    #[serde(default)]
    stdout: Option<String>,
    #[serde(default)]
    stderr: Option<String>,
    #[serde(default)]
    request: Option<Request>,
    #[serde(default)]
    response: Option<Response>,
    #[serde(default)]
    event: Option<Box<RawValue>>,
}

impl ServeRecording {
    /// Reads a recording from its file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not a recording.
    pub fn read(file: &Path) -> io::Result<Self> {
        let mut recording = Self { about: serde_json::Value::Null, entries: Vec::new() };
        for line in fs::read_to_string(file)?.lines() {
            let line: Line = serde_json::from_str(line)?;
            recording.about = line.about.unwrap_or(recording.about);
            let told = [
                line.stdout.map(Entry::Stdout),
                line.stderr.map(Entry::Stderr),
                line.request.map(Entry::Request),
                line.response.map(Entry::Response),
                line.event.map(|event| Entry::Event(event.get().to_owned())),
            ];
            recording.entries.extend(told.into_iter().flatten());
        }
        Ok(recording)
    }

    /// Reads the recording with this name, such as `1.18.33/plain-text`, or `v2/plain-text` of opencode 2.
    ///
    /// # Errors
    ///
    /// As [`ServeRecording::read`].
    pub fn named(name: &str) -> io::Result<Self> {
        let directory =
            if name.starts_with("v2/") { serve_recordings_dir().join("..") } else { serve_recordings_dir() };
        Self::read(&directory.join(format!("{name}.jsonl")))
    }

    /// Returns the names of all recordings, such as `1.18.33/plain-text`, in order.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn names() -> io::Result<Vec<String>> {
        let root = serve_recordings_dir();
        let mut names = Vec::new();
        for version in fs::read_dir(&root)? {
            for file in fs::read_dir(version?.path())? {
                let path = file?.path().with_extension("");
                names.extend(path.strip_prefix(&root).ok().map(|name| name.to_string_lossy().into_owned()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Returns the n-th turn, from 0: the entries from its message to the next message. Entries since the creation of
    /// the session belong to the first turn.
    #[must_use]
    pub fn turn(&self, n: usize) -> Option<Turn<'_>> {
        let messages: Vec<(usize, &Request)> = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| match entry {
                Entry::Request(request) if request.is_message() => Some((at, request)),
                _ => None,
            })
            .collect();
        let &(at, message) = messages.get(n)?;
        let end = messages.get(n + 1).map_or(self.entries.len(), |(next, _)| *next);
        let begin = if n == 0 { 0 } else { at };
        Some(Turn { message, entries: &self.entries[begin..end], recording: self })
    }
}

impl Request {
    /// Returns whether this request sends a message to the agent.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.method == "POST" && (self.path.ends_with("/message") || self.path.ends_with("/prompt"))
    }
}

/// One turn of a recording.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Turn<'a> {
    /// The message that started it.
    pub message: &'a Request,
    /// Its entries.
    pub entries: &'a [Entry],
    recording: &'a ServeRecording,
}

impl Turn<'_> {
    /// Returns the session's id.
    #[must_use]
    pub fn session(&self) -> &str {
        self.message.path.split('/').find(|part| part.starts_with("ses_")).unwrap_or_default()
    }

    /// Returns the id of the client's message.
    #[must_use]
    pub fn message_id(&self) -> &str {
        let body = &self.message.body;
        body["messageID"].as_str().or_else(|| body["id"].as_str()).unwrap_or_default()
    }

    /// Returns the answer to the message.
    #[must_use]
    pub fn answer(&self) -> Option<&Response> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Response(response) if response.n == self.message.n => Some(response),
            _ => None,
        })
    }

    /// Returns the session's final messages as JSON; an empty list if no client requested them.
    #[must_use]
    pub fn messages(&self) -> String {
        let lists = |entry: &Entry| matches!(entry, Entry::Request(request) if request.method == "GET" && request.path == self.message.path);
        let asked = self.recording.entries.iter().rev().find_map(|entry| match entry {
            Entry::Request(request) if lists(entry) => Some(request.n),
            _ => None,
        });
        let answered = self.recording.entries.iter().find_map(|entry| match entry {
            Entry::Response(response) if Some(response.n) == asked && response.status == 200 => Some(response.text()),
            _ => None,
        });
        answered.unwrap_or_else(|| "[]".to_owned())
    }
}
