//! The configuration that opencode gets in addition to the user's: model sources and the system prompt.

use super::project;
use crate::protocol::{EmptyCatalog, LaunchSpec, Purpose, Rendered, Variables, support};
use jsonc_parser::ParseOptions;
use opencode_run_core::{ExposeSecret, ModelChoice, ModelConfig, ModelName, ModelSourceType, ProviderPackage};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The variable for configuration as text; opencode merges it over all files of the user.
pub(crate) const CONFIG_CONTENT: &str = "OPENCODE_CONFIG_CONTENT";
/// The variable that raises or lowers opencode's own limit of 32,000 output tokens.
const OUTPUT_TOKEN_MAX: &str = "OPENCODE_EXPERIMENTAL_OUTPUT_TOKEN_MAX";

/// An empty catalog. Reading the real one takes a second and a hundred megabytes; it must not be fetched either.
pub(crate) const EMPTY_CATALOG: EmptyCatalog =
    EmptyCatalog { text: "{}", path: "OPENCODE_MODELS_PATH", variable: ("OPENCODE_DISABLE_MODELS_FETCH", "1") };
/// A turn must not be spent on updating opencode.
const NO_UPDATE: (&str, &str) = ("OPENCODE_DISABLE_AUTOUPDATE", "1");
/// The client's name, which is not opencode's own: with that, opencode would offer the agent a tool for questions, and
/// before 1.14 wait for the answer forever.
const UNATTENDED_CLIENT: (&str, &str) = ("OPENCODE_CLIENT", "opencode-run");
/// The variables that disable parts of a lean opencode, in addition to [`make_lean`]. The file watcher only serves
/// plugins and an editor, and costs several processes in every directory. Session sharing processes every event once
/// for every directory, even if the configuration disables sharing.
///
/// The last variable makes the runtime, Bun, collect garbage in one stop instead of concurrently. If turns keep a
/// server busy, concurrent collection lags behind, and a server with sixteen turns takes a quarter more memory.
const LEAN: [(&str, &str); 6] = [
    ("OPENCODE_DISABLE_SHARE", "1"),
    ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
    ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
    ("OPENCODE_PURE", "1"),
    ("OPENCODE_EXPERIMENTAL_DISABLE_FILEWATCHER", "1"),
    ("BUN_JSC_useConcurrentGC", "0"),
];

/// The prefix of the provider name for a model source in opencode; the source's type follows.
pub(crate) const SOURCE_PROVIDER: &str = "opencode-run-";

/// opencode's built-in agents that use the turn's model.
const AGENTS: [&str; 3] = ["build", "plan", "general"];

/// Renders a launch spec for opencode 1.
///
/// # Errors
///
/// The problem in the user's configuration in the environment.
pub(crate) fn render(spec: &LaunchSpec<'_>) -> Result<Rendered, String> {
    let setup = match spec.sources {
        [_, _, ..] => ModelSetup::of_shared(spec.model, spec.sources),
        _ => ModelSetup::new(spec.model, spec.agent),
    };
    let ModelSetup { name, mut configuration, max_tokens, is_described } = setup;
    let mut fixed = vec![NO_UPDATE];
    match spec.purpose {
        Purpose::Server => continue_after_refusals(&mut configuration),
        Purpose::Turn(instructions) => {
            fixed.push(UNATTENDED_CLIENT);
            if let Some(file) = instructions {
                add_instructions(&mut configuration, file);
            }
        }
    }
    if support::names_messages(spec.version) {
        disable_titles(&mut configuration);
    }
    if spec.is_lean {
        make_lean(&mut configuration);
        fixed.extend(LEAN);
    }
    if spec.ignores_project {
        fixed.push(project::IGNORE);
    }
    let mut variables: Variables = fixed.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    if !configuration.is_empty() {
        variables.push((CONFIG_CONTENT, merge(spec.users, configuration)?));
    }
    if let Some(max_tokens) = max_tokens {
        variables.push((OUTPUT_TOKEN_MAX, max_tokens.to_string()));
    }
    Ok(Rendered { variables, model: name, is_described })
}

/// Returns the model source whose provider has this name in opencode's configuration.
pub(crate) fn source_of(provider: &str) -> Option<ModelSourceType> {
    let name = provider.strip_prefix(SOURCE_PROVIDER)?;
    ModelSourceType::ALL.into_iter().find(|source| source.as_str() == name)
}

