//! Requests to a server of opencode 2.

use super::api::{self, Data};
use super::{extensions, routing, shape};
use crate::protocol::extensions::Extensions;
use crate::protocol::http::{self, ClientError, Http, text};
use crate::protocol::request::{MAX_ANSWER_BYTES, REQUEST_TIMEOUT, Request};
use crate::protocol::v1::session_model;
use crate::protocol::{KnownModel, SessionEvent};
use crate::session_info::{SessionInfo, SessionModel};
use jsonc_parser::ParseOptions;
use opencode_run_core::{ModelName, SessionId};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How long a directory's models and agents may take to load: a second in a new directory. Until then the lists are
/// empty.
const LOAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a model may be missing from a list that has others: providers are loaded one after the other.
const SETTLE_TIME: Duration = Duration::from_secs(2);
/// The pause between two requests of a list.
const LOAD_INTERVAL: Duration = Duration::from_millis(20);
/// The provider of the models that opencode hosts. They need no key, so opencode falls back to them if a configuration
/// is broken.
pub(crate) const HOSTED: &str = "opencode";
/// The names of configuration files in a configuration directory or a project.
const CONFIG_FILES: [&str; 4] =
    ["opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc"];

/// The client of a server of opencode 2.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: Http,
}

impl Client {
    /// Returns a client over a connection.
    pub(crate) fn new(http: Http) -> Self {
        Self { http }
    }

    fn request(&self, method: Method, route: &str, directory: Option<&Path>) -> RequestBuilder {
        let directory = directory.map(Path::to_string_lossy);
        self.http.request(method, route, directory.as_deref().map(|directory| (api::DIRECTORY, directory)))
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, route: &str, directory: Option<&Path>) -> Result<T, ClientError> {
        http::json(self.request(Method::GET, route, directory)).await
    }

    /// Returns the server's version.
    pub(crate) async fn version(&self) -> Result<String, ClientError> {
        self.get::<api::Info>(api::INFO, None).await.map(|info| info.version)
    }

    /// Returns the version of a server of 2.0.0 to 2.0.3.
    pub(crate) async fn early_version(&self) -> Result<String, ClientError> {
        self.get::<api::Info>(api::EARLY_INFO, None).await.map(|info| info.version)
    }

    /// Opens the stream of events.
    pub(crate) async fn events(&self) -> Result<Response, ClientError> {
        http::events(self.request(Method::GET, api::EVENTS, None)).await
    }

    /// Sends a request of a turn once.
    pub(crate) async fn send(&self, request: Request) -> Result<String, ClientError> {
        self.http.send(request, api::DIRECTORY).await
    }

    /// Creates a session in a directory, with its model.
    pub(crate) async fn new_session(
        &self,
        directory: &Path,
        title: &str,
        model: &ModelName,
        variant: Option<&str>,
        agent: Option<&str>,
    ) -> Result<SessionId, ClientError> {
        let body = api::new_session(directory, title, &api::model(model, variant), agent);
        let request = self.request(Method::POST, api::SESSIONS, None).json(&body);
        let api::Session { id, location, .. } = http::json::<Data<api::Session>>(request).await?.data;
        let is_same = directory == location.directory
            || std::fs::canonicalize(directory).is_ok_and(|directory| directory == location.directory);
        if is_same {
            return Ok(id);
        }
        Err(ClientError::OtherDirectory { asked: directory.to_owned(), answered: location.directory })
    }

    /// Returns the MCP servers and plugins of a directory that cannot be used now.
    pub(crate) async fn extensions(&self, directory: &Path) -> Result<Extensions, ClientError> {
        let servers: Data<Vec<extensions::Server>> = self.get(extensions::MCP, Some(directory)).await?;
        let plugins: Data<Vec<extensions::Plugin>> = self.get(extensions::PLUGINS, Some(directory)).await?;
        Ok(extensions::extensions(servers.data, plugins.data))
    }

    /// Returns a session's directory and model.
    pub(crate) async fn session_info(&self, session: &SessionId) -> Result<SessionInfo, ClientError> {
        let session = self.get::<Data<api::Session>>(&api::session(session, ""), None).await?.data;
        Ok(SessionInfo { directory: session.location.directory, model: session_model::of_session(&session.model) })
    }

