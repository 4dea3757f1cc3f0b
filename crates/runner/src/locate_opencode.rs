//! Locates opencode as the command does.

use crate::paths;
use opencode_run_process::{LocateError, Locator, Opencode, Supervisor};
use std::ffi::OsString;
use std::path::PathBuf;

/// Locates opencode for a user with these environment variables: at `explicit`, otherwise the first on `PATH`,
/// otherwise the one installed by `opencode-run setup`.
///
/// # Errors
///
/// If no opencode is found, or the one found cannot be used.
pub async fn locate_opencode(
    explicit: Option<PathBuf>,
    variables: &[(OsString, OsString)],
    supervisor: Option<Supervisor>,
) -> Result<Opencode, LocateError> {
    let search_path = variables.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let mut locator = Locator::from_path_variable(search_path).explicit(explicit).supervised_by(supervisor);
    if let Some(installed) = paths::installed_opencode() {
        locator = locator.installed(installed);
    }
    if let Some(cache) = paths::cache_dir() {
        locator = locator.version_cache(cache.join("version.json"));
    }
    locator.locate().await
}
