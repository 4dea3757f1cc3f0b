//! Checks the directories that opencode writes to.

use super::finding::Finding;
use etcetera::BaseStrategy;
use std::io;
use std::path::{Path, PathBuf};

const CHECK: &str = "directories";

/// Checks that opencode can write to the user's directories and to the temp directory.
pub(super) fn check() -> Vec<Finding> {
    let Ok(places) = etcetera::choose_base_strategy() else {
        return vec![Finding::error(CHECK, "there is no home directory", "set HOME to a directory that is writable")];
    };
    let state = places.state_dir().unwrap_or_else(|| places.data_dir());
    let mut findings = Vec::new();
    let of_opencode =
        [("XDG_DATA_HOME", places.data_dir()), ("XDG_STATE_HOME", state), ("XDG_CACHE_HOME", places.cache_dir())];
    for (variable, directory) in of_opencode {
        if let Err(error) = try_to_write(&directory.join("opencode")) {
            findings.push(Finding::error(
                CHECK,
                format!("opencode cannot write to {}: {error}", directory.display()),
                format!("set HOME or {variable} to a directory that is writable, or use --isolated"),
            ));
        }
    }
    let temp = std::env::temp_dir();
    // The temp directory itself must exist.
    if let Err(error) = write_to(&temp) {
        findings.push(Finding::error(
            CHECK,
            format!("the temp directory {} cannot be written to: {error}", temp.display()),
            "set TMPDIR to a directory that exists and is writable",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "opencode can write to the home directory and to the temp directory"));
    }
    findings
}

/// Tries to write to a directory, or to its nearest existing parent.
fn try_to_write(directory: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(directory)?;
    let existing: Option<PathBuf> =
        absolute.ancestors().find(|place| place.symlink_metadata().is_ok()).map(Path::to_owned);
    write_to(&existing.unwrap_or(absolute))
}

/// Creates a directory within a directory, and removes it.
fn write_to(directory: &Path) -> io::Result<()> {
    match tempfile::Builder::new().prefix(".opencode-run-doctor-").tempdir_in(directory) {
        Ok(_) => Ok(()),
        // The error's own text would repeat the path.
        Err(error) => Err(error.raw_os_error().map_or(error, io::Error::from_raw_os_error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_existing_directory_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        assert!(try_to_write(&folder.path().join("a/b/c")).is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(try_to_write(&file.join("a")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(write_to(&folder.path().join("none")).is_err());
    }
}
