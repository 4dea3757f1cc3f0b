//! Checks the parent directory of task directories.

use super::finding::Finding;
use crate::error::gone_current_directory;
use std::path::Path;

pub(super) fn check(path: &Path) -> Finding {
    if let Some(gone) = gone_current_directory(path) {
        return Finding::error("workspace", gone.message, gone.hint.unwrap_or_default());
    }
    let shown = path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string();
    match tempfile::Builder::new().prefix(".opencode-run-doctor-").tempdir_in(path) {
        Ok(_) => Finding::ok("workspace", format!("{shown} can be written to")),
        Err(error) => Finding::error(
            "workspace",
            format!("{shown} cannot be written to: {error}"),
            "choose another directory with --workspace, or work in a directory with --dir",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::FindingStatus;
    use super::*;

    #[test]
    fn workspace_check_leaves_no_files() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check(folder.path()).status, FindingStatus::Ok);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let finding = check(&folder.path().join("none"));
        assert_eq!(finding.status, FindingStatus::Error);
        assert!(finding.fix.is_some());
    }
}
