//! The finding of a check, and its fix.

use serde::Serialize;

/// The finding of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) status: FindingStatus,
    pub(super) message: String,
    pub(super) fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FindingStatus {
    Ok,
    Warning,
    Error,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, status: FindingStatus::Ok, message: message.into(), fix: None }
    }

    /// Creates a finding that is not a problem but may explain one.
    pub(super) fn note(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: FindingStatus::Ok, message: message.into(), fix: Some(fix.into()) }
    }

    pub(super) fn warning(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: FindingStatus::Warning, message: message.into(), fix: Some(fix.into()) }
    }

    pub(super) fn error(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: FindingStatus::Error, message: message.into(), fix: Some(fix.into()) }
    }
}
