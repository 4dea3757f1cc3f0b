//! The user's directories for caches, journals and the installed opencode.

use etcetera::BaseStrategy;
use std::path::PathBuf;

/// The version of opencode that this version of the project was tested with, and that `opencode-run setup`
/// installs.
pub const TESTED_OPENCODE: &str = "1.18.33";

/// Returns the cache directory; `None` if the user's home directory is unknown.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("opencode-run"))
}

/// Returns the directory in which the command stores journals, whether it exists or not; `None` if the user's home
/// directory is unknown.
#[must_use]
pub fn default_journals() -> Option<PathBuf> {
    Some(state_dir()?.join("journals"))
}

/// Returns the directory for data that persists between runs; `None` if the user's home directory is unknown.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.state_dir().unwrap_or_else(|| strategy.data_dir()).join("opencode-run"))
}

/// Returns the directory in which `opencode-run setup` installs the tested opencode, whether it exists or not.
#[must_use]
pub fn installation_dir() -> Option<PathBuf> {
    Some(cache_dir()?.join("opencode").join(TESTED_OPENCODE))
}

/// Returns the path of the executable that `opencode-run setup` installs, whether it exists or not.
#[must_use]
pub fn installed_opencode() -> Option<PathBuf> {
    Some(installation_dir()?.join("node_modules/.bin/opencode"))
}
