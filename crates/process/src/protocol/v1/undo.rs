//! Finds the last turn of a session, to revert it.

use crate::json_text::parse_repaired;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A message of a session, with the fields that are needed here.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    info: Info,
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Info {
    id: String,
    role: String,
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    synthetic: bool,
    /// Of a step: the state of the files at its beginning.
    #[serde(default)]
    snapshot: Option<String>,
    /// Of a patch: the changed files.
    #[serde(default)]
    files: Vec<PathBuf>,
}

/// The last turn of a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LastTurn {
    /// The id of its message.
    pub(crate) id: String,
    /// Whether opencode knows the state of the files before it.
    pub(crate) has_snapshot: bool,
    /// The files that it changed, according to opencode.
    pub(crate) files: Vec<PathBuf>,
}

/// A session, with the fields that are needed here.
#[derive(Deserialize)]
pub(crate) struct Session {
    #[serde(default)]
    revert: Option<Revert>,
}

#[derive(Deserialize)]
struct Revert {
    #[serde(rename = "messageID")]
    message: String,
}

impl Session {
    /// Returns the id of the message from which on the session is reverted already.
    pub(crate) fn reverted_from(&self) -> Option<&str> {
        self.revert.as_ref().map(|revert| revert.message.as_str())
    }
}

/// Returns the last turn before `reverted_from`; `None` if no turn is left. opencode's ids ascend with time.
pub(crate) fn last_turn(messages: &str, reverted_from: Option<&str>) -> Result<Option<LastTurn>, serde_json::Error> {
    let messages: Vec<Message> = parse_repaired(messages)?;
    let remaining = messages.iter().filter(|message| reverted_from.is_none_or(|from| message.info.id.as_str() < from));
    let remaining: Vec<_> = remaining.collect();
    // opencode writes messages in the name of the user, for example after a compaction.
    let is_of_user = |message: &&Message| {
        message.info.role == "user" && message.parts.iter().any(|part| part.kind == "text" && !part.synthetic)
    };
    let Some(at) = remaining.iter().rposition(is_of_user) else { return Ok(None) };
    let parts = || remaining[at..].iter().flat_map(|message| &message.parts);
    let files: BTreeSet<_> = parts().filter(|part| part.kind == "patch").flat_map(|part| &part.files).collect();
    Ok(Some(LastTurn {
        id: remaining[at].info.id.clone(),
        has_snapshot: parts().any(|part| part.snapshot.is_some()),
        files: files.into_iter().cloned().collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn last_turn_begins_with_the_users_message() {
        let message = |id: &str, role: &str, parts| json!({"info": {"id": id, "role": role}, "parts": parts});
        let step = json!({"type": "step-start", "snapshot": "abc"});
        let patch = json!({"type": "patch", "files": ["/d/b", "/d/a"]});
        let text = json!({"type": "text", "text": "x"});
        let messages = json!([
            message("msg_1", "user", json!([text])),
            message("msg_2", "assistant", json!([{"type": "step-start"}, text])),
            message("msg_3", "user", json!([text])),
            message("msg_4", "assistant", json!([step, patch])),
            message("msg_5", "user", json!([{"type": "text", "synthetic": true}])),
            message("msg_6", "assistant", json!([step, patch])),
        ])
        .to_string();
        let last = last_turn(&messages, None).unwrap().unwrap();
        assert_eq!((last.id.as_str(), last.has_snapshot), ("msg_3", true));
        assert_eq!(last.files, [PathBuf::from("/d/a"), PathBuf::from("/d/b")]);
        let earlier = last_turn(&messages, Some("msg_3")).unwrap().unwrap();
        assert_eq!(earlier, LastTurn { id: "msg_1".to_owned(), has_snapshot: false, files: Vec::new() });
        assert_eq!(last_turn(&messages, Some("msg_1")).unwrap(), None);
        let session: Session = serde_json::from_value(json!({"id": "x", "revert": {"messageID": "msg_3"}})).unwrap();
        assert_eq!(session.reverted_from(), Some("msg_3"));
    }
}