/// The configuration of a model for opencode. Without a gateway it contains a key.
#[derive(Default)]
struct ModelSetup {
    /// The name for `--model`.
    name: Option<String>,
    /// The configuration that defines the name.
    configuration: Map<String, Value>,
    /// The limit of output tokens, if one is set.
    max_tokens: Option<u32>,
    /// Whether the model is described in full, so that opencode needs no catalog for it.
    is_described: bool,
}

impl ModelSetup {
    /// Returns the configuration of a model for a turn of `agent`.
    fn new(model: Option<&ModelChoice>, agent: Option<&str>) -> Self {
        match model {
            Some(ModelChoice::Source { source, config }) => Self::of_source(*source, config, agent),
            Some(named) => Self { name: Some(named.to_string()), ..Self::default() },
            None => Self::default(),
        }
    }

    /// Returns the configuration of all sources that share a server, for turns on any of them.
    fn of_shared(model: Option<&ModelChoice>, sources: &[ModelChoice]) -> Self {
        let mut configuration = json!({});
        for source in sources {
            let mut setup = Self::new(Some(source), None);
            // The sources would overwrite each other's.
            setup.configuration.remove("agent");
            merge_value(&mut configuration, Value::Object(setup.configuration));
        }
        let Value::Object(configuration) = configuration else { unreachable!("objects are merged into an object") };
        let output_tokens = |source: &ModelChoice| match source {
            ModelChoice::Source { config, .. } => config.max_tokens.unwrap_or(DEFAULT_OUTPUT_TOKENS),
            _ => DEFAULT_OUTPUT_TOKENS,
        };
        // The limit of each model is in its entry.
        let max_tokens = sources.iter().map(output_tokens).max().filter(|most| *most > DEFAULT_OUTPUT_TOKENS);
        Self { name: Self::new(model, None).name, configuration, max_tokens, is_described: true }
    }

    fn of_source(source: ModelSourceType, config: &ModelConfig, agent: Option<&str>) -> Self {
        let known = config.base_url.is_none().then(|| config.model.parse::<ModelName>().ok()).flatten();
        let (provider, model) = match &known {
            Some(name) => (name.provider().to_owned(), name.model().to_owned()),
            None => (format!("{SOURCE_PROVIDER}{source}"), config.model.clone()),
        };
        let mut entry = model_entry(config);
        let mut provider_entry = Map::new();
        if let Some(url) = &config.base_url {
            entry.insert("name".to_owned(), json!(config.model));
            let mut options = json!({ "baseURL": url });
            if let Some(key) = &config.api_key {
                options["apiKey"] = json!(key.expose_secret());
            }
            provider_entry.insert("npm".to_owned(), json!(config.provider.as_str()));
            provider_entry.insert("name".to_owned(), json!(format!("opencode-run {source}")));
            provider_entry.insert("options".to_owned(), options);
        }
        let mut configuration = Map::new();
        if !entry.is_empty() || config.base_url.is_some() {
            provider_entry.insert("models".to_owned(), json!({ &model: entry }));
            configuration.insert("provider".to_owned(), json!({ &provider: provider_entry }));
        }
        let sampling = agent_sampling(config);
        if !sampling.is_empty() {
            let agents = AGENTS.into_iter().chain(agent).map(|name| (name.to_owned(), json!(sampling)));
            configuration.insert("agent".to_owned(), Value::Object(agents.collect()));
        }
        Self {
            name: Some(format!("{provider}/{model}")),
            configuration,
            max_tokens: config.max_tokens,
            is_described: config.base_url.is_some(),
        }
    }
}

