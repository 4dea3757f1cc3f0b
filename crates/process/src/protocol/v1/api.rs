//! The server's routes, the bodies of requests, and the errors of refused requests.

use super::config_errors;
use crate::protocol::ids;
use opencode_run_core::{ModelName, PermissionAnswer, Prompt, SessionId, TurnFailure};
use reqwest::Url;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// The variable for the server's password.
pub(crate) const PASSWORD: &str = "OPENCODE_SERVER_PASSWORD";
/// The route for the server's version.
pub(crate) const HEALTH: &str = "/global/health";
/// The route for the events of all directories.
pub(crate) const EVENTS: &str = "/global/event";
/// The route for the busy sessions.
pub(crate) const STATUS: &str = "/session/status";
/// The route for the agents.
pub(crate) const AGENTS: &str = "/agent";
/// The route that evicts a directory.
pub(crate) const DISPOSE: &str = "/instance/dispose";
/// The route for the models that can be used.
pub(crate) const PROVIDERS: &str = "/config/providers";
/// The route for pending permission requests.
pub(crate) const PERMISSIONS: &str = "/permission";
/// The route for pending questions.
pub(crate) const QUESTIONS: &str = "/question";
/// The route for new sessions.
pub(crate) const SESSIONS: &str = "/session";
/// The parameter for a directory.
pub(crate) const DIRECTORY: &str = "directory";

/// The arguments of a server.
pub(crate) const ARGUMENTS: [&str; 8] =
    ["serve", "--hostname", "127.0.0.1", "--port", "0", "--print-logs", "--log-level", "ERROR"];

/// Returns the address in the line that a server prints when it listens.
pub(crate) fn listening(line: &str) -> Option<Url> {
    let (_, address) = line.split_once("listening on ")?;
    Url::parse(address.trim()).ok().filter(|url| url.scheme() == "http" && url.has_host())
}

/// The answer to [`HEALTH`].
#[derive(Deserialize)]
pub(crate) struct Health {
    pub(crate) version: String,
}

/// A session, with the fields that are needed here.
#[derive(Deserialize)]
pub(crate) struct SessionInfo {
    #[serde(deserialize_with = "ids::read")]
    pub(crate) id: SessionId,
    pub(crate) directory: PathBuf,
    /// The model of its last turn; absent before 1.14 and before the first turn.
    #[serde(default)]
    pub(crate) model: Value,
}

/// An agent, with the fields that are needed here.
#[derive(Deserialize)]
pub(crate) struct Agent {
    pub(crate) name: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    model: Option<AgentModel>,
}

/// The model of an agent that has its own.
#[derive(Deserialize)]
struct AgentModel {
    #[serde(rename = "providerID")]
    provider: String,
    #[serde(rename = "modelID")]
    model: String,
}

/// The models that can be used.
#[derive(Deserialize)]
pub(crate) struct Providers {
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
struct Provider {
    id: String,
    models: HashMap<String, Model>,
}

#[derive(Deserialize)]
struct Model {
    /// Without disabled variants. Early versions do not list them.
    #[expect(clippy::zero_sized_map_values, reason = "a set in the form of a map: the skipped values are long")]
    variants: Option<HashMap<String, IgnoredAny>>,
}

/// A model that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownModel {
    /// Its name in messages.
    pub(crate) name: String,
    /// The names of its variants; `None` if the server does not list them.
    pub(crate) variants: Option<Vec<String>>,
}

impl Agent {
    /// Returns whether it can run a turn.
    pub(crate) fn leads(&self) -> bool {
        self.mode != "subagent"
    }

    /// Returns whether it has its own model.
    pub(crate) fn has_model(&self) -> bool {
        self.model.is_some()
    }
}

impl Providers {
    /// Returns all models.
    pub(crate) fn into_models(self) -> Vec<KnownModel> {
        let of = |Provider { id, models }: Provider| {
            models.into_iter().map(move |(name, Model { variants })| KnownModel {
                name: format!("{id}/{name}"),
                variants: variants.map(|variants| variants.into_keys().collect()),
            })
        };
        self.providers.into_iter().flat_map(of).collect()
    }

    /// Returns whether the model of an agent exists; true if the agent has none of its own.
    pub(crate) fn have_model_of(&self, agent: &Agent) -> bool {
        let has = |model: &AgentModel| {
            self.providers.iter().any(|known| known.id == model.provider && known.models.contains_key(&model.model))
        };
        agent.model.as_ref().is_none_or(has)
    }
}

pub(crate) fn session(session: &str) -> String {
    format!("/session/{session}")
}

pub(crate) fn messages(session: &str) -> String {
    format!("/session/{session}/message")
}

