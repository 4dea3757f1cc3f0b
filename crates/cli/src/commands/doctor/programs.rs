//! Checks the programs that a turn and the installation need.

use super::finding::Finding;
use crate::advice::sentence;
use opencode_run_process::{Locator, unusable_shell};
use opencode_runner::paths;
use opencode_runner::supervisor;
use std::path::PathBuf;

/// The name of the check whose failure has its own exit code.
pub(super) const OPENCODE: &str = "opencode";

pub(super) async fn opencode(explicit: Option<PathBuf>) -> Finding {
    let mut locator =
        Locator::from_path_variable(std::env::var_os("PATH")).explicit(explicit).supervised_by(supervisor::current());
    if let Some(installed) = paths::installed_opencode() {
        locator = locator.installed(installed);
    }
    match locator.locate().await {
        Ok(opencode) => {
            let used = format!("{} at {}", opencode.version(), opencode.path().display());
            let other = paths::installed_opencode().filter(|other| other.exists() && other != opencode.path());
            let other = other.map(|other| format!("; {} of `setup` is at {}", paths::TESTED_OPENCODE, other.display()));
            Finding::ok(OPENCODE, used + &other.unwrap_or_default())
        }
        Err(error) => Finding::error(OPENCODE, error.to_string(), sentence(&error.remedy())),
    }
}

pub(super) fn npm() -> Finding {
    match find_program("npm") {
        Some(path) => Finding::ok("npm", path),
        None => Finding::warning("npm", "not found; only setup needs it", "install Node.js, which brings npm"),
    }
}

pub(super) fn git() -> Finding {
    match find_program("git") {
        Some(path) => Finding::ok("git", path),
        None => Finding::warning(
            "git",
            "not found: a task within a repository would read that repository's instructions",
            "install git",
        ),
    }
}

pub(super) fn ripgrep() -> Finding {
    match find_program("rg") {
        Some(path) => Finding::ok("rg", path),
        None => Finding::note(
            "rg",
            "not found: opencode downloads its own when the agent first searches",
            "install ripgrep if turns have no network",
        ),
    }
}

/// Checks that processes can be found: without `/proc` nothing proves that a turn left none behind.
pub(super) fn proc() -> Option<Finding> {
    let is_there = std::path::Path::new("/proc/self/stat").exists();
    (cfg!(target_os = "linux") && !is_there).then(|| {
        let message = "/proc is not mounted: processes that a turn leaves behind cannot be found";
        Finding::error("proc", message, "mount it, as with `mount -t proc proc /proc`")
    })
}

pub(super) fn shell() -> Finding {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    match (unusable_shell(shell.as_deref()), shell) {
        (None, Some(shell)) => Finding::ok("shell", shell.display().to_string()),
        (None, None) => Finding::ok("shell", "SHELL is not set: opencode chooses one"),
        (Some(unusable), _) => {
            let fix = match unusable.replacement {
                Some(replacement) => {
                    format!("the agent's commands run in {replacement} instead; set SHELL to choose another")
                }
                None => "install a shell, and set SHELL to its path".to_owned(),
            };
            Finding::warning("shell", unusable.to_string(), fix)
        }
    }
}

pub(super) fn find_program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())?;
    Some(found.display().to_string())
}