    /// Returns whether a session has an active turn.
    pub(crate) async fn is_busy(&self, session: &SessionId) -> Result<bool, ClientError> {
        let active: Data<serde_json::Map<String, Value>> = self.get(api::ACTIVE, None).await?;
        Ok(active.data.contains_key(session.as_str()))
    }

    /// Returns the models of a directory as soon as `wanted` is among them, or when loading has finished.
    pub(crate) async fn models(&self, directory: &Path, wanted: Option<&str>) -> Result<Vec<KnownModel>, ClientError> {
        let began = Instant::now();
        let mut since = None;
        loop {
            let models = self.get::<Data<Vec<api::Model>>>(api::MODELS, Some(directory)).await?.data;
            let models: Vec<_> = models.into_iter().filter(|model| model.enabled).map(known).collect();
            let has_wanted = wanted.is_some_and(|wanted| models.iter().any(|model| model.name == wanted));
            if !models.is_empty() {
                since.get_or_insert_with(Instant::now);
            }
            let is_settled = since.is_some_and(|since: Instant| since.elapsed() >= SETTLE_TIME);
            if has_wanted || is_settled || began.elapsed() >= LOAD_TIMEOUT {
                return Ok(models);
            }
            tokio::time::sleep(LOAD_INTERVAL).await;
        }
    }

    /// Returns the model of a turn that names none: the session's own, or the configured one.
    ///
    /// A model that opencode hosts itself is never returned: opencode falls back to it if a configuration is broken,
    /// and the prompt would leave the machine.
    ///
    /// # Errors
    ///
    /// If no model can be used, with the problem in the configuration.
    pub(crate) async fn default_model(
        &self,
        directory: &Path,
        session: Option<&SessionId>,
    ) -> Result<String, ClientError> {
        if let Some(session) = session
            && let Some(SessionModel::Named(model)) = self.session_info(session).await?.model
        {
            return Ok(model);
        }
        if let Some(why) = self.broken_configuration(directory).await? {
            return Err(ClientError::NoModel(why));
        }
        let began = Instant::now();
        loop {
            let default = self.get::<Data<Option<api::Model>>>(api::DEFAULT_MODEL, Some(directory)).await?.data;
            match default {
                Some(model) if model.provider != HOSTED => return Ok(model.name()),
                Some(model) => {
                    let name = model.name();
                    let why = format!("opencode would send the prompt to {name}, which it hosts itself");
                    return Err(ClientError::NoModel(why));
                }
                None if began.elapsed() >= LOAD_TIMEOUT => {
                    return Err(ClientError::NoModel("it names no model".to_owned()));
                }
                None => tokio::time::sleep(LOAD_INTERVAL).await,
            }
        }
    }

    /// Returns the problem in the user's configuration: opencode ignores parts that it cannot read.
    async fn broken_configuration(&self, directory: &Path) -> Result<Option<String>, ClientError> {
        #[derive(Deserialize)]
        struct Source {
            #[serde(rename = "type", default)]
            kind: String,
            #[serde(default)]
            path: Option<PathBuf>,
            #[serde(default)]
            info: Value,
        }
        let answer: Value = self.get(api::CONFIG, Some(directory)).await?;
        let list = answer.get("data").cloned().unwrap_or(answer);
        let sources: Vec<Source> = serde_json::from_value(list).unwrap_or_default();
        let mut directories = vec![directory.to_owned()];
        directories.extend(
            sources.iter().filter(|source| source.kind == "directory").filter_map(|source| source.path.clone()),
        );
        let files = directories.iter().flat_map(|directory| CONFIG_FILES.map(|name| directory.join(name)));
        if let Some(why) = files.into_iter().find_map(|file| unreadable(&file)) {
            return Ok(Some(why));
        }
        let named = sources.iter().rev().find_map(|source| model_of(&source.info["model"]));
        let Some(named) = named else { return Ok(None) };
        let models = self.models(directory, Some(&named)).await?;
        let is_there = models.iter().any(|model| model.name == named);
        Ok((!is_there).then(|| format!("its model {named} does not exist")))
    }

