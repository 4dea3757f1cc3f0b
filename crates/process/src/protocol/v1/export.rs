//! The output of `opencode export`, which contains a session.

use super::session_model;
use super::stderr::plain;
use crate::json_text::{parse, parse_beginning};
use crate::protocol::Exported;
use crate::protocol::ids::is_id;
use crate::session_info::SessionInfo;
use opencode_run_core::SessionId;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;

/// The prefix of every session id. opencode rejects other ids with other messages, and treats a leading dash as an
/// option.
const PREFIX: &str = "ses";
/// The maximum number of characters that are returned of a line of stderr.
const MAX_MESSAGE_CHARS: usize = 300;

/// The start of an export, with the fields that are needed here.
#[derive(Deserialize)]
struct Info {
    directory: PathBuf,
    #[serde(default)]
    model: Value,
}

/// A complete export.
#[derive(Deserialize)]
struct Messages {
    messages: Vec<Value>,
}

/// Returns whether opencode could have assigned an id.
pub(crate) fn may_exist(session: &SessionId) -> bool {
    session.as_str().starts_with(PREFIX) && is_id(session.as_str())
}

/// Returns the arguments that export a session.
pub(crate) fn arguments(session: &SessionId) -> [String; 2] {
    ["export".to_owned(), session.to_string()]
}

/// Parses an export. Its start is enough, except for a version that names the model only in the messages.
pub(crate) fn read(stdout: &[u8], stderr: &[u8]) -> Exported {
    if let Some(Info { directory, model }) = info_in(stdout) {
        let model = session_model::of_session(&model).or_else(|| session_model::of_messages(&messages_in(stdout)));
        return Exported::Session(SessionInfo { directory, model });
    }
    let errors = plain(&String::from_utf8_lossy(stderr));
    // A text that is not a session id is rejected with another message.
    if errors.contains("Session not found") || errors.contains("Expected a string starting with \"ses\"") {
        return Exported::NotFound;
    }
    let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it printed nothing").trim();
    Exported::Nothing(last.chars().take(MAX_MESSAGE_CHARS).collect())
}

/// Parses the session at the start of an export, `{"info": {"directory": …}, "messages": …`.
fn info_in(export: &[u8]) -> Option<Info> {
    let key = b"\"info\":";
    let at = export.windows(key.len()).position(|window| window == key)? + key.len();
    parse_beginning(&String::from_utf8_lossy(&export[at..]))
}

/// Parses the messages of an export; returns none if it is incomplete.
fn messages_in(export: &[u8]) -> Vec<Value> {
    let start = export.iter().position(|byte| *byte == b'{').unwrap_or_default();
    let text = String::from_utf8_lossy(&export[start..]);
    parse(&text).map(|Messages { messages }| messages).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session_info::SessionModel;
    use opencode_run_core::ModelSourceType;

    #[test]
    fn start_of_export_names_the_directory() {
        let export = br#"{
  "info": {
    "id": "ses_1",
    "directory": "/home/me/task_x",
    "summary": { "files": 0 }
  },
  "messages": [ { "info": { "role": "us"#;
        let info = SessionInfo { directory: "/home/me/task_x".into(), model: None };
        assert_eq!(read(export, b""), Exported::Session(info));
    }

    #[test]
    fn half_surrogate_pair_in_session_is_read() {
        let export =
            br#"{"info": {"title": "\ud83d", "directory": "/d\ud83d", "model": {"id": "\ud83d"}}, "messages": ["#;
        let info = SessionInfo { directory: "/d\u{fffd}".into(), model: None };
        assert_eq!(read(export, b""), Exported::Session(info));
    }

    #[test]
    fn model_is_in_session_or_messages() {
        let model_in = |export: &str| match read(export.as_bytes(), b"") {
            Exported::Session(info) => info.model,
            other => panic!("{other:?}"),
        };
        let code =
            |model: &str| Some(SessionModel::Source { source_type: ModelSourceType::Code, model: model.to_owned() });
        let newer =
            r#"{"info": {"directory": "/d", "model": {"id": "m", "providerID": "opencode-run-code"}}, "messages": ["#;
        assert_eq!(model_in(newer), code("m"));
        let older = r#"{"info": {"directory": "/d"}, "messages": [{"info": {"role": "user", "model": {"providerID":
            "opencode-run-code", "modelID": "n"}}, "parts": []}]}"#;
        assert_eq!(model_in(older), code("n"));
        assert_eq!(model_in(&older[..older.len() - 2]), None, "an export that was cut");
    }

    #[test]
    fn unexpected_export_output_is_the_reason() {
        let error = "\u{1b}[91m\u{1b}[1mError: \u{1b}[0mSession not found: ses_1";
        assert_eq!(read(b"", error.as_bytes()), Exported::NotFound);
        assert_eq!(read(b"{\"info\": {\"id\"", b"no\ndisk is full\n\n"), Exported::Nothing("disk is full".to_owned()));
        assert_eq!(read(b"", b""), Exported::Nothing("it printed nothing".to_owned()));
    }
}
