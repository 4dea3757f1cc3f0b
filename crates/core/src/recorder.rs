//! Who keeps what comes to the turns of a conversation.

use crate::{Input, Limits, ModelChoice, ModelSourceType, PermissionPolicy, Prompt, TurnOptions};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What a turn starts from: together with its inputs, all that its record depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnStart {
    /// The message.
    pub message: String,
    /// The system prompt of the turn, where it has one.
    pub context: Option<String>,
    /// The model that is asked for, by its name; none where it is left to opencode.
    pub model: Option<String>,
    /// The type of the model source that is asked for; `None` if the model is named, or left to opencode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<ModelSourceType>,
    /// The agent that is asked for.
    pub agent: Option<String>,
    /// The files that are attached.
    pub files: Vec<PathBuf>,
    /// When the turn is started.
    pub started_at: SystemTime,
    /// When to give up.
    pub limits: Limits,
    /// Whether there is somebody who is asked for permissions.
    pub asks: bool,
}

impl TurnStart {
    /// Takes from a prompt what its turn starts from.
    #[must_use]
    pub fn new(prompt: &Prompt, started_at: SystemTime) -> Self {
        let Prompt { message, files, options, .. } = prompt;
        let TurnOptions { model, context, agent, permissions, .. } = options;
        Self {
            message: message.clone(),
            context: context.clone(),
            model: model.as_ref().map(ToString::to_string),
            source_type: model.as_ref().and_then(ModelChoice::source_type),
            agent: agent.clone(),
            files: files.clone(),
            started_at,
            limits: options.limits(),
            asks: matches!(permissions, Some(PermissionPolicy::Ask(_))),
        }
    }
}

/// Keeps what comes to the turns of a conversation, so that a [`TurnMachine`](crate::TurnMachine) that is given the same again makes the
/// same record of it.
///
/// It sees everything, in order, before the turn and before any watcher does. The turn waits for it, on the thread that
/// runs the turn: it must be quick, and what goes wrong with it is its own affair.
pub trait Recorder: Send + Sync + Debug {
    /// A turn has been started; the inputs that follow are its own.
    fn turn_started(&self, start: &TurnStart);

    /// This comes to the turn, so long after its start. After [`Input::Ended`] or [`Input::Lost`] nothing more does.
    fn input(&self, at: Duration, input: &Input);

    /// Nothing more is at hand: what was held back for the sake of speed is to be kept now.
    fn settle(&self) {}
}
