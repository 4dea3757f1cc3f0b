//! Deleting journals that nobody has gone on with for long.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// For how long a journal is kept after the last line was written to it.
pub const KEPT: Duration = Duration::from_hours(30 * 24);
/// How often it is looked for old ones.
const LOOK_EVERY: Duration = Duration::from_hours(24);
/// The file whose time of change says when that was.
const LAST_LOOK: &str = ".last-pruned";

/// Deletes the journals below this folder that were last written to longer ago than [`KEPT`]. It looks once a day at most.
///
/// One that somebody has open is never deleted, and what does not look like a journal of ours is left alone. What cannot be
/// deleted stays: that is no trouble of who begins a conversation.
pub fn prune(journals: &Path, now: SystemTime) {
    let is_older = |path: &Path, age: Duration| {
        let modified = path.symlink_metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|passed| passed >= age))
    };
    let last_look = journals.join(LAST_LOOK);
    if !journals.is_dir() || last_look.exists() && !is_older(&last_look, LOOK_EVERY) {
        return;
    }
    // Whoever cannot write there has nothing to delete either.
    if File::create(&last_look).and_then(|file| file.set_modified(now)).is_err() {
        return;
    }
    for folder in entries(journals).filter(|path| is_folder_of_journals(path)) {
        let old = entries(&folder).filter(|path| is_journal(path) && is_older(path, KEPT));
        let deleted = old.filter(|path| delete(path)).count();
        if deleted > 0 {
            tracing::info!(deleted, "old journals in {} were deleted", folder.display());
            // It stays where there are others in it.
            fs::remove_dir(&folder).ok();
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Returns whether a folder has a name as `folder_of` gives.
fn is_folder_of_journals(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hash = name.rsplit_once('-').map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())) && path.is_dir()
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

/// Deletes a journal while it is locked, so that nobody begins to go on with it meanwhile.
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
    fn what_is_old_and_of_nobody_is_deleted_and_nothing_else() {
        let journals = tempfile::tempdir().unwrap();
        let (now, hour) = (SystemTime::UNIX_EPOCH + KEPT * 500, Duration::from_hours(1));
        let path = |name: &str| journals.path().join(name);
        let old = path(&format!("{FOLDER}/old.jsonl"));
        let kept = [
            format!("{FOLDER}/young.jsonl"),
            format!("{FOLDER}/used.jsonl"),
            format!("{FOLDER}/notes.txt"),
            "elsewhere/old.jsonl".to_owned(),
            "old.jsonl".to_owned(),
        ];
        at(&old, KEPT + hour, now);
        let files: Vec<File> = kept.iter().map(|name| at(&path(name), KEPT + hour, now)).collect();
        files[0].set_modified(now - KEPT + hour).unwrap();
        files[1].lock().unwrap();

        prune(journals.path(), now);
        assert!(!old.exists());
        assert!(kept.iter().all(|name| path(name).exists()), "{kept:?}");

        // An hour later it is too early to look again, a day later the one is no longer in use.
        drop(files);
        prune(journals.path(), now + hour);
        assert!(path(&kept[1]).exists());
        prune(journals.path(), now + LOOK_EVERY);
        assert!(!path(&kept[1]).exists());
        assert!(!path(&kept[0]).exists(), "it has become old");
        assert!(path(FOLDER).exists(), "there is something else in it");
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        prune(&folder.path().join("journals"), SystemTime::UNIX_EPOCH);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
