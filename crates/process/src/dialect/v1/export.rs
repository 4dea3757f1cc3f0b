//! `opencode export`, which says what there is of a session.

use super::api::is_id;
use super::stderr::plain;
use crate::dialect::Exported;
use opencode_run_core::SessionId;
use serde::Deserialize;
use std::path::PathBuf;

/// What every id of a session begins with. opencode refuses others in words of its own, and takes a dash for an option.
const PREFIX: &str = "ses";
/// The longest line of stderr that is passed on.
const LONGEST: usize = 300;

/// What stands at the beginning of an export, as far as it matters here.
#[derive(Deserialize)]
struct Info {
    directory: PathBuf,
}

/// Returns whether an id is one that opencode could have given.
pub(crate) fn may_exist(session: &SessionId) -> bool {
    session.as_str().starts_with(PREFIX) && is_id(session.as_str())
}

/// Returns the arguments that export a session.
pub(crate) fn arguments(session: &SessionId) -> [String; 2] {
    ["export".to_owned(), session.to_string()]
}

/// Reads an export, of which the beginning is enough.
pub(crate) fn read(stdout: &[u8], stderr: &[u8]) -> Exported {
    if let Some(directory) = directory_in(stdout) {
        return Exported::Directory(directory);
    }
    let errors = plain(&String::from_utf8_lossy(stderr));
    // What is no id of a session at all is refused in other words.
    if errors.contains("Session not found") || errors.contains("Expected a string starting with \"ses\"") {
        return Exported::NotFound;
    }
    let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim();
    Exported::Nothing(last.chars().take(LONGEST).collect())
}

/// Reads the directory in the beginning of an export, `{"info": {"directory": …}, "messages": …`.
fn directory_in(export: &[u8]) -> Option<PathBuf> {
    let key = b"\"info\":";
    let at = export.windows(key.len()).position(|window| window == key)? + key.len();
    let mut values = serde_json::Deserializer::from_slice(&export[at..]).into_iter::<Info>();
    Some(values.next()?.ok()?.directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_stands_in_the_beginning() {
        let export = br#"{
  "info": {
    "id": "ses_1",
    "directory": "/home/me/task_x",
    "summary": { "files": 0 }
  },
  "messages": [ { "info": { "role": "us"#;
        assert_eq!(read(export, b""), Exported::Directory("/home/me/task_x".into()));
    }

    #[test]
    fn what_is_said_instead_is_passed_on() {
        let error = "\u{1b}[91m\u{1b}[1mError: \u{1b}[0mSession not found: ses_1";
        assert_eq!(read(b"", error.as_bytes()), Exported::NotFound);
        assert_eq!(read(b"{\"info\": {\"id\"", b"no\ndisk is full\n\n"), Exported::Nothing("disk is full".to_owned()));
        assert_eq!(read(b"", b""), Exported::Nothing("it said nothing".to_owned()));
    }
}
