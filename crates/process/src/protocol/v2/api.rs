//! The server's routes, and the bodies of requests.

use crate::Version;
use crate::json_text::parse;
use opencode_run_core::{ModelName, PermissionAnswer, Prompt, SessionId};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The oldest supported version. 2.0.0 to 2.0.3 have other routes and another field for the answer to a permission
/// request.
pub(crate) const OLDEST: Version = Version::new(2, 0, 4);
/// The variable for the server's password.
pub(crate) const PASSWORD: &str = "OPENCODE_PASSWORD";
/// The arguments of a server. It exits when its stdin is closed.
pub(crate) const ARGUMENTS: [&str; 4] = ["serve", "--stdio", "--port", "0"];

/// The route for the server's version.
pub(crate) const INFO: &str = "/api/info";
/// The route for the version of 2.0.0 to 2.0.3.
pub(crate) const EARLY_INFO: &str = "/api/health";
/// The route for the events of all directories.
pub(crate) const EVENTS: &str = "/api/event";
/// The route for the busy sessions.
pub(crate) const ACTIVE: &str = "/api/session/active";
/// The route for the agents of a directory.
pub(crate) const AGENTS: &str = "/api/agent";
/// The route for the models of a directory.
pub(crate) const MODELS: &str = "/api/model";
/// The route for the default model.
pub(crate) const DEFAULT_MODEL: &str = "/api/model/default";
/// The route for the configuration as opencode understood it.
pub(crate) const CONFIG: &str = "/api/config";
/// The route for pending permission requests.
pub(crate) const PERMISSIONS: &str = "/api/permission/request";
/// The route for pending forms.
pub(crate) const FORMS: &str = "/api/form";
/// The route for sessions.
pub(crate) const SESSIONS: &str = "/api/session";
/// The parameter that lists only the sessions that this session has started.
pub(crate) const PARENT: &str = "parentID";
/// The parameter for the number of items in an answer. Without it, the server answers with at most 50.
pub(crate) const LIMIT: &str = "limit";
/// The largest number of messages in an answer: a larger limit is refused.
pub(crate) const MAX_MESSAGES: usize = 200;
/// The parameter for the next items of a list.
pub(crate) const CURSOR: &str = "cursor";
/// The route that evicts a directory.
pub(crate) const LOCATION: &str = "/api/debug/location";
/// The parameter for a directory. The server also accepts `directory`, but answers for another directory then.
pub(crate) const DIRECTORY: &str = "location[directory]";

/// The key of the instructions entry with the system prompt of a turn and the schema of its answer. It is one entry, since each
/// request costs some milliseconds.
pub(crate) const ENTRY: &str = "opencode-run";

/// The envelope of an answer.
#[derive(Deserialize)]
pub(crate) struct Data<T> {
    pub(crate) data: T,
}

/// The answer to [`INFO`].
#[derive(Deserialize)]
pub(crate) struct Info {
    pub(crate) version: String,
}

/// A directory.
#[derive(Deserialize)]
pub(crate) struct Location {
    pub(crate) directory: PathBuf,
}

/// A session, with the fields that are needed here.
#[derive(Deserialize)]
pub(crate) struct Session {
    #[serde(deserialize_with = "crate::protocol::ids::read")]
    pub(crate) id: SessionId,
    pub(crate) location: Location,
    #[serde(default)]
    pub(crate) model: Value,
}

/// A model of a directory.
#[derive(Deserialize)]
pub(crate) struct Model {
    pub(crate) id: String,
    #[serde(rename = "providerID")]
    pub(crate) provider: String,
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    #[serde(default)]
    pub(crate) variants: Vec<Variant>,
}

/// A variant of a model.
#[derive(Deserialize)]
pub(crate) struct Variant {
    pub(crate) id: String,
}

/// An agent of a directory, with the fields that are needed here.
#[derive(Deserialize)]
pub(crate) struct Agent {
    #[serde(default)]
    pub(crate) model: Option<AgentModel>,
}

/// The model of an agent that has its own.
#[derive(Deserialize)]
pub(crate) struct AgentModel {
    pub(crate) id: String,
    #[serde(rename = "providerID")]
    pub(crate) provider: String,
}

