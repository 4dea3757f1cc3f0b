//! The error of a turn that did not run.

use crate::model_choice_error::ModelChoiceError;
use opencode_run_config::KeyError;
use opencode_run_core::{FailureKind, ModelSourceType, Remedy, RunError, StartError};

/// A turn that did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// No model is configured for the request.
    #[error(transparent)]
    Model(#[from] ModelChoiceError),
    /// The key of the model source is not available.
    #[error("the model source `{source_type}` cannot be used")]
    Key {
        /// The role of the model source.
        source_type: ModelSourceType,
        /// The reason why there is no key.
        source: KeyError,
    },
    /// A turn is running, or the turn could not be started.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The session could not be deleted, or the task's resources could not be released.
    #[error(transparent)]
    Close(StartError),
}

impl RunnerError {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Model(_) | Self::Key { .. } => FailureKind::Config,
            Self::Run(RunError::Start(error)) | Self::Close(error) => error.kind,
            Self::Run(_) => FailureKind::Busy,
        }
    }

    /// Returns the remedy, unless the message contains it already.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Run(RunError::Start(error)) | Self::Close(error) => error.remedy.clone(),
            Self::Model(error) => error.remedy(),
            _ => None,
        }
    }
}
