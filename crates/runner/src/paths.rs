//! The directories that a user's caches, journals and installed opencode are kept in.

use etcetera::BaseStrategy;
use std::path::PathBuf;

/// The version of opencode that this version of the project was tested with, and that `opencode-run setup` installs.
pub const TESTED_OPENCODE: &str = "1.18.33";

/// Returns the directory for what can be made again; `None` if the system does not know the user's home.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("opencode-run"))
}

/// Returns the folder in which the command keeps the journals of conversations, whether it is there or not; none where the
/// system does not say where a user's home is.
#[must_use]
pub fn default_journals() -> Option<PathBuf> {
    Some(state_dir()?.join("journals"))
}

/// Returns the directory for what is kept between runs; `None` if the system does not know the user's home.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.state_dir().unwrap_or_else(|| strategy.data_dir()).join("opencode-run"))
}

/// Returns the directory in which `opencode-run setup` keeps the tested opencode, whether it exists or not.
#[must_use]
pub fn installation_dir() -> Option<PathBuf> {
    Some(cache_dir()?.join("opencode").join(TESTED_OPENCODE))
}

/// Returns the executable that `opencode-run setup` installs, whether it is there or not.
#[must_use]
pub fn installed_opencode() -> Option<PathBuf> {
    Some(installation_dir()?.join("node_modules/.bin/opencode"))
}