/// Returns the content of the model's own entry.
fn model_entry(config: &ModelConfig) -> Map<String, Value> {
    let mut entry = Map::new();
    if config.temperature.is_some() {
        // Without this opencode sends no temperature.
        entry.insert("temperature".to_owned(), json!(true));
    }
    // A limit must have both fields. A context of 0 means "unknown" in opencode.
    if config.base_url.is_some() && (config.max_tokens.is_some() || config.context.is_some()) {
        let output = config.max_tokens.unwrap_or(DEFAULT_OUTPUT_TOKENS);
        entry.insert("limit".to_owned(), json!({ "context": config.context.unwrap_or(0), "output": output }));
    } else if let Some(context) = config.context {
        let output = config.max_tokens.unwrap_or(DEFAULT_OUTPUT_TOKENS);
        entry.insert("limit".to_owned(), json!({ "context": context, "output": output }));
    }
    if config.price_input.is_some() || config.price_output.is_some() {
        let cost = json!({ "input": config.price_input.unwrap_or(0.0), "output": config.price_output.unwrap_or(0.0) });
        entry.insert("cost".to_owned(), cost);
    }
    if let Some(input) = &config.input {
        let kinds: Vec<_> = input.iter().map(|kind| kind.as_str()).collect();
        // Without the first field opencode sends no file at all.
        entry.insert("attachment".to_owned(), json!(kinds.iter().any(|kind| *kind != "text")));
        entry.insert("modalities".to_owned(), json!({ "input": kinds, "output": ["text"] }));
    }
    let mut options = Map::new();
    if is_openai_compatible(config) {
        // Options in this place apply to all agents and take precedence over the agents' own.
        insert_some(&mut options, "temperature", config.temperature);
        insert_some(&mut options, "top_p", config.top_p);
        insert_some(&mut options, "top_k", config.top_k);
    }
    if !options.is_empty() {
        entry.insert("options".to_owned(), Value::Object(options));
    }
    entry
}

/// opencode's default limit of output tokens for a model with an unknown limit.
const DEFAULT_OUTPUT_TOKENS: u32 = 32_000;

/// Returns the sampling options that must be set on the agents, because the provider's package drops them from the
/// model's options.
fn agent_sampling(config: &ModelConfig) -> Map<String, Value> {
    let mut sampling = Map::new();
    if !is_openai_compatible(config) {
        insert_some(&mut sampling, "temperature", config.temperature);
        insert_some(&mut sampling, "top_p", config.top_p);
    }
    sampling
}

/// Returns whether the source's package is known to pass all options on. A model that opencode knows by itself may use
/// any package.
fn is_openai_compatible(config: &ModelConfig) -> bool {
    config.base_url.is_some() && config.provider.as_str() == ProviderPackage::OPENAI_COMPATIBLE
}

