//! Results files, read leniently: a report of a damaged file is better than no report.

use crate::Standing;
use jiff::Timestamp;
use opencode_runner::{FailureKind, RunState};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// One attempt at a task.
#[derive(Debug, Clone)]
pub(crate) struct AttemptRow {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) standing: Standing,
    /// The kind of the failure, in the words of the file.
    pub(crate) kind: Option<String>,
    pub(crate) model: Option<String>,
    /// In milliseconds since 1970.
    pub(crate) started_ms: Option<i64>,
    pub(crate) duration_ms: u64,
    pub(crate) cost: f64,
    pub(crate) tokens: u64,
    pub(crate) steps: u64,
    pub(crate) check: Option<Check>,
    pub(crate) patch: Option<PatchFile>,
    pub(crate) transcript: Option<PathBuf>,
    pub(crate) output: String,
    pub(crate) error: Option<String>,
    pub(crate) hint: Option<String>,
    /// The other fields, by their names on the page.
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) metadata: Map<String, Value>,
}

#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) passed: bool,
    pub(crate) exit_code: Option<i64>,
    pub(crate) log: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub(crate) struct PatchFile {
    pub(crate) path: Option<PathBuf>,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// The attempts in a results file.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) attempts: Vec<AttemptRow>,
    /// The number of lines that are not results.
    pub(crate) skipped: u64,
}

impl AttemptRow {
    /// Returns whether the task was solved: its check passed, or it completed if it has no check. `None` if the attempt does not
    /// count in rates.
    pub(crate) fn is_solved(&self) -> Option<bool> {
        let completed = self.standing == Standing::Passed;
        self.standing.is_done().then(|| self.check.as_ref().map_or(completed, |check| check.passed))
    }

    fn of(value: &Value) -> Option<Self> {
        let state: RunState = parse(value.get("state")?)?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
        let error = value.get("error").filter(|error| error.is_object());
        let of_error = |name: &str| error?.get(name)?.as_str().map(str::to_owned);
        let kind = of_error("kind");
        // A kind that a later version added counts as one of the infrastructure.
        let known = kind.as_ref().map(|kind| parse(&Value::from(kind.as_str())).unwrap_or(FailureKind::Protocol));
        let check = value.get("check").filter(|check| check.is_object()).map(Check::of);
        let usage = value.get("usage").and_then(Value::as_object);
        let tokens = usage.map(|usage| usage.values().filter_map(Value::as_u64).fold(0, u64::saturating_add));
        let facts = [
            ("Session", "session_id"),
            ("Directory", "task_dir"),
            ("Base commit", "base_commit"),
            ("Finish reason", "finish_reason"),
            ("Worker", "worker"),
            ("Journal", "journal"),
        ];
        let output = match value.get("output") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        Some(Self {
            id: text("id").or_else(|| text("instance_id")).or_else(|| text("task_name"))?,
            number: number("attempt").max(1),
            standing: Standing::of(state, known, check.as_ref().map(|check| check.passed)),
            kind,
            model: text("model"),
            started_ms: text("started_at").and_then(|at| at.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond),
            duration_ms: number("duration_ms"),
            cost: value.get("cost").and_then(Value::as_f64).filter(|cost| cost.is_finite()).unwrap_or_default(),
            tokens: tokens.unwrap_or_default(),
            steps: number("steps"),
            check,
            patch: value.get("patch").filter(|patch| patch.is_object()).map(PatchFile::of),
            transcript: text("transcript").map(PathBuf::from),
            output,
            error: of_error("message"),
            hint: of_error("hint"),
            facts: facts.into_iter().filter_map(|(name, field)| Some((name, text(field)?))).collect(),
            metadata: value.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default(),
        })
    }
}

fn parse<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

impl Check {
    fn of(value: &Value) -> Self {
        Self {
            passed: value.get("passed").and_then(Value::as_bool).unwrap_or_default(),
            exit_code: value.get("exit_code").and_then(Value::as_i64),
            log: value.get("log").and_then(Value::as_str).map(PathBuf::from),
        }
    }
}

impl PatchFile {
    fn of(value: &Value) -> Self {
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
        Self {
            path: value.get("path").and_then(Value::as_str).map(PathBuf::from),
            bytes: number("bytes"),
            files: number("files"),
        }
    }
}

impl Results {
    /// Reads a results file. Lines that are not results are counted.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 18, File::open(path)?);
        let mut results = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(results);
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Value>(&line).ok().as_ref().and_then(AttemptRow::of) {
                Some(attempt) => results.attempts.push(attempt),
                None => results.skipped += 1,
            }
        }
    }
}
