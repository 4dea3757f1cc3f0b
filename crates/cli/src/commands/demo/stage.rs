//! The workspace, model source and environment of a demonstration.

use crate::error::CommandError;
use opencode_run_core::FailureKind;
use opencode_run_process::NO_CATALOG_DOWNLOAD;
use opencode_run_scripted_model::ScriptedModel;
use opencode_runner::{ModelConfig, ModelSource, ModelSourceType};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Returns the given workspace, or creates a temporary one that is kept.
pub(super) fn workspace(named: Option<&Path>) -> Result<PathBuf, CommandError> {
    if let Some(workspace) = named {
        return Ok(workspace.to_owned());
    }
    let made = tempfile::Builder::new().prefix("opencode-run-demo-").tempdir();
    made.map(tempfile::TempDir::keep).map_err(|error| CommandError::of(FailureKind::Io, &error))
}

/// Returns the model as a source.
pub(super) fn sources(model: &ScriptedModel) -> ModelSource {
    let mut sources = ModelSource::new();
    let config = ModelConfig {
        base_url: Some(model.base_url()),
        price_input: Some(1.0),
        price_output: Some(4.0),
        ..ModelConfig::new("scripted")
    };
    sources.set_model(ModelSourceType::Default, config);
    sources
}

/// Returns the environment of opencode. The network is not needed: the model is fully described.
pub(super) fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let (name, value) = NO_CATALOG_DOWNLOAD;
    std::env::vars_os().chain([(name.into(), value.into())])
}
