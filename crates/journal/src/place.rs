//! Where the journals of a directory are.

use crate::error::JournalError;
use crate::line::Line;
use crate::lines::{FileLine, FileLines};
use opencode_run_core::SessionId;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How much of a directory's name its folder bears.
const LONGEST_NAME: usize = 40;
/// How many lines of a journal are looked at for its session, which stands on one of the first.
const FIRST_LINES: usize = 100;
/// The longest of those lines.
const LONGEST_LINE: usize = 16 << 20;

/// Returns the folder for the journals of a task's directory: its name, so that a person finds it, and a hash of its whole
/// path. The path is taken as it stands: absolute, without links.
#[must_use]
pub fn folder_of(journals: &Path, task_dir: &Path) -> PathBuf {
    let name = task_dir.file_name().unwrap_or_default().to_string_lossy();
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let name: String = name.chars().take(LONGEST_NAME).map(safe).collect();
    let hash = Sha256::digest(task_dir.as_os_str().as_encoded_bytes());
    let hash = hash.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
    journals.join(format!("{name}-{hash:016x}"))
}

/// Returns the journal in a folder that was written last, among those of a session if one is named; none where there is
/// none.
///
/// # Errors
///
/// If the folder cannot be read.
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

/// Reads which session a journal is about, from its beginning.
fn session_in(path: &Path) -> Option<SessionId> {
    let mut lines = FileLines::new(BufReader::new(File::open(path).ok()?), LONGEST_LINE);
    for _ in 0..FIRST_LINES {
        let FileLine::Whole(line) = lines.next().ok()?? else { continue };
        let line = serde_json::from_slice(line);
        if let Ok(Line::Journal { session: Some(session), .. } | Line::Session { session, .. }) = line {
            return Some(session.into_owned());
        }
    }
    None
}
