//! The executable in an installed package.

use crate::error::CommandError;
use opencode_run_core::FailureKind;
use std::path::{Path, PathBuf};

/// Finds the executable of opencode that npm installed: the command of the package, or the only file in its `bin`.
///
/// # Errors
///
/// If there is not exactly one.
pub(super) fn find_executable(folder: &Path, name: &str) -> Result<PathBuf, CommandError> {
    let commands = folder.join("node_modules/.bin");
    let opencode = commands.join("opencode");
    if opencode.exists() {
        return Ok(opencode);
    }
    let files = |place: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
    };
    for place in [commands, folder.join("node_modules").join(name).join("bin")] {
        if let [only] = files(&place).as_slice() {
            return Ok(only.clone());
        }
    }
    let error =
        CommandError::new(FailureKind::Opencode, format!("the package {name} has no command that could be opencode"));
    Err(error.hint("install it yourself, and give its executable to --opencode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_is_found_without_command() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find_executable(folder.path(), "x").is_err());
        let bin = folder.path().join("node_modules/x/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("xcode"), "").unwrap();
        assert_eq!(find_executable(folder.path(), "x").unwrap(), bin.join("xcode"));
        std::fs::write(bin.join("other"), "").unwrap();
        assert!(find_executable(folder.path(), "x").is_err());
        let commands = folder.path().join("node_modules/.bin");
        std::fs::create_dir_all(&commands).unwrap();
        std::fs::write(commands.join("opencode"), "").unwrap();
        assert_eq!(find_executable(folder.path(), "x").unwrap(), commands.join("opencode"));
    }
}
