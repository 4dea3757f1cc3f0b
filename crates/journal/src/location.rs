//! The location of the journals of a directory.

use crate::error::JournalError;
use crate::line::JournalLine;
use crate::lines::{FileLine, FileLines};
use opencode_run_core::SessionId;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The maximum length of the part of the task directory's name in the name of its journal directory.
const MAX_NAME_CHARS: usize = 40;
/// The number of lines of a journal that are searched for its session, which is in one of the first lines.
const MAX_SEARCHED_LINES: usize = 100;
/// The maximum size of one of those lines in bytes.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Returns the directory for the journals of a task's directory. Its name consists of the task directory's name,
/// for people, and a hash of its whole path. The path must be absolute and without symbolic links.
#[must_use]
pub fn folder_of(journals: &Path, task_dir: &Path) -> PathBuf {
    let name = task_dir.file_name().unwrap_or_default().to_string_lossy();
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let name: String = name.chars().take(MAX_NAME_CHARS).map(safe).collect();
    let hash = Sha256::digest(task_dir.as_os_str().as_encoded_bytes());
    let hash = hash.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
    journals.join(format!("{name}-{hash:016x}"))
}

/// Returns the most recently written journal in a directory, only of the given session if there is one; `None` if
/// there is no such journal.
///
/// # Errors
///
/// If the directory cannot be read.
pub fn latest(folder: &Path, session: Option<&SessionId>) -> Result<Option<PathBuf>, JournalError> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(JournalError::io(folder)(error)),
    };
    let mut journals: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let modified = entry.metadata().ok()?.modified().ok()?;
            Some((modified, entry.path())).filter(|(_, path)| path.extension().is_some_and(|end| end == "jsonl"))
        })
        .collect();
    journals.sort();
    let mut latest_first = journals.into_iter().rev().map(|(_, path)| path);
    Ok(match session {
        None => latest_first.next(),
        Some(session) => latest_first.find(|path| session_in(path).as_ref() == Some(session)),
    })
}

/// Reads the session of a journal from its first lines.
fn session_in(path: &Path) -> Option<SessionId> {
    let mut lines = FileLines::new(BufReader::new(File::open(path).ok()?), MAX_LINE_BYTES);
    for _ in 0..MAX_SEARCHED_LINES {
        let FileLine::Whole(line) = lines.next().ok()?? else { continue };
        let line = serde_json::from_slice(line);
        if let Ok(JournalLine::Journal { session: Some(session), .. } | JournalLine::Session { session, .. }) = line {
            return Some(session.into_owned());
        }
    }
    None
}
