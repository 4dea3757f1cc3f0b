//! Deletes journals that have not been continued for a long time.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The retention period of a journal after its last line was written.
pub const RETENTION_PERIOD: Duration = Duration::from_hours(30 * 24);
/// The interval between searches for old journals.
const PRUNE_INTERVAL: Duration = Duration::from_hours(24);
/// The file whose modification time is the time of the last search.
const LAST_PRUNE_FILE: &str = ".last-pruned";

/// Deletes the journals below this directory that were last written more than [`RETENTION_PERIOD`] ago. Searches at
/// most once a day.
///
/// Journals that are open elsewhere are never deleted, and files that do not look like our journals are ignored.
/// Errors are ignored too: they must not affect a conversation that begins.
pub fn prune(journals: &Path, now: SystemTime) {
    let is_older = |path: &Path, age: Duration| {
        let modified = path.symlink_metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|passed| passed >= age))
    };
    let last_look = journals.join(LAST_PRUNE_FILE);
    if !journals.is_dir() || last_look.exists() && !is_older(&last_look, PRUNE_INTERVAL) {
        return;
    }
    // Without write access there is nothing to delete either.
    if File::create(&last_look).and_then(|file| file.set_modified(now)).is_err() {
        return;
    }
    for folder in entries(journals).filter(|path| is_folder_of_journals(path)) {
        let old = entries(&folder).filter(|path| is_journal(path) && is_older(path, RETENTION_PERIOD));
        let deleted = old.filter(|path| delete(path)).count();
        if deleted > 0 {
            tracing::info!(deleted, "deleted old journals in {}", folder.display());
            // Fails if the directory is not empty.
            fs::remove_dir(&folder).ok();
        }
    }
}

pub(crate) fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Returns whether a directory has a name as `folder_of` returns it.
pub(crate) fn is_folder_of_journals(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hash = name.rsplit_once('-').map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())) && path.is_dir()
}

pub(crate) fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

/// Deletes a journal while it is locked, so that nothing can continue it meanwhile.
fn delete(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && fs::remove_file(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "task-0123456789abcdef";

    fn at(path: &Path, age: Duration, now: SystemTime) -> File {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(path).unwrap();
        file.set_modified(now - age).unwrap();
        file
    }

    #[test]
    fn only_old_unused_journals_are_deleted() {
        let journals = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + RETENTION_PERIOD * 500;
        let hour = Duration::from_hours(1);
        let path = |name: &str| journals.path().join(name);
        let old = path(&format!("{FOLDER}/old.jsonl"));
        let kept = [
            format!("{FOLDER}/young.jsonl"),
            format!("{FOLDER}/used.jsonl"),
            format!("{FOLDER}/notes.txt"),
            "elsewhere/old.jsonl".to_owned(),
            "old.jsonl".to_owned(),
        ];
        at(&old, RETENTION_PERIOD + hour, now);
        let files: Vec<File> = kept.iter().map(|name| at(&path(name), RETENTION_PERIOD + hour, now)).collect();
        files[0].set_modified(now - RETENTION_PERIOD + hour).unwrap();
        files[1].lock().unwrap();

        prune(journals.path(), now);
        assert!(!old.exists());
        assert!(kept.iter().all(|name| path(name).exists()), "{kept:?}");

        // An hour later is too early for another search; a day later one of them is no longer in use.
        drop(files);
        prune(journals.path(), now + hour);
        assert!(path(&kept[1]).exists());
        prune(journals.path(), now + PRUNE_INTERVAL);
        assert!(!path(&kept[1]).exists());
        assert!(!path(&kept[0]).exists(), "its retention period is over");
        assert!(path(FOLDER).exists(), "it is not empty");
    }

    #[test]
    fn prune_creates_no_directory() {
        let folder = tempfile::tempdir().unwrap();
        prune(&folder.path().join("journals"), SystemTime::UNIX_EPOCH);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
