//! The permission requests and questions of a turn.

use super::turn::{Action, Actions};
use opencode_run_core::{PermissionRequest, SessionId, Signal};
use std::collections::HashMap;

/// The maximum number of refusals of one permission by policy: a model that insists would request it forever.
const MAX_REFUSALS: usize = 5;

/// The permission requests and questions whose replies are still being sent, and the refused permissions.
#[derive(Debug, Default)]
pub(crate) struct PendingAsks {
    /// Whether the policy refuses every permission.
    denies: bool,
    unanswered: Vec<String>,
    /// How often each permission was refused by policy, by permission and patterns.
    refusals: HashMap<(String, Vec<String>), usize>,
}

impl PendingAsks {
    pub(crate) fn new(denies: bool) -> Self {
        Self { denies, ..Self::default() }
    }

    /// Completes a permission request. Returns the action that lets the policy answer it; without an answer it would
    /// block the turn forever.
    pub(crate) fn decide(&mut self, ask: &mut PermissionRequest, session: SessionId) -> Option<Action> {
        ask.refused = self.denies;
        self.unanswered.push(ask.id.clone()?);
        let times = self.refusals.entry((ask.permission.clone(), ask.patterns.clone())).or_default();
        *times += usize::from(ask.refused);
        Some(Action::Decide { insists: *times >= MAX_REFUSALS, ask: ask.clone(), session })
    }

    /// Adds a question.
    pub(crate) fn question(&mut self, id: String) {
        self.unanswered.push(id);
    }

    /// Records that a reply was sent.
    pub(crate) fn answered(&mut self, id: String, actions: &mut Actions) {
        self.unanswered.retain(|open| *open != id);
        actions.push(Action::Emit(Signal::Answered { id }));
    }

    /// Records that no request is open any more: the end of a turn may overtake the answers to replies.
    pub(crate) fn close(&mut self, actions: &mut Actions) {
        actions.extend(self.unanswered.drain(..).map(|id| Action::Emit(Signal::Answered { id })));
    }
}

/// Describes a permission request.
pub(crate) fn description(ask: &PermissionRequest) -> String {
    format!("{} ({})", ask.permission, ask.patterns.join(", "))
}
