//! The journals below a directory, with their tasks and sessions.

use crate::line::JournalLine;
use crate::lines::{FileLine, FileLines};
use crate::prune::{entries, is_folder_of_journals, is_journal};
use opencode_run_core::{SessionId, Task};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The number of lines of a journal that are searched for its session, which is in one of the first lines.
const MAX_SEARCHED_LINES: usize = 100;
/// The maximum size of one of those lines in bytes.
const MAX_LINE_BYTES: usize = 16 << 20;

/// A journal that no process has open. It stays locked until this is dropped.
#[derive(Debug)]
#[non_exhaustive]
pub struct JournalFile {
    /// The path of the journal.
    pub path: PathBuf,
    /// The size of the journal in bytes.
    pub bytes: u64,
    /// The time of the last write to the journal.
    pub modified: SystemTime,
    /// The task of the conversation.
    pub task: Task,
    /// The session that the conversation created in opencode. `None` if it continued one that existed, or has no session.
    pub created_session: Option<SessionId>,
    /// The locked file; dropping it releases the lock.
    _file: File,
}

impl JournalFile {
    fn open(path: PathBuf) -> Option<Self> {
        let file = File::open(&path).ok()?;
        file.try_lock().ok()?;
        let metadata = file.metadata().ok()?;
        let mut lines = FileLines::new(BufReader::new(file.try_clone().ok()?), MAX_LINE_BYTES);
        let FileLine::Whole(first) = lines.next().ok()?? else { return None };
        let Ok(JournalLine::Journal { task, session: continued, .. }) = serde_json::from_slice(first) else {
            return None;
        };
        let task = task.into_owned();
        let is_continued = continued.is_some();
        let mut created_session = None;
        for _ in 0..if is_continued { 0 } else { MAX_SEARCHED_LINES } {
            let Ok(Some(line)) = lines.next() else { break };
            let FileLine::Whole(line) = line else { continue };
            if let Ok(JournalLine::Session { session, .. }) = serde_json::from_slice(line) {
                created_session = Some(session.into_owned());
                break;
            }
        }
        let modified = metadata.modified().ok()?;
        Some(Self { path, bytes: metadata.len(), modified, task, created_session, _file: file })
    }

    /// Deletes the file while it is locked, and its directory if that is empty then.
    ///
    /// # Errors
    ///
    /// If the file cannot be deleted.
    pub fn delete(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)?;
        if let Some(folder) = self.path.parent() {
            // Fails if the directory is not empty.
            std::fs::remove_dir(folder).ok();
        }
        Ok(())
    }
}

/// Returns the journals below a directory that no process has open, locked. Files that do not look like our journals are ignored.
#[must_use]
pub fn unused(journals: &Path) -> Vec<JournalFile> {
    let folders = entries(journals).filter(|path| is_folder_of_journals(path));
    folders
        .flat_map(|folder| entries(&folder).collect::<Vec<_>>())
        .filter(|path| is_journal(path))
        .filter_map(JournalFile::open)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Journal, folder_of};
    use opencode_run_core::{Input, Prompt, Recorder, TurnStart};

    #[test]
    fn unused_journals_name_task_and_created_session() {
        let journals = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let folder = folder_of(journals.path(), directory.path());
        let session = SessionId::new("ses_1");
        let begin = |continued: Option<SessionId>| {
            let journal = Journal::new(folder.clone(), Task::new("t", directory.path()), continued);
            journal.turn_started(&TurnStart::new(&Prompt::new("hello"), SystemTime::UNIX_EPOCH));
            journal.input(std::time::Duration::ZERO, &Input::Session(session.clone()));
            journal
        };
        let created = begin(None);
        let continued = begin(Some(session.clone()));
        assert!(unused(journals.path()).is_empty(), "both are open");
        drop((created, continued));
        let found = unused(journals.path());
        let mut sessions: Vec<_> = found.iter().map(|file| file.created_session.clone()).collect();
        sessions.sort();
        assert_eq!(sessions, [None, Some(session)]);
        assert!(found.iter().all(|file| file.task.name == "t" && file.bytes > 0));
        assert!(unused(journals.path()).is_empty(), "they are locked");
        for file in found {
            file.delete().unwrap();
        }
        assert!(!folder.exists());
    }
}
