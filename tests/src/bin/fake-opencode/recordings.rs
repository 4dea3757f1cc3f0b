//! Finds a recording and adapts it to this invocation.

use crate::invocation::Invocation;
use opencode_run_tests::recording::{Recording, recordings_dir};
use std::error::Error;

/// Reads a recording by a path relative to the script or to the directory of recordings.
pub(crate) fn load(invocation: &Invocation, name: &str) -> Result<Recording, Box<dyn Error>> {
    let near = invocation.script_dir().join(name);
    let path = if near.is_dir() { near } else { recordings_dir().join(name) };
    Recording::read(&path).map_err(|error| format!("read the recording {}: {error}", path.display()).into())
}

/// Returns a line of a recording with this invocation's directory, and its session if the command line names one.
pub(crate) fn fit(invocation: &Invocation, recording: &Recording, line: &str) -> String {
    let line = match (&invocation.asked_session, recording.session_id()) {
        (Some(asked), Some(recorded)) => line.replace(&recorded, asked),
        _ => line.to_owned(),
    };
    invocation.fill_json(&line)
}
