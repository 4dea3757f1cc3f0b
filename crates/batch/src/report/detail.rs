//! The detail of a task, which the page shows when the task is opened.

use super::format::{cost, duration};
use super::links::relative_url;
use super::results::AttemptRow;
use super::tasks::TaskRow;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The maximum size of one task in the page, in bytes, unless whole files are embedded.
pub(crate) const MAX_TASK_BYTES: usize = 20_000;
/// The size of the embedded excerpt of an answer, in bytes, unless whole files are embedded. Patches are cut at the
/// end, logs at the beginning.
const ANSWER_BYTES: usize = 6000;
const PATCH_BYTES: usize = 5000;
const LOG_BYTES: usize = 3000;
const ERROR_BYTES: usize = 2000;
/// The maximum size of a file that is embedded whole.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// The maximum number of earlier attempts that are shown; the oldest are dropped.
const MAX_ATTEMPTS: usize = 10;

/// The directories that paths and links are relative to.
#[derive(Debug)]
pub(crate) struct Files<'p> {
    /// The directory of the results file, absolute.
    pub(crate) results: &'p Path,
    /// The directory of the page, absolute.
    pub(crate) page: &'p Path,
    pub(crate) embeds_all: bool,
}

/// A text, or a part of one.
#[derive(Debug, Serialize)]
struct Excerpt {
    text: String,
    /// The number of bytes that are left out.
    #[serde(skip_serializing_if = "is_zero")]
    omitted: u64,
    /// Whether the beginning is left out, not the end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tail: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Serialize)]
pub(crate) struct Detail<'t> {
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Excerpt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Excerpt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Excerpt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Excerpt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<Excerpt>,
    /// Labels and URLs.
    links: Vec<(&'static str, String)>,
    facts: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<String>,
}

impl<'t> Detail<'t> {
    /// Collects the detail of a task from its result and its files.
    pub(crate) fn of(task: &'t TaskRow, files: &Files<'_>) -> Self {
        let last = &task.last;
        let limit = |bytes| if files.embeds_all { MAX_FILE_BYTES } else { bytes };
        let log = last.check.as_ref().and_then(|check| check.log.as_deref());
        let patch = last.patch.as_ref().filter(|patch| patch.bytes > 0).and_then(|patch| patch.path.as_deref());
        let transcript = last.transcript.as_deref();
        let labelled = [("Transcript", transcript), ("Patch", patch), ("Check log", log)];
        let links = labelled.into_iter().filter_map(|(label, path)| {
            let file = files.results.join(path?);
            // A transcript may have been deleted with its task's directory.
            file.exists().then(|| (label, relative_url(files.page, &file)))
        });
        let mut facts = last.facts.clone();
        if let Some(code) = last.check.as_ref().and_then(|check| check.exit_code) {
            facts.push(("Check exit code", code.to_string()));
        }
        let text = |text: &str, bytes| (!text.is_empty()).then(|| Excerpt::beginning(text, limit(bytes)));
        let mut detail = Self {
            answer: text(&last.output, ANSWER_BYTES),
            error: last.error.as_deref().and_then(|error| text(error, ERROR_BYTES)),
            hint: last.hint.as_deref(),
            log: log.and_then(|path| files.read(path, limit(LOG_BYTES), true)),
            patch: patch.and_then(|path| files.read(path, limit(PATCH_BYTES), false)),
            transcript: transcript
                .filter(|_| files.embeds_all)
                .and_then(|path| files.read(path, MAX_FILE_BYTES, false)),
            links: links.collect(),
            facts,
            metadata: last.metadata.clone(),
            attempts: earlier_attempts(&task.earlier),
        };
        if !files.embeds_all {
            detail.fit(MAX_TASK_BYTES);
        }
        detail
    }

    /// Returns the detail as JSON that can be embedded in a page.
    pub(crate) fn to_json(&self) -> String {
        json(self)
    }

    /// Shortens texts until the JSON fits into `limit` bytes.
    fn fit(&mut self, limit: usize) {
        for _ in 0..8 {
            if self.to_json().len() <= limit {
                return;
            }
            let texts = [&mut self.answer, &mut self.error, &mut self.log, &mut self.patch];
            let longest = texts.into_iter().flatten().max_by_key(|excerpt| json(&excerpt.text).len());
            match longest.filter(|longest| json(&longest.text).len() > limit / 8) {
                Some(longest) => longest.halve(),
                None => break,
            }
        }
        if self.to_json().len() > limit {
            self.metadata = Map::from_iter([("...".to_owned(), Value::from("too long for this page"))]);
            self.attempts.clear();
        }
        if self.to_json().len() > limit {
            self.facts.clear();
            self.links.retain(|(_, url)| url.len() < limit / 8);
            self.hint = None;
        }
    }
}

fn earlier_attempts(earlier: &[AttemptRow]) -> Vec<String> {
    let shown = &earlier[earlier.len().saturating_sub(MAX_ATTEMPTS)..];
    let line = |attempt: &AttemptRow| {
        let message = Excerpt::beginning(attempt.error.as_deref().unwrap_or_default(), 200).text;
        let kind = attempt.kind.as_deref().unwrap_or(attempt.standing.as_str());
        let figures = format!("{}, {}", duration(attempt.duration_ms), cost(attempt.cost));
        let separator = if message.is_empty() { "" } else { ": " };
        format!("{}. {kind} ({figures}){separator}{message}", attempt.number)
    };
    shown.iter().map(line).collect()
}

impl Excerpt {
    fn beginning(text: &str, limit: usize) -> Self {
        let end = text.floor_char_boundary(limit);
        Self { text: text[..end].to_owned(), omitted: (text.len() - end) as u64, tail: false }
    }

    fn halve(&mut self) {
        let length = self.text.len();
        let middle = self.text.len() / 2;
        if self.tail {
            self.text.drain(..self.text.ceil_char_boundary(middle));
        } else {
            self.text.truncate(self.text.floor_char_boundary(middle));
        }
        self.omitted += (length - self.text.len()) as u64;
    }
}

impl Files<'_> {
    /// Reads the beginning or the end of a file below the directory of the results. Other files are linked but never
    /// embedded: a results file from elsewhere could name any file of this machine.
    fn read(&self, path: &Path, limit: usize, tail: bool) -> Option<Excerpt> {
        let path: PathBuf = self.results.join(path).canonicalize().ok()?;
        let data = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
        if !path.starts_with(self.results.canonicalize().ok()?) {
            return None;
        }
        let mut file = File::open(path).ok()?;
        let omitted = data.len().saturating_sub(limit as u64);
        if tail {
            file.seek(SeekFrom::Start(omitted)).ok()?;
        }
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (!text.is_empty()).then_some(Excerpt { text, omitted, tail })
    }
}

/// Returns a value as JSON that can be embedded in a `script` element: none of its characters ends or begins an
/// element.
pub(crate) fn json(value: &impl Serialize) -> String {
    // The values are plain data, whose serialization does not fail.
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut safe = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match c {
            '<' => safe.push_str("\\u003c"),
            '>' => safe.push_str("\\u003e"),
            '&' => safe.push_str("\\u0026"),
            '\u{2028}' => safe.push_str("\\u2028"),
            '\u{2029}' => safe.push_str("\\u2029"),
            other => safe.push(other),
        }
    }
    safe
}
