//! The settings that are fixed when opencode starts: models, configuration, and the parts to leave out.

use crate::environment::Environment;
use crate::model_route::ModelRoute;
use crate::protocol::{EmptyCatalog, LaunchSpec, Purpose, Rendered, Variables};
use crate::redaction::Redaction;
use crate::shared_sources::SharedSources;
use crate::{Launch, cache_file};
use opencode_run_containment::blocking;
use opencode_run_core::{ExposeSecret, FailureKind, ModelChoice, ModelConfig, Remedy, SecretString, StartError};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempPath;

/// The name of the empty catalog in the cache directory.
const EMPTY_CATALOG: &str = "no-models.json";

/// The settings that are fixed when opencode starts: two turns with the same key can share a server.
#[derive(Clone, Default)]
pub(crate) struct LaunchKey {
    /// Variables that are added to the caller's, in a fixed order, rendered without the key of the model source.
    variables: Variables,
    model: Option<ModelChoice>,
    /// The model sources that are described, see [`LaunchSpec::sources`].
    sources: Vec<ModelChoice>,
    agent: Option<String>,
    purpose: Purpose,
    /// Whether opencode gets an empty catalog, so that it knows only the models in its configuration.
    empty_catalog: bool,
}

/// The resources of a started opencode. Keep it for as long as opencode lives.
#[derive(Debug)]
pub(crate) struct LaunchGuard {
    /// The routes to the model sources that are reached through the gateway.
    pub(crate) routes: Vec<ModelRoute>,
    /// A temporary file that only this opencode reads.
    _catalog: Option<TempPath>,
}

// The variables contain the rendered model, except for its key.
impl PartialEq for LaunchKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.variables, self.empty_catalog) == (&other.variables, other.empty_catalog)
            && self.source_keys().eq(other.source_keys())
    }
}

impl Eq for LaunchKey {}

impl Hash for LaunchKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.variables, self.empty_catalog).hash(state);
    }
}

// The user's own configuration may contain keys.
impl fmt::Debug for LaunchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.iter().map(|(name, _)| name).collect();
        f.debug_struct("Setup")
            .field("variables", &names)
            .field("empty_catalog", &self.empty_catalog)
            .finish_non_exhaustive()
    }
}