fn insert_some<T: Into<Value>>(map: &mut Map<String, Value>, name: &str, value: Option<T>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

/// Adds a file of instructions, which opencode includes in the system prompt.
fn add_instructions(configuration: &mut Map<String, Value>, file: &Path) {
    configuration.insert("instructions".to_owned(), json!([file.to_string_lossy()]));
}

/// Lets the agent continue after a refused permission, even if the refusal has no message.
fn continue_after_refusals(configuration: &mut Map<String, Value>) {
    configuration.insert("experimental".to_owned(), json!({ "continue_loop_on_deny": true }));
}

/// Disables the agent that titles messages and sessions, so that opencode requests no titles from the model.
fn disable_titles(configuration: &mut Map<String, Value>) {
    let agents = configuration.entry("agent").or_insert_with(|| json!({}));
    merge_value(agents, json!({ "title": { "disable": true } }));
}

/// Disables features that cost time and memory at every start and in every directory: language servers, formatters, and
/// snapshots for undoing changes.
pub(crate) fn make_lean(configuration: &mut Map<String, Value>) {
    for name in ["snapshot", "lsp", "formatter", "autoupdate"] {
        configuration.insert(name.to_owned(), json!(false));
    }
    configuration.insert("share".to_owned(), json!("disabled"));
}

/// Merges our configuration over the user's text in the environment, which may contain comments and trailing commas.
///
/// # Errors
///
/// The problem in the user's text.
pub(crate) fn merge(user: Option<&str>, ours: Map<String, Value>) -> Result<String, String> {
    let mut merged = match user.filter(|text| !text.trim().is_empty()) {
        None => Value::Object(Map::new()),
        Some(text) => match jsonc_parser::parse_to_serde_value::<Value>(text, &ParseOptions::default()) {
            Ok(value @ Value::Object(_)) => value,
            Ok(_) => return Err("it is not an object".to_owned()),
            // The message of the parser may quote the text, which may contain keys.
            Err(error) => return Err(format!("it is not JSON at line {}", error.line_display())),
        },
    };
    allow_providers(&mut merged, &ours);
    merge_value(&mut merged, Value::Object(ours));
    Ok(merged.to_string())
}

/// Adds our providers to the user's list of enabled providers, if there is one.
fn allow_providers(user: &mut Value, ours: &Map<String, Value>) {
    if let (Some(Value::Array(enabled)), Some(Value::Object(providers))) =
        (user.get_mut("enabled_providers"), ours.get("provider"))
    {
        enabled.extend(providers.keys().map(|provider| json!(provider)));
    }
}

/// Merges like opencode: objects by key, lists of instructions concatenated, all other values replaced.
pub(crate) fn merge_value(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(Value::Array(list)) if key == "instructions" || key == "disabled_providers" => {
                        list.extend(value.as_array().cloned().unwrap_or_default());
                    }
                    Some(known) => merge_value(known, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn source(config: ModelConfig) -> ModelChoice {
        ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) }
    }

    fn full(package: &str) -> ModelConfig {
        ModelConfig {
            base_url: Some("http://127.0.0.1:1/v1".to_owned()),
            api_key: Some("sk-1".into()),
            provider: ProviderPackage::new(package),
            temperature: Some(0.3),
            max_tokens: Some(50_000),
            top_p: Some(0.9),
            context: Some(200_000),
            price_input: Some(1.0),
            price_output: Some(2.0),
            ..ModelConfig::new("meta/llama")
        }
    }

    #[test]
    fn compatible_source_is_set_on_the_model() {
        let config = ModelConfig { top_k: Some(7), ..full(ProviderPackage::OPENAI_COMPATIBLE) };
        let launch_key = ModelSetup::new(Some(&source(config)), None);
        assert_eq!(launch_key.name.as_deref(), Some("opencode-run-code/meta/llama"));
        assert_eq!(launch_key.max_tokens, Some(50_000));
        insta::assert_json_snapshot!(launch_key.configuration);
    }

    #[test]
    fn other_packages_sampling_is_set_on_agents() {
        let launch_key = ModelSetup::new(Some(&source(full(ProviderPackage::ANTHROPIC))), Some("review"));
        insta::assert_json_snapshot!(launch_key.configuration);
    }

    #[test]
    fn source_without_url_overrides_known_model() {
        let launch_key = ModelSetup::new(Some(&source(ModelConfig::new("openai/gpt-5"))), None);
        assert_eq!((launch_key.name.as_deref(), launch_key.configuration.len()), (Some("openai/gpt-5"), 0));

        let config = ModelConfig { temperature: Some(0.5), max_tokens: Some(10), ..ModelConfig::new("openai/gpt-5") };
        let launch_key = ModelSetup::new(Some(&source(config)), None);
        assert_eq!(launch_key.max_tokens, Some(10));
        insta::assert_json_snapshot!(launch_key.configuration);
    }

    #[test]
    fn named_model_needs_no_configuration() {
        let launch_key = ModelSetup::new(Some(&ModelChoice::Named("a/b".parse().unwrap())), None);
        assert_eq!((launch_key.name.as_deref(), launch_key.configuration.len()), (Some("a/b"), 0));
        assert_eq!(ModelSetup::new(None, None).name, None);
    }

    #[test]
    fn user_configuration_is_merged() {
        let user = r#"{
            // a comment
            "instructions": ["mine.md"], "share": "manual",
            "enabled_providers": ["anthropic"],
            "agent": {"build": {"prompt": "x", "temperature": 1}}, /* another */
        }"#;
        let mut ours = ModelSetup::new(Some(&source(full(ProviderPackage::GOOGLE))), None).configuration;
        ours.retain(|key, _| key == "agent");
        ours.insert("provider".to_owned(), json!({"opencode-run-code": {}}));
        add_instructions(&mut ours, Path::new("/tmp/context.md"));
        let merged: Value = crate::json_text::parse_repaired(&merge(Some(user), ours).unwrap()).unwrap();
        insta::assert_json_snapshot!(merged);
    }

    #[test]
    fn invalid_configuration_is_refused_unquoted() {
        let error = merge(Some("{\"apiKey\": \"sk-secret\" oops}"), Map::new()).unwrap_err();
        assert!(!error.contains("sk-secret"), "{error}");
        assert!(merge(Some("[]"), Map::new()).is_err());
        assert_eq!(merge(Some("  "), Map::new()).as_deref(), Ok("{}"));
    }
}