    /// Returns whether all agents of a directory that have their own model can use it.
    pub(crate) async fn has_models_of_agents(&self, directory: &Path) -> Result<bool, ClientError> {
        let began = Instant::now();
        let agents = loop {
            let agents = self.get::<Data<Vec<api::Agent>>>(api::AGENTS, Some(directory)).await?.data;
            if !agents.is_empty() || began.elapsed() >= LOAD_TIMEOUT {
                break agents;
            }
            tokio::time::sleep(LOAD_INTERVAL).await;
        };
        let own: Vec<_> = agents.into_iter().filter_map(|agent| agent.model).collect();
        if own.is_empty() {
            return Ok(true);
        }
        let models = self.models(directory, None).await?;
        let has = |model: &api::AgentModel| {
            models.iter().any(|known| known.name == format!("{}/{}", model.provider, model.id))
        };
        Ok(own.iter().all(has))
    }

    /// Parses an event of the stream; `None` if it belongs to no session.
    #[expect(clippy::unused_self, reason = "the other generation's client has the same method")]
    pub(crate) fn read_event(&self, data: &str) -> Option<SessionEvent> {
        routing::route(data)
    }

    /// Evicts a directory from the server's memory.
    pub(crate) async fn dispose(&self, directory: &Path) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, api::LOCATION, Some(directory));
        text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await.map(drop)
    }

    /// Deletes a session.
    pub(crate) async fn delete_session(&self, session: &SessionId) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &api::session(session, ""), None);
        text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await.map(drop)
    }
}

fn known(model: api::Model) -> KnownModel {
    let name = model.name();
    KnownModel { name, variants: Some(model.variants.into_iter().map(|variant| variant.id).collect()) }
}

/// Returns the model in a configuration, which is a text or an object.
fn model_of(model: &Value) -> Option<String> {
    match model {
        Value::String(name) => Some(name.clone()),
        Value::Object(parts) => {
            let text = |name: &str| parts.get(name).and_then(Value::as_str);
            Some(format!("{}/{}", text("providerID")?, text("model").or_else(|| text("id"))?))
        }
        _ => None,
    }
}

/// Returns the problem in a configuration file, without quoting it: it may contain keys.
fn unreadable(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    match jsonc_parser::parse_to_serde_value::<Value>(&text, &ParseOptions::default()) {
        Ok(Value::Object(config)) => shape::wrong(&config).map(|why| format!("{}: {why}", file.display())),
        Ok(_) => Some(format!("{}: it is not an object", file.display())),
        Err(error) => Some(format!("{}: it is not JSON at line {}", file.display(), error.line_display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn broken_configuration_file_is_named_and_not_quoted() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("opencode.json");
        let wrong = |text: &str| {
            std::fs::write(&file, text).unwrap();
            unreadable(&file).map(|why| why.replace(&*file.to_string_lossy(), "FILE"))
        };
        assert_eq!(wrong("{\"apiKey\": \"sk-1\" oops"), Some("FILE: it is not JSON at line 1".to_owned()));
        assert_eq!(wrong("[]"), Some("FILE: it is not an object".to_owned()));
        assert_eq!(wrong(r#"{"model": 7}"#), Some("FILE: `model` has the wrong type".to_owned()));
        assert_eq!(wrong(r#"{"provider": 7}"#), Some("FILE: `provider` has the wrong type".to_owned()));
        assert!(wrong(r#"{"provider": {}, "providers": {}}"#).is_some());
        assert_eq!(wrong("{ // mine\n \"model\": \"a/b\", }"), None);
        assert_eq!(unreadable(&place.path().join("absent.json")), None);
    }

    #[test]
    fn configured_model_is_read_in_both_forms() {
        assert_eq!(model_of(&json!("a/b")).as_deref(), Some("a/b"));
        assert_eq!(model_of(&json!({"providerID": "a", "model": "b"})).as_deref(), Some("a/b"));
        assert_eq!(model_of(&json!(null)), None);
    }
}