impl LaunchKey {
    /// Returns the key of a server for turns on this model, and the model's name there. `shared` are further sources that the server can
    /// serve.
    ///
    /// # Errors
    ///
    /// If the user's configuration cannot be merged with ours.
    pub(crate) fn for_server(
        launch: &Launch,
        shared: &SharedSources,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<(Self, Option<String>), StartError> {
        let sources = shared.with(launch, model);
        // The agents have no parameters of a source then, see `LaunchSpec::sources`.
        let agent = agent.filter(|_| sources.len() < 2);
        Self::new(launch, model, sources, agent, Purpose::Server)
    }

    /// Returns the key of a single turn on this model, and the model's name there. `instructions` is a file for the
    /// system prompt.
    ///
    /// # Errors
    ///
    /// If the user's configuration cannot be merged with ours.
    pub(crate) fn for_turn(
        launch: &Launch,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
        instructions: Option<&Path>,
    ) -> Result<(Self, Option<String>), StartError> {
        let sources = SharedSources::default().with(launch, model);
        let purpose = Purpose::Turn(instructions.map(Path::to_owned));
        let (launch_key, name) = Self::new(launch, model, sources, agent, purpose)?;
        // Other parts of the configuration may need the catalog, which is not visible here.
        Ok((launch_key.with_catalog(), name))
    }

    fn new(
        launch: &Launch,
        model: Option<&ModelChoice>,
        sources: Vec<ModelChoice>,
        agent: Option<&str>,
        purpose: Purpose,
    ) -> Result<(Self, Option<String>), StartError> {
        let keyless =
            |model: &ModelChoice| with_config(model, |config| ModelConfig { api_key: None, ..config.clone() });
        let described: Vec<_> = sources.iter().map(keyless).collect();
        let rendered = render(launch, model.map(keyless).as_ref(), &described, agent, &purpose)?;
        let Rendered { variables, model: name, is_described } = rendered;
        // A catalog that the user has chosen is kept.
        let has_catalog = launch.environment().get(launch.opencode().generation().empty_catalog().path).is_some();
        let launch_key = Self {
            variables,
            model: model.cloned(),
            sources,
            agent: agent.map(str::to_owned),
            purpose,
            empty_catalog: is_described && !has_catalog,
        };
        Ok((launch_key, name))
    }

    fn source_key(&self) -> Option<&SecretString> {
        self.model.as_ref().and_then(key_of)
    }

    /// Returns the keys of all sources, which distinguish servers.
    fn source_keys(&self) -> impl Iterator<Item = Option<&str>> {
        self.sources.iter().map(|source| key_of(source).map(ExposeSecret::expose_secret))
    }

    /// Returns the redaction that removes the key of the model source from a turn's output.
    pub(crate) fn redaction(&self) -> Redaction {
        Redaction::of(self.source_key())
    }

    /// Returns whether opencode knows only the models in its configuration.
    pub(crate) fn has_empty_catalog(&self) -> bool {
        self.empty_catalog
    }

    /// Lets opencode use the models.dev catalog.
    pub(crate) fn with_catalog(mut self) -> Self {
        self.empty_catalog = false;
        self
    }

    /// Adds the settings to an environment. The key of a model source is included only without a gateway: with one, the
    /// caller's variables that contain it are removed.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, or the route to the model source cannot be opened.
    pub(crate) fn prepare(&self, launch: &Launch, environment: &mut Environment) -> Result<LaunchGuard, StartError> {
        let mut routes = Vec::new();
        let mut sources = Vec::new();
        let mut model = self.model.clone();
        for source in &self.sources {
            let is_own = source.source_type() == self.model.as_ref().and_then(ModelChoice::source_type);
            let route = match launch.route(Some(source)) {
                Ok(route) => route,
                Err(error) if is_own => return Err(error),
                Err(error) => {
                    // A turn on it reports the reason.
                    tracing::debug!(%error, "a model source is not available on the server");
                    continue;
                }
            };
            let source = match &route {
                Some(route) => {
                    hide_key(launch, environment, source)?;
                    with_config(source, |config| route.rewrite_endpoint(config))
                }
                None => source.clone(),
            };
            if is_own {
                model = Some(source.clone());
            }
            sources.push(source);
            routes.extend(route);
        }
        let rendered = render(launch, model.as_ref(), &sources, self.agent.as_deref(), &self.purpose)?;
        for (name, value) in rendered.variables {
            environment.set(name, value);
        }
        if !self.empty_catalog {
            return Ok(LaunchGuard { routes, _catalog: None });
        }
        let EmptyCatalog { text, path, variable: (name, value) } = launch.opencode().generation().empty_catalog();
        environment.set(name, value);
        // Restored if it was changed since.
        let kept = launch.cache_dir().map(|folder| folder.join(EMPTY_CATALOG));
        if let Some(file) = kept.filter(|file| cache_file::ensure(file, text.as_bytes()).is_ok()) {
            environment.set(path, file);
            return Ok(LaunchGuard { routes, _catalog: None });
        }
        let file = write_private("models-", ".json", text)?;
        environment.set(path, file.as_os_str());
        Ok(LaunchGuard { routes, _catalog: Some(file) })
    }
}

impl LaunchKey {
    /// Adds the settings to the environment of `launch`, which is returned. The files are written on a dedicated
    /// thread.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub(crate) async fn prepare_on_thread(&self, launch: &Launch) -> Result<(LaunchGuard, Environment), StartError> {
        let launch_key = self.clone();
        let launch = launch.clone();
        let prepare = move || {
            let mut environment = launch.environment().clone();
            launch_key.prepare(&launch, &mut environment).map(|launch_guard| (launch_guard, environment))
        };
        blocking::call(prepare).await
    }
}

/// Removes the key of a source that is reached through the gateway from the environment of opencode.
///
/// # Errors
///
/// If the user's configuration contains the key.
fn hide_key(launch: &Launch, environment: &mut Environment, source: &ModelChoice) -> Result<(), StartError> {
    let Some(source_key) = key_of(source) else { return Ok(()) };
    environment.strip_secret(source_key);
    let variable = launch.opencode().generation().users_configuration();
    if launch.environment().get(variable).is_some() && environment.get(variable).is_none() {
        let message = format!("{variable} contains the key of the model source, so that opencode would get the key");
        return Err(StartError::new(FailureKind::Config, message).remedy(Remedy::RemoveKeyOrBypassGateway));
    }
    Ok(())
}

fn render(
    launch: &Launch,
    model: Option<&ModelChoice>,
    sources: &[ModelChoice],
    agent: Option<&str>,
    purpose: &Purpose,
) -> Result<Rendered, StartError> {
    let generation = launch.opencode().generation();
    let version = launch.opencode().version();
    let users = launch.environment().get(generation.users_configuration()).map(|text| text.to_string_lossy());
    let spec = LaunchSpec {
        version,
        model,
        sources,
        agent,
        purpose,
        is_lean: launch.is_lean(),
        ignores_project: launch.ignores_project(),
        users: users.as_deref(),
    };
    generation.render(&spec).map_err(|why| {
        let message = format!("{} cannot be merged with: {why}", generation.users_configuration());
        StartError::new(FailureKind::Config, message).hint("correct the variable or unset it")
    })
}