fn yes() -> bool {
    true
}

impl Model {
    /// Returns its name for a turn.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.provider, self.id)
    }
}

/// Returns the address in the line that a server prints when it listens.
pub(crate) fn listening(line: &str) -> Option<Url> {
    #[derive(Deserialize)]
    struct Ready {
        url: String,
    }
    let Ready { url } = parse(line.trim()).ok()?;
    let url = Url::parse(&url).ok()?;
    (url.scheme() == "http" && url.has_host()).then_some(url)
}

/// Returns the route of a session, or of a part of it.
pub(crate) fn session(session: &SessionId, part: &str) -> String {
    let slash = if part.is_empty() { "" } else { "/" };
    format!("{SESSIONS}/{session}{slash}{part}")
}

/// Returns the route of a session's instructions entry.
pub(crate) fn entry(session: &SessionId, key: &str) -> String {
    format!("/api/experimental/session/{session}/instructions/entries/{key}")
}

/// Returns a session's reference to a model.
pub(crate) fn model(name: &ModelName, variant: Option<&str>) -> Value {
    let mut model = json!({ "providerID": name.provider(), "id": name.model() });
    if let Some(variant) = variant {
        model["variant"] = json!(variant);
    }
    model
}

/// Returns the body of a new session. The model is always named: without it, a broken configuration would make opencode
/// send the prompt to a model that it hosts itself.
pub(crate) fn new_session(directory: &Path, title: &str, model: &Value, agent: Option<&str>) -> Value {
    let mut body = json!({ "title": title, "model": model, "location": { "directory": directory.to_string_lossy() } });
    if let Some(agent) = agent {
        body["agent"] = json!(agent);
    }
    body
}

/// Returns the body of a prompt.
pub(crate) fn prompt(id: &str, prompt: &Prompt) -> Value {
    let mut body = Map::new();
    body.insert("id".to_owned(), json!(id));
    body.insert("text".to_owned(), json!(prompt.message));
    if !prompt.files.is_empty() {
        body.insert("files".to_owned(), prompt.files.iter().map(|file| attachment(file)).collect());
    }
    Value::Object(body)
}

fn attachment(file: &Path) -> Value {
    let uri = Url::from_file_path(file).map_or_else(|()| format!("file://{}", file.display()), String::from);
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    json!({ "uri": uri, "name": name })
}

/// Returns the body of an answer to a permission request. A rejection without a message ends the turn.
pub(crate) fn decision(answer: &PermissionAnswer) -> Value {
    match answer {
        PermissionAnswer::Once => json!({ "decision": "once" }),
        PermissionAnswer::Always => json!({ "decision": "always" }),
        PermissionAnswer::Reject { reason } if !reason.is_empty() => json!({ "decision": "reject", "message": reason }),
        _ => json!({ "decision": "reject" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_line_names_the_address() {
        let url = listening("{\"url\":\"http://127.0.0.1:38269\"}\n").unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:38269/");
        for other in ["", "opencode server listening on http://127.0.0.1:4096", "{\"url\":\"file:///x\"}", "{}"] {
            assert_eq!(listening(other), None, "{other}");
        }
    }

    #[test]
    fn prompt_and_session_contain_the_request() {
        let file = Prompt::new("hi").file("/a b.png");
        let body = json!({"id": "msg_1", "text": "hi", "files": [{"uri": "file:///a%20b.png", "name": "a b.png"}]});
        assert_eq!(prompt("msg_1", &file), body);
        let model = model(&"p/m/x".parse().unwrap(), Some("high"));
        assert_eq!(model, json!({"providerID": "p", "id": "m/x", "variant": "high"}));
        let body = new_session(Path::new("/w"), "t", &model, Some("plan"));
        assert_eq!(
            (&body["agent"], &body["location"]["directory"], &body["model"]),
            (&json!("plan"), &json!("/w"), &model)
        );
        let session_id = SessionId::new("ses_1");
        assert_eq!(
            (session(&session_id, ""), session(&session_id, "prompt")),
            ("/api/session/ses_1".into(), "/api/session/ses_1/prompt".into())
        );
    }
}
