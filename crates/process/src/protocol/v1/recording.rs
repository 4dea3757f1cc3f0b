//! The first turn of each recording of a real server.

use crate::json_text::parse_repaired;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The turn of a recording.
pub(super) struct Recording {
    /// The version and the situation.
    pub(super) name: String,
    pub(super) about: Value,
    pub(super) session: String,
    pub(super) prompt: String,
    pub(super) steps: Vec<Step>,
    /// The data of each event.
    pub(super) events: Vec<String>,
    /// The answer to the message and its HTTP status, and the session's messages afterwards.
    pub(super) status: u16,
    pub(super) answer: String,
    pub(super) messages: String,
}

/// An event, a request or an answer of a recording.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Event(String),
    Interrupt,
    Answer,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// All recordings whose message was answered in any way.
pub(super) static RECORDINGS: LazyLock<Vec<Recording>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/serve");
    let entries = |path: &Path| -> Vec<PathBuf> {
        let mut entries: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries
    };
    let files: Vec<PathBuf> = entries(&root).iter().flat_map(|version| entries(version)).collect();
    files.iter().filter_map(|file| recording(&root, file)).collect()
});

fn recording(root: &Path, file: &Path) -> Option<Recording> {
    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(default)]
        about: Value,
        #[serde(borrow, default)]
        event: Option<&'a RawValue>,
        #[serde(default)]
        request: Option<Value>,
        #[serde(borrow, default)]
        response: Option<Response<'a>>,
    }
    #[derive(Deserialize)]
    struct Response<'a> {
        n: u64,
        status: u16,
        #[serde(borrow)]
        body: &'a RawValue,
    }
    let text = std::fs::read_to_string(file).unwrap();
    let entries: Vec<Entry<'_>> = text.lines().map(|line| parse_repaired(line).unwrap()).collect();
    let requests: Vec<&Value> = entries.iter().filter_map(|entry| entry.request.as_ref()).collect();
    let message = requests.iter().find(|request| request["body"]["messageID"].is_string())?;
    let lists = |request: &&&Value| request["method"] == "GET" && request["path"] == message["path"];
    let list = requests.iter().rev().find(lists)?;
    let response = |n: &Value| {
        entries.iter().filter_map(|entry| entry.response.as_ref()).find(|response| n.as_u64() == Some(response.n))
    };
    let answer = response(&message["n"])?;
    let is_next = |entry: &&Entry<'_>| {
        entry.request.as_ref().is_some_and(|request| request["path"] == message["path"] && request["n"] != message["n"])
    };
    let step = |entry: &Entry<'_>| match (entry.event, &entry.request, &entry.response) {
        (Some(event), ..) => Some(Step::Event(event.get().to_owned())),
        (_, Some(request), _) => request["path"].as_str()?.ends_with("/abort").then_some(Step::Interrupt),
        (.., Some(response)) => (response.n == answer.n).then_some(Step::Answer),
        _ => None,
    };
    let steps: Vec<_> = entries.iter().take_while(|entry| !is_next(entry)).filter_map(step).collect();
    let event = |step: &Step| match step {
        Step::Event(event) => Some(event.clone()),
        _ => None,
    };
    Some(Recording {
        name: file.strip_prefix(root).unwrap().with_extension("").display().to_string(),
        about: entries[0].about.clone(),
        session: message["path"].as_str()?.split('/').nth(2)?.to_owned(),
        prompt: message["body"]["messageID"].as_str()?.to_owned(),
        events: steps.iter().filter_map(event).collect(),
        steps,
        status: answer.status,
        answer: answer.body.get().to_owned(),
        messages: response(&list["n"])?.body.get().to_owned(),
    })
}