/// Returns the route that reverts a session, given that of the session.
pub(crate) fn revert(session: &str) -> String {
    format!("{session}/revert")
}

pub(crate) fn abort(session: &str) -> String {
    format!("/session/{session}/abort")
}

pub(crate) fn children(session: &str) -> String {
    format!("/session/{session}/children")
}

pub(crate) fn permission_reply(id: &str) -> String {
    format!("/permission/{id}/reply")
}

pub(crate) fn question_reject(id: &str) -> String {
    format!("/question/{id}/reject")
}

/// Returns a message id in opencode's own form, so that ids sort by age: the time in milliseconds times 4096 plus a
/// counter, 48 bits of it in hexadecimal, then 14 random letters and digits.
pub(crate) fn message_id(now: SystemTime) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let ms = now.duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0));
    let count = COUNT.fetch_add(1, Ordering::Relaxed) % 0x1000;
    let time = (ms.wrapping_mul(0x1000) + count) & 0xffff_ffff_ffff;
    let chance = Uuid::new_v4().simple().to_string();
    format!("msg_{time:012x}{}", &chance[..14])
}

/// Returns the body of a new session.
pub(crate) fn new_session(title: &str) -> Value {
    json!({ "title": title })
}

/// Returns the body of a message. `model` is the name for opencode, `provider/model`.
pub(crate) fn message(id: &str, prompt: &Prompt, model: Option<&str>) -> Value {
    let mut parts = vec![json!({ "type": "text", "text": prompt.message })];
    parts.extend(prompt.files.iter().map(|file| file_part(file)));
    let mut body = Map::new();
    body.insert("messageID".to_owned(), json!(id));
    body.insert("parts".to_owned(), Value::Array(parts));
    if let Some(name) = model.and_then(|model| model.parse::<ModelName>().ok()) {
        body.insert("model".to_owned(), json!({ "providerID": name.provider(), "modelID": name.model() }));
    }
    for (key, value) in
        [("agent", &prompt.options.agent), ("variant", &prompt.options.variant), ("system", &prompt.options.context)]
    {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            body.insert(key.to_owned(), json!(value));
        }
    }
    if let Some(schema) = &prompt.schema {
        body.insert("format".to_owned(), json!({ "type": "json_schema", "schema": schema }));
    }
    Value::Object(body)
}

fn file_part(file: &Path) -> Value {
    let url = Url::from_file_path(file).map_or_else(|()| format!("file://{}", file.display()), String::from);
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    json!({ "type": "file", "mime": mime(file), "filename": name, "url": url })
}

/// Returns the MIME type for files that models take directly; opencode reads all others as text.
fn mime(file: &Path) -> &'static str {
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        _ => "text/plain",
    }
}

/// Returns the body of an answer to a permission request. A refusal without a reason ends the turn.
pub(crate) fn permission_answer(answer: &PermissionAnswer) -> Value {
    match answer {
        PermissionAnswer::Once => json!({ "reply": "once" }),
        PermissionAnswer::Always => json!({ "reply": "always" }),
        // Without a message opencode ends the turn; with one the agent reads it and continues.
        PermissionAnswer::Reject { reason } if !reason.is_empty() => json!({ "reply": "reject", "message": reason }),
        _ => json!({ "reply": "reject" }),
    }
}

