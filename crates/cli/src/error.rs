//! An error of the command: kind, message, hint.

use opencode_run_core::{ErrorChain, FailureKind};
use opencode_run_process::resource_hint;
use std::path::Path;

/// The reason why the command failed.
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

    /// Creates an error of an I/O operation, with a hint if a resource is exhausted.
    pub(crate) fn io(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Io, message).hint_or_resource(None)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets this hint; if it is `None`, the hint for the exhausted resource that the message names, if any.
    pub(crate) fn hint_or_resource(self, hint: Option<String>) -> Self {
        let hint = hint.or_else(|| resource_hint(&self.message).map(Into::into));
        Self { hint, ..self }
    }

    /// Creates an error from another one and its causes.
    pub(crate) fn of(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(kind, ErrorChain::new(error).to_string())
    }
}

/// Returns the error of a relative path in a current directory that was deleted.
pub(crate) fn gone_current_directory(path: &Path) -> Option<CommandError> {
    if path.is_absolute() || std::env::current_dir().is_ok() {
        return None;
    }
    let error = CommandError::usage("the current directory no longer exists");
    Some(error.hint("change to a directory that exists (`cd`), or name one by its absolute path"))
}
