//! What the command says when something is wrong: kind, message, hint.

use crate::advice::sentence;
use opencode_run_core::{ErrorChain, FailureKind};
use opencode_runner::{BuildError, RunnerError};

/// Something that keeps the command from doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandError {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl CommandError {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes an error of another one and its causes.
    pub(crate) fn of(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(kind, ErrorChain::new(error).to_string())
    }
}

impl From<BuildError> for CommandError {
    fn from(error: BuildError) -> Self {
        Self { hint: error.remedy().as_ref().map(sentence), ..Self::of(error.kind(), &error) }
    }
}

impl From<RunnerError> for CommandError {
    fn from(error: RunnerError) -> Self {
        Self { hint: error.remedy().as_ref().map(sentence), ..Self::of(error.kind(), &error) }
    }
}
