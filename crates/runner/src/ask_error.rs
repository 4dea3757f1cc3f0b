//! The error of a prompt without an answer.

use crate::RunnerError;
use opencode_run_core::{FailureKind, Remedy, TurnError, TurnRecord};
use std::sync::Arc;

/// The reason why [`Runner::ask`](crate::Runner::ask) returned no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The turn did not run.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// The turn failed or was interrupted.
    #[error(transparent)]
    Turn(#[from] TurnError),
}

impl AskError {
    /// Returns the record of the turn, including its output, if the turn ran.
    #[must_use]
    pub fn record(&self) -> Option<&Arc<TurnRecord>> {
        match self {
            Self::Runner(_) => None,
            Self::Turn(error) => Some(error.record()),
        }
    }

    /// Returns the kind of the failure; `None` if the turn was interrupted.
    #[must_use]
    pub fn kind(&self) -> Option<FailureKind> {
        match self {
            Self::Runner(error) => Some(error.kind()),
            Self::Turn(error) => error.kind(),
        }
    }

    /// Returns the remedy, unless the message contains it already.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Runner(error) => error.remedy(),
            Self::Turn(_) => None,
        }
    }
}