/// The body of a refused request.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Refusal {
    name: String,
    message: Option<String>,
    data: RefusalData,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct RefusalData {
    message: Option<String>,
    /// The reference to the error in the server's log.
    #[serde(rename = "ref")]
    reference: Option<String>,
    /// The rejected configuration file.
    path: Option<String>,
    /// The problems in it.
    issues: Vec<Issue>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Issue {
    message: String,
    path: Vec<Value>,
}

impl Refusal {
    /// Returns the problems in the user's configuration of opencode, if the request was refused because of them.
    ///
    /// opencode quotes the configuration, which may contain keys: only the description of the problems is returned.
    pub(crate) fn configuration(&self) -> Option<String> {
        if !self.name.starts_with("Config") {
            return None;
        }
        let Self { data, .. } = self;
        let issues = data.issues.iter().map(|Issue { message, path }| {
            let place: Vec<_> = path.iter().map(|step| step.to_string().replace('"', "")).collect();
            if place.is_empty() { message.clone() } else { format!("{message} at {}", place.join(".")) }
        });
        let message = data.message.as_deref().map(config_errors::in_message).unwrap_or_default();
        let path = data.path.as_deref().unwrap_or("opencode's configuration");
        Some(config_errors::join(path, issues.chain(message)))
    }

    /// Returns the reference to the error in the server's log.
    pub(crate) fn reference(&self) -> Option<&str> {
        self.data.reference.as_deref()
    }

    /// Returns the message of the error, if it has one.
    pub(crate) fn message(self) -> Option<String> {
        let said = [Some(self.name), self.data.message.or(self.message)];
        let said: Vec<_> = said.into_iter().flatten().filter(|words| !words.trim().is_empty()).collect();
        if said.is_empty() { None } else { Some(said.join(": ")) }
    }
}

/// Returns an explanation for a message that was refused without a reason.
///
/// opencode gives no reason if an attached file is not of the kind that its name suggests, such as a `.png` that is
/// not an image.
pub(crate) fn unexplained(message: &Value) -> String {
    let parts = message["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let urls = parts.iter().filter(|part| part["type"] == "file").filter_map(|part| part["url"].as_str());
    let path = |url: &str| Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
    let files: Vec<_> =
        urls.map(|url| path(url).map_or_else(|| url.to_owned(), |file| file.display().to_string())).collect();
    let refused = "opencode refuses the message and gives no reason";
    match files.as_slice() {
        [] => refused.to_owned(),
        [file] => format!(
            "{refused}; the attached file may be the cause, if it is not of the kind that its name suggests: {file}"
        ),
        files => format!(
            "{refused}; one of the attached files may be the cause, if it is not of the kind that its name suggests: {}",
            files.join(", ")
        ),
    }
}

/// Returns the failure in the line of the server's log that a refused request refers to.
pub(crate) fn explain(log: &str) -> Option<TurnFailure> {
    if let super::stderr::StderrLine::ModelNotFound { message } = super::stderr::read(log) {
        return Some(TurnFailure::ModelNotFound { message });
    }
    let (_, error) = log.split_once("error=\"")?;
    let error = unquote(error);
    let message = error.trim_start_matches("Error: ");
    if let Some(path) = config_errors::unreadable(message) {
        return Some(TurnFailure::Configuration { message: format!("{path}: it cannot be read") });
    }
    if message.starts_with("default agent ") {
        return Some(TurnFailure::Configuration { message: message.to_owned() });
    }
    Some(TurnFailure::Opencode { message: message.to_owned() })
}

/// Returns a text of the log up to its closing quote, unescaped.
fn unquote(text: &str) -> String {
    let mut unquoted = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next().filter(|char| *char != '"') {
        match if char == '\\' { chars.next().map(|escaped| (true, escaped)) } else { Some((false, char)) } {
            Some((true, 'n')) => unquoted.push('\n'),
            Some((true, 't')) => unquoted.push('\t'),
            Some((_, char)) => unquoted.push(char),
            None => {}
        }
    }
    unquoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn message_ids_match_opencode_and_ascend() {
        // opencode 1.18.33 gave a message of this time the id msg_20390964a00120lWWcXIau9wq0.
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let id = message_id(at(1_795_356_137_034));
        assert!(id.starts_with("msg_20390964a") && id.len() == 30, "{id}");
        assert!(message_id(at(1_795_356_137_035)) > id);
    }

    #[test]
    fn listening_line_names_the_address() {
        let url = listening("opencode server listening on http://127.0.0.1:4096").unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:4096/");
        assert_eq!(listening("Warning: the server is unsecured"), None);
    }

    #[test]
    fn message_contains_the_request() {
        let prompt =
            Prompt::new("hi").agent("plan").context("be brief").file("/a b.png").schema(json!({"type": "object"}));
        insta::assert_json_snapshot!(message("msg_1", &prompt, Some("p/m/x")));
    }

    #[test]
    fn agents_own_model_is_found() {
        let models = json!({"m/x": {"variants": {"high": {"reasoningEffort": "high"}}}});
        let providers: Providers =
            serde_json::from_value(json!({"providers": [{"id": "p", "models": models}], "default": {}})).unwrap();
        let known = |agent: Value| {
            let agent: Agent = serde_json::from_value(agent).unwrap();
            (agent.has_model(), agent.leads(), providers.have_model_of(&agent))
        };
        assert_eq!(known(json!({"name": "build", "mode": "primary"})), (false, true, true));
        let own = |provider: &str| json!({"name": "a", "mode": "subagent", "model": {"providerID": provider, "modelID": "m/x"}});
        assert_eq!(known(own("p")), (true, false, true));
        assert_eq!(known(own("q")), (true, false, false));
        let known = KnownModel { name: "p/m/x".to_owned(), variants: Some(vec!["high".to_owned()]) };
        assert_eq!(providers.into_models(), [known]);
    }

    #[test]
    fn refused_configuration_is_not_quoted() {
        let refused = |json: Value| serde_json::from_value::<Refusal>(json).unwrap().configuration();
        let text = "\n--- JSONC Input ---\n{\"apiKey\": \"sk-1\" oops}\n--- Errors ---\nInvalidSymbol at line 1, column 18\n   \
                    Line 1: {\"apiKey\": \"sk-1\" oops}\n                     ^\n--- End ---";
        let broken = json!({"name": "ConfigJsonError", "data": {"path": "/x/opencode.json", "message": text}});
        assert_eq!(refused(broken).as_deref(), Some("/x/opencode.json: InvalidSymbol at line 1, column 18"));
        let issues = json!([{"code": "invalid_type", "path": ["provider", "x", 0], "message": "Invalid input"}]);
        let invalid = json!({"name": "ConfigInvalidError", "data": {"path": "/x.json", "issues": issues}});
        assert_eq!(refused(invalid).as_deref(), Some("/x.json: Invalid input at provider.x.0"));
        assert_eq!(refused(json!({"name": "UnknownError", "data": {"message": "x"}})), None);
    }

    #[test]
    fn refused_configuration_reason_is_complete() {
        let refused = |data: Value| {
            serde_json::from_value::<Refusal>(json!({"name": "ConfigInvalidError", "data": data}))
                .unwrap()
                .configuration()
        };
        let missing = "bad file reference: \"{file:./missing}\" /w/missing does not exist";
        let reason = refused(json!({"path": "/w/opencode.json", "message": missing}));
        assert_eq!(reason.as_deref(), Some(&*format!("/w/opencode.json: {missing}")));
        let message = "SchemaError: Expected string, got 7\n  at [\"agent\"]";
        let reason = refused(json!({"path": "/w/x.md", "message": message}));
        assert_eq!(reason.as_deref(), Some("/w/x.md: SchemaError: Expected string, got 7; at [\"agent\"]"));
        let issues = json!([{"path": [], "message": "Unrecognized key"}, {"path": ["a"], "message": "Expected b"}]);
        let reason = refused(json!({"path": "/w/opencode.json", "issues": issues}));
        assert_eq!(reason.as_deref(), Some("/w/opencode.json: Unrecognized key; Expected b at a"));
    }

    #[test]
    fn log_is_unescaped() {
        let log =
            |error: &str| format!("timestamp=1 level=ERROR message=failed ref=err_1 error=\"{error}\" cause=\"x\"");
        let message = "default agent \"nope\" not found".to_owned();
        let failure = explain(&log("Error: default agent \\\"nope\\\" not found"));
        assert_eq!(failure, Some(TurnFailure::Configuration { message }));
        let failure = explain(&log("TypeError: a \\\\ b\\n\\\"c\\\""));
        assert_eq!(failure, Some(TurnFailure::Opencode { message: "TypeError: a \\ b\n\"c\"".to_owned() }));
        let directory = "PlatformError: BadResource: FileSystem.readFile (/w/opencode.json) (cause: Error: EISDIR)";
        let message = "/w/opencode.json: it cannot be read".to_owned();
        assert_eq!(explain(&log(directory)), Some(TurnFailure::Configuration { message }));
    }

    #[test]
    fn refusal_without_text_has_no_message() {
        let said = |json: Value| serde_json::from_value::<Refusal>(json).unwrap().message();
        assert_eq!(said(json!({"_tag": "BadRequest"})), None);
        assert_eq!(said(json!({"message": "why"})).as_deref(), Some("why"));
        assert_eq!(said(json!({"name": "BadRequest"})).as_deref(), Some("BadRequest"));
        assert_eq!(said(json!({"name": "E", "data": {"message": "why"}})).as_deref(), Some("E: why"));
    }

    #[test]
    fn unexplained_refusal_names_attached_files() {
        let said = |prompt: &Prompt| unexplained(&message("msg_1", prompt, None));
        let prompt = Prompt::new("hi");
        assert_eq!(said(&prompt), "opencode refuses the message and gives no reason");
        let prompt = prompt.file("/a b.png");
        assert!(said(&prompt).contains("the attached file may be the cause"));
        assert!(said(&prompt).ends_with(": /a b.png"));
        let prompt = prompt.file("/c.txt");
        assert!(said(&prompt).contains("one of the attached files may be the cause"));
        assert!(said(&prompt).ends_with(": /a b.png, /c.txt"));
    }

    #[test]
    fn log_explains_a_refusal() {
        let log = "timestamp=1 level=ERROR message=failed ref=err_1 error=\"ProviderModelNotFoundError: Model not found: a/b.\"";
        let failure = TurnFailure::ModelNotFound { message: "Model not found: a/b".to_owned() };
        assert_eq!(explain(log), Some(failure));
    }
}
