//! The idle clock of a turn.

use crate::ToolState;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The time for which a running tool suspends the idle clock if its call sets no time limit.
///
/// Equal to the limit of opencode's shell tool (two minutes in 1.18.33); the other tools take less.
pub const TOOL_TIMEOUT: Duration = Duration::from_mins(2);

/// The maximum time for which a running tool suspends the idle clock, whatever its call sets.
///
/// opencode does not limit the time that the model requests, and a turn must end even if that is a year.
pub const MAX_TOOL_TIMEOUT: Duration = Duration::from_hours(1);

/// The time since which a turn has made no progress. All times are relative to the turn's start.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleClock {
    /// The time of the last progress.
    last_progress: Duration,
    /// The time until which each running tool call suspends the clock, by the index of the call in the record.
    tools: HashMap<usize, Duration>,
    /// The ids of unanswered requests to the user.
    asked: HashSet<String>,
}

impl IdleClock {
    /// Records progress.
    pub(super) fn progress(&mut self, at: Duration) {
        self.last_progress = self.last_progress.max(at);
    }

    /// Records the state of a tool call.
    pub(super) fn tool(&mut self, at: Duration, call: usize, state: &ToolState) {
        let limit = match state {
            ToolState::Pending | ToolState::Running { limit: None, .. } | ToolState::Unknown(_) => TOOL_TIMEOUT,
            ToolState::Running { limit: Some(limit), .. } => *limit,
            ToolState::Completed { .. } | ToolState::Failed { .. } => {
                self.tools.remove(&call);
                return;
            }
        };
        self.tools.insert(call, at.saturating_add(limit.min(MAX_TOOL_TIMEOUT)));
    }

    /// Records a request to the user: the clock is suspended until it is answered.
    pub(super) fn asked(&mut self, id: String) {
        self.asked.insert(id);
    }

    /// Records an answer, which is progress if it was expected.
    pub(super) fn answered(&mut self, at: Duration, id: &str) {
        if self.asked.remove(id) {
            self.progress(at);
        }
    }

    /// Returns whether a request to the user is unanswered.
    pub(super) fn has_open_request(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Returns the time since which the turn is idle (in the future while a tool suspends the clock); `None` while
    /// a request to the user is unanswered.
    pub(super) fn since(&self) -> Option<Duration> {
        (!self.has_open_request()).then(|| self.tools.values().copied().fold(self.last_progress, Duration::max))
    }
}
