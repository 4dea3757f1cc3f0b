//! The attempts of earlier runs of a batch, by task.

use super::line::{LineError, invalid};
use super::{Standing, TaskResult};
use crate::task::{IdHash, TaskHash};
use opencode_runner::{FailureKind, RunState, Usage};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// The last attempt at each task that a results file knows. A task takes about 50 bytes.
#[derive(Debug, Clone, Default)]
pub struct History {
    tasks: HashMap<IdHash, Past>,
    /// The number of lines.
    pub lines: u64,
    /// The cost of all attempts, in USD.
    pub cost: f64,
    /// The tokens of all attempts.
    pub tokens: u64,
}

/// The last attempt at a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Past {
    /// The number of the attempt.
    pub attempt: u32,
    /// The result of the attempt for the task.
    pub standing: Standing,
    hash: [u8; 16],
}

impl Past {
    /// Returns whether the task has changed since that attempt.
    #[must_use]
    pub fn is_of_another(&self, hash: &TaskHash) -> bool {
        self.hash != half(hash.as_str())
    }
}

/// The fields of a line that determine whether its task runs again.
#[derive(Debug, Deserialize)]
struct Head<'a> {
    v: u32,
    #[serde(borrow)]
    id: Cow<'a, str>,
    attempt: u32,
    #[serde(borrow)]
    task_hash: Cow<'a, str>,
    state: RunState,
    error: Option<HeadError>,
    check: Option<HeadCheck>,
    #[serde(default)]
    cost: f64,
    #[serde(default)]
    usage: Usage,
}

#[derive(Debug, Deserialize)]
struct HeadError {
    kind: FailureKind,
}

#[derive(Debug, Deserialize)]
struct HeadCheck {
    passed: bool,
}

/// The version of a line that cannot be read otherwise.
#[derive(Debug, Deserialize)]
struct Versioned {
    v: Option<u64>,
}

impl History {
    /// Adds a line.
    pub(super) fn add(&mut self, text: &[u8], path: &Path, line: u64) -> Result<(), LineError> {
        let head: Head<'_> = match serde_json::from_slice(text) {
            Ok(head) => head,
            // A later version may have changed any field.
            Err(error) => {
                let versioned = serde_json::from_slice::<Versioned>(text).ok().and_then(|versioned| versioned.v);
                return Err(match versioned.filter(|version| *version > u64::from(TaskResult::VERSION)) {
                    Some(version) => LineError::Version { path: path.to_owned(), line, version },
                    None => invalid(path, line, &error),
                });
            }
        };
        if head.v > TaskResult::VERSION {
            return Err(LineError::Version { path: path.to_owned(), line, version: head.v.into() });
        }
        let failure = head.error.map(|error| error.kind);
        let standing = Standing::of(head.state, failure, head.check.map(|check| check.passed));
        let past = Past { attempt: head.attempt, standing, hash: half(&head.task_hash) };
        self.lines += 1;
        self.cost += head.cost;
        self.tokens += tokens(&head.usage);
        let known = self.tasks.entry(IdHash::of(&head.id)).or_insert(past);
        // Lines of parallel attempts may be in any order.
        if past.attempt >= known.attempt {
            *known = past;
        }
        Ok(())
    }

    /// Returns the last attempt at a task.
    #[must_use]
    pub fn of(&self, id: &IdHash) -> Option<&Past> {
        self.tasks.get(id)
    }

    /// Returns the number of tasks with an attempt.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns whether no task has an attempt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

/// Returns all tokens of a turn.
pub(crate) fn tokens(usage: &Usage) -> u64 {
    let Usage { input, output, reasoning, cache_read, cache_write, .. } = *usage;
    input + output + reasoning + cache_read + cache_write
}

fn half(hash: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let from = hash.as_bytes();
    // Of the hexadecimal digits, which are half as dense, 16 are as good as any.
    let len = from.len().min(bytes.len());
    bytes[..len].copy_from_slice(&from[..len]);
    bytes
}
