//! The clock of a turn that makes no progress.

use crate::ToolState;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How long a tool at work counts as progress where its call does not say how long it may take.
///
/// It is what opencode gives its shell tool (two minutes in 1.18.33); the other tools take less.
pub const TOOL_LIMIT: Duration = Duration::from_mins(2);

/// How long a tool at work counts as progress at most, whatever its call says.
///
/// opencode sets no maximum to the time that the model asks for, and a turn must end also where it asks for a year.
pub const LONGEST_TOOL_LIMIT: Duration = Duration::from_hours(1);

/// Since when a turn makes no progress. Times are counted from the turn's start.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleClock {
    /// When the turn last made progress.
    moved: Duration,
    /// Until when each tool call that is at work holds the clock, by the call's place in the record.
    tools: HashMap<usize, Duration>,
    /// What somebody was asked and has not answered.
    asked: HashSet<String>,
}

impl IdleClock {
    /// Notes progress.
    pub(super) fn progress(&mut self, at: Duration) {
        self.moved = self.moved.max(at);
    }

    /// Notes that a tool call came as far as this.
    pub(super) fn tool(&mut self, at: Duration, call: usize, state: &ToolState) {
        let limit = match state {
            ToolState::Pending | ToolState::Running { limit: None, .. } => TOOL_LIMIT,
            ToolState::Running { limit: Some(limit), .. } => *limit,
            ToolState::Completed { .. } | ToolState::Failed { .. } => {
                self.tools.remove(&call);
                return;
            }
        };
        self.tools.insert(call, at.saturating_add(limit.min(LONGEST_TOOL_LIMIT)));
    }

    /// Notes that somebody is asked: until the answer comes, the clock stands still.
    pub(super) fn asked(&mut self, id: String) {
        self.asked.insert(id);
    }

    /// Notes the answer; it is progress, where it was waited for.
    pub(super) fn answered(&mut self, at: Duration, id: &str) {
        if self.asked.remove(id) {
            self.progress(at);
        }
    }

    /// Returns whether somebody is asked.
    pub(super) fn waits_for_an_answer(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Returns since when the time counts as idle, which is later than now while a tool holds the clock; none while it
    /// stands still.
    pub(super) fn since(&self) -> Option<Duration> {
        (!self.waits_for_an_answer()).then(|| self.tools.values().copied().fold(self.moved, Duration::max))
    }
}