fn key_of(model: &ModelChoice) -> Option<&SecretString> {
    match model {
        ModelChoice::Source { config, .. } => config.api_key.as_ref(),
        _ => None,
    }
}

/// Returns the model with a changed configuration of its source.
fn with_config(model: &ModelChoice, change: impl FnOnce(&ModelConfig) -> ModelConfig) -> ModelChoice {
    match model {
        ModelChoice::Source { source, config } => {
            ModelChoice::Source { source: *source, config: Arc::new(change(config)) }
        }
        named => named.clone(),
    }
}

/// Writes a temporary file for opencode, outside of the task's directory and readable only by the user.
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn write_private(what: &str, suffix: &str, text: &str) -> Result<TempPath, StartError> {
    let write = || {
        let prefix = format!("opencode-run-{what}");
        let mut file = tempfile::Builder::new().prefix(&prefix).suffix(suffix).tempfile()?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
        Ok(file.into_temp_path())
    };
    write().map_err(|error: std::io::Error| {
        StartError::new(FailureKind::Io, "cannot write a temporary file for opencode")
            .hint("set TMPDIR to a directory that exists, is writable and has room")
            .caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::ModelSourceType;
    use std::ffi::OsString;
    use std::path::PathBuf;

    fn alone() -> SharedSources {
        SharedSources::default()
    }

    fn launch(variables: &[(&str, &str)]) -> Launch {
        launch_of("1.18.33", variables)
    }

    fn launch_of(version: &str, variables: &[(&str, &str)]) -> Launch {
        let opencode = crate::Opencode::known("/x/opencode".into(), version.parse().unwrap()).unwrap();
        Launch::new(opencode, variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    fn source(base_url: Option<&str>) -> ModelChoice {
        let config = ModelConfig {
            base_url: base_url.map(str::to_owned),
            api_key: Some("sk-secret".into()),
            ..ModelConfig::new("a/b")
        };
        ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) }
    }

    fn empties(launch: &Launch, model: Option<&ModelChoice>) -> bool {
        LaunchKey::for_server(launch, &alone(), model, None).unwrap().0.empty_catalog
    }

    #[test]
    fn described_model_empties_the_catalog() {
        let plain = launch(&[]);
        assert!(empties(&plain, Some(&source(Some("http://127.0.0.1:1/v1")))));
        assert!(!empties(&plain, Some(&source(None))));
        assert!(!empties(&plain, Some(&ModelChoice::Named("a/b".parse().unwrap()))));
        assert!(!empties(&plain, None));
        let chosen = launch(&[("OPENCODE_MODELS_PATH", "/mine.json")]);
        assert!(!empties(&chosen, Some(&source(Some("http://127.0.0.1:1/v1")))));
    }

    #[test]
    fn catalog_file_lives_with_its_guard() {
        let launch = launch(&[]);
        let (launch_key, _) =
            LaunchKey::for_server(&launch, &alone(), Some(&source(Some("http://127.0.0.1:1/v1"))), None).unwrap();
        let mut environment = launch.environment().clone();
        let launch_guard = launch_key.prepare(&launch, &mut environment).unwrap();
        let path = std::path::PathBuf::from(environment.get("OPENCODE_MODELS_PATH").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
        drop(launch_guard);
        assert!(!path.exists());
        let mut environment = launch.environment().clone();
        launch_key.with_catalog().prepare(&launch, &mut environment).unwrap();
        assert_eq!(environment.get("OPENCODE_MODELS_PATH"), None);
    }

    #[test]
    fn catalog_file_is_cached_across_runs() {
        let place = tempfile::tempdir().unwrap();
        let catalog = |cache: PathBuf| {
            let launch = launch(&[]).cache(cache);
            let (launch_key, _) =
                LaunchKey::for_server(&launch, &alone(), Some(&source(Some("http://127.0.0.1:1/v1"))), None).unwrap();
            let mut environment = launch.environment().clone();
            let launch_guard = launch_key.prepare(&launch, &mut environment).unwrap();
            let path = PathBuf::from(environment.get("OPENCODE_MODELS_PATH").unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
            drop(launch_guard);
            path
        };
        let cache = place.path().join("a/cache");
        let path = catalog(cache.clone());
        assert!(path.starts_with(&cache) && path.exists());
        let written = path.metadata().unwrap().modified().unwrap();
        assert_eq!(catalog(cache.clone()), path);
        assert_eq!(path.metadata().unwrap().modified().unwrap(), written, "it is left alone");
        std::fs::write(&path, "{\"p\": {}}").unwrap();
        assert_eq!(catalog(cache.clone()), path);
        assert_eq!(cache.read_dir().unwrap().count(), 1);
        // A file in place of the directory.
        let path = catalog(path);
        assert!(!path.starts_with(place.path()) && !path.exists());
    }

    /// Returns the name and value of all variables of opencode.
    fn given(launch: &Launch) -> String {
        let (launch_key, _) =
            LaunchKey::for_server(launch, &alone(), Some(&source(Some("http://127.0.0.1:1/v1"))), None).unwrap();
        let mut environment = launch.environment().clone();
        let _opened = launch_key.prepare(launch, &mut environment).unwrap();
        environment
            .iter()
            .map(|(name, value)| format!("{}={}\n", name.display(), value.display()))
            .collect::<Vec<_>>()
            .concat()
    }

    #[test]
    fn key_reaches_opencode_only_without_gateway() {
        let exported = || launch(&[("MODEL_CODE_APIKEY", "sk-secret")]);
        let gated = given(&exported());
        assert!(!gated.contains("sk-secret") && !gated.contains("http://127.0.0.1:1/v1"), "{gated}");
        assert_eq!(given(&exported().gateway(false)).matches("sk-secret").count(), 2);
    }

    #[test]
    fn title_agent_is_disabled_on_old_versions() {
        let users = r#"{"agent": {"title": {"prompt": "Name it."}, "build": {"prompt": "Build."}}}"#;
        let agents = |version: &str, variables: &[(&str, &str)]| {
            let given = given(&launch_of(version, variables));
            let line = given.lines().find_map(|line| line.strip_prefix("OPENCODE_CONFIG_CONTENT=")).unwrap();
            crate::json_text::parse_repaired::<serde_json::Value>(line).unwrap()["agent"].take()
        };
        assert_eq!(agents("1.1.65", &[]), serde_json::json!({"title": {"disable": true}}));
        let both = agents("1.2.1", &[("OPENCODE_CONFIG_CONTENT", users)]);
        assert_eq!((&both["title"]["disable"], &both["build"]["prompt"]), (&true.into(), &"Build.".into()));
        assert_eq!(agents("1.18.33", &[]), serde_json::Value::Null);
    }

    #[test]
    fn keys_are_hidden_and_distinguished() {
        let of = |source_key: &str| {
            let config = ModelConfig {
                base_url: Some("http://127.0.0.1:1/v1".to_owned()),
                api_key: Some(source_key.into()),
                ..ModelConfig::new("a/b")
            };
            let model = ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) };
            LaunchKey::for_server(&launch(&[]), &alone(), Some(&model), None).unwrap().0
        };
        assert!(!format!("{:?}", of("sk-secret")).contains("sk-secret"));
        assert!(of("sk-secret") == of("sk-secret") && of("sk-secret") != of("sk-other"));
        assert!(!of("sk-secret").variables.iter().any(|(_, value)| value.contains("sk-secret")));
    }

    #[test]
    fn lean_keeps_the_users_settings() {
        let launch = launch(&[("OPENCODE_CONFIG_CONTENT", r#"{"lsp": {"x": {}}, "theme": "dark",}"#)]).lean(true);
        let (launch_key, _) = LaunchKey::for_server(&launch, &alone(), None, None).unwrap();
        let variables: std::collections::BTreeMap<_, _> = launch_key.variables.iter().cloned().collect();
        let merged: serde_json::Value =
            crate::json_text::parse_repaired(&variables["OPENCODE_CONFIG_CONTENT"]).unwrap();
        assert_eq!((&merged["lsp"], &merged["theme"]), (&false.into(), &"dark".into()));
        for name in ["snapshot", "formatter", "autoupdate"] {
            assert_eq!(merged[name], false, "{name}");
        }
        for name in [
            "OPENCODE_DISABLE_DEFAULT_PLUGINS",
            "OPENCODE_PURE",
            "OPENCODE_EXPERIMENTAL_DISABLE_FILEWATCHER",
            "OPENCODE_DISABLE_SHARE",
        ] {
            assert_eq!(variables[name], "1", "{name}");
        }
        assert_eq!(variables["BUN_JSC_useConcurrentGC"], "0", "and takes less memory");
    }

    #[test]
    fn user_configuration_with_key_is_refused() {
        let launch =
            launch(&[("OPENCODE_CONFIG_CONTENT", r#"{"provider": {"x": {"options": {"apiKey": "sk-secret"}}}}"#)]);
        let config = ModelConfig {
            base_url: Some("http://127.0.0.1:1/v1".to_owned()),
            api_key: Some("sk-secret".into()),
            ..ModelConfig::new("m")
        };
        let model = ModelChoice::Source { source: opencode_run_core::ModelSourceType::Code, config: Arc::new(config) };
        let (launch_key, _) = LaunchKey::for_server(&launch, &alone(), Some(&model), None).unwrap();
        let error = launch_key.prepare(&launch, &mut launch.environment().clone()).unwrap_err();
        assert_eq!(error.kind, FailureKind::Config);
        assert!(!error.to_string().contains("sk-secret"));
    }
}
