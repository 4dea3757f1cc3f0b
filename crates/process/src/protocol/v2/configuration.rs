//! The configuration that opencode 2 gets in addition to the user's. It accepts the format of opencode 1.

use crate::protocol::v1::configuration::{CONFIG_CONTENT, SOURCE_PROVIDER, make_lean, merge, merge_value};
use crate::protocol::v1::project;
use crate::protocol::v2::client::HOSTED;
use crate::protocol::v2::shape;
use crate::protocol::{EmptyCatalog, LaunchSpec, Rendered, Variables};
use jsonc_parser::ParseOptions;
use opencode_run_core::{ExposeSecret, ModelChoice, ModelConfig, ModelName, ModelSourceType, ProviderPackage};
use serde_json::{Map, Value, json};

/// An empty catalog. It also removes the models that opencode hosts.
pub(crate) const EMPTY_CATALOG: EmptyCatalog =
    EmptyCatalog { text: "{}", path: "OPENCODE_MODELS_PATH", variable: ("OPENCODE_DISABLE_MODELS_FETCH", "1") };
/// A turn must not be spent on updating opencode.
const NO_UPDATE: (&str, &str) = ("OPENCODE_DISABLE_AUTOUPDATE", "1");
/// The variables that disable parts of a lean server.
const LEAN: [(&str, &str); 4] = [
    ("OPENCODE_DISABLE_SHARE", "1"),
    ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
    ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
    ("BUN_JSC_useConcurrentGC", "0"),
];
/// opencode's default limit of output tokens for a model with an unknown limit.
const DEFAULT_OUTPUT_TOKENS: u32 = 32_000;

/// Renders a launch spec for opencode 2.
///
/// # Errors
///
/// The problem in the user's configuration in the environment.
pub(crate) fn render(spec: &LaunchSpec<'_>) -> Result<Rendered, String> {
    let mut configuration = json!({});
    let mut name = None;
    let mut is_described = false;
    for choice in spec.sources {
        if let ModelChoice::Source { source, config } = choice {
            let mut one = Map::new();
            let described = describe(*source, config, &mut one);
            merge_value(&mut configuration, Value::Object(one));
            if spec.model.and_then(ModelChoice::source_type) == Some(*source) {
                name = Some(described);
                is_described = config.base_url.is_some();
            }
        }
    }
    let Value::Object(mut configuration) = configuration else { unreachable!("objects are merged into an object") };
    if let Some(named @ ModelChoice::Named(_)) = spec.model {
        name = Some(named.to_string());
    }
    if is_described {
        configuration.insert("disabled_providers".to_owned(), json!([HOSTED]));
    }
    let mut variables: Variables = vec![(NO_UPDATE.0, NO_UPDATE.1.to_owned())];
    if spec.is_lean {
        make_lean(&mut configuration);
        variables.extend(LEAN.map(|(name, value)| (name, value.to_owned())));
    }
    if spec.ignores_project {
        variables.push((project::IGNORE.0, project::IGNORE.1.to_owned()));
    }
    // Even without additions of ours: opencode would ignore an unreadable text, and with it the model in it.
    let merged = merge(spec.users, configuration)?;
    if let Some(text) = spec.users
        && let Ok(Value::Object(users)) = jsonc_parser::parse_to_serde_value::<Value>(text, &ParseOptions::default())
        && let Some(why) = shape::wrong(&users)
    {
        return Err(why);
    }
    if merged != "{}" || spec.users.is_some() {
        variables.push((CONFIG_CONTENT, merged));
    }
    Ok(Rendered { variables, model: name, is_described })
}

/// Adds a model source to the configuration, and returns the name of its model. Without a gateway it contains a key.
fn describe(source: ModelSourceType, config: &ModelConfig, configuration: &mut Map<String, Value>) -> String {
    let known = config.base_url.is_none().then(|| config.model.parse::<ModelName>().ok()).flatten();
    let (provider, model) = match &known {
        Some(name) => (name.provider().to_owned(), name.model().to_owned()),
        None => (format!("{SOURCE_PROVIDER}{source}"), config.model.clone()),
    };
    let mut entry = Map::new();
    let mut options = Map::new();
    let mut provider_entry = Map::new();
    if let Some(url) = &config.base_url {
        entry.insert("name".to_owned(), json!(config.model));
        options.insert("baseURL".to_owned(), json!(url));
        if let Some(key) = &config.api_key {
            options.insert("apiKey".to_owned(), json!(key.expose_secret()));
        }
        provider_entry.insert("npm".to_owned(), json!(config.provider.as_str()));
        provider_entry.insert("name".to_owned(), json!(format!("opencode-run {source}")));
    }
    // The sampling fields of opencode 1 never reach the request of opencode 2; these fields do, unchanged.
    let body = parameters(config);
    if !body.is_empty() {
        options.insert("body".to_owned(), Value::Object(body));
    }
    if !options.is_empty() {
        provider_entry.insert("options".to_owned(), Value::Object(options));
    }
    if config.max_tokens.is_some() || config.context.is_some() {
        let output = config.max_tokens.unwrap_or(DEFAULT_OUTPUT_TOKENS);
        entry.insert("limit".to_owned(), json!({ "context": config.context.unwrap_or(200_000), "output": output }));
    }
    if config.price_input.is_some() || config.price_output.is_some() {
        let cost = json!({ "input": config.price_input.unwrap_or(0.0), "output": config.price_output.unwrap_or(0.0) });
        entry.insert("cost".to_owned(), cost);
    }
    // Without it, opencode would send an image to a model with a base URL, of which nothing is known.
    let text_only = config.base_url.is_some().then(|| vec!["text"]);
    let kinds = config.input.as_ref().map(|input| input.iter().map(|kind| kind.as_str()).collect());
    if let Some(kinds) = kinds.or(text_only) {
        // Without the first field opencode sends no file at all.
        entry.insert("attachment".to_owned(), json!(kinds.iter().any(|kind| *kind != "text")));
        entry.insert("modalities".to_owned(), json!({ "input": kinds, "output": ["text"] }));
    }
    if !entry.is_empty() || config.base_url.is_some() {
        provider_entry.insert("models".to_owned(), json!({ &model: entry }));
    }
    if !provider_entry.is_empty() {
        configuration.insert("provider".to_owned(), json!({ &provider: provider_entry }));
    }
    format!("{provider}/{model}")
}

/// Returns the parameters of a source by their names in the provider's API.
fn parameters(config: &ModelConfig) -> Map<String, Value> {
    let [temperature, top_p, top_k, max_tokens] = match config.provider.as_str() {
        ProviderPackage::GOOGLE => ["temperature", "topP", "topK", "maxOutputTokens"],
        "@ai-sdk/openai" => ["temperature", "top_p", "top_k", "max_output_tokens"],
        _ => ["temperature", "top_p", "top_k", "max_tokens"],
    };
    let values = [
        (temperature, config.temperature.map(Value::from)),
        (top_p, config.top_p.map(Value::from)),
        (top_k, config.top_k.map(Value::from)),
        (max_tokens, config.max_tokens.map(Value::from)),
    ];
    let body: Map<_, _> = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    if config.provider.as_str() == ProviderPackage::GOOGLE && !body.is_empty() {
        return Map::from_iter([("generationConfig".to_owned(), Value::Object(body))]);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Purpose;
    use opencode_run_core::InputType;
    use std::sync::Arc;

    fn rendered(config: Option<ModelConfig>, users: Option<&str>) -> Result<Value, String> {
        let model =
            config.map(|config| ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) });
        let spec = LaunchSpec {
            version: crate::Version::new(2, 0, 14),
            model: model.as_ref(),
            sources: model.as_slice(),
            agent: None,
            purpose: &Purpose::Server,
            is_lean: false,
            ignores_project: false,
            users,
        };
        let Rendered { variables, .. } = render(&spec)?;
        let content = variables.into_iter().find(|(name, _)| *name == CONFIG_CONTENT).map(|(_, value)| value);
        Ok(content.map_or(Value::Null, |content| crate::json_text::parse(&content).unwrap()))
    }

    fn full(package: &str) -> ModelConfig {
        ModelConfig {
            base_url: Some("http://127.0.0.1:1/v1".to_owned()),
            provider: ProviderPackage::new(package),
            temperature: Some(0.5),
            max_tokens: Some(50_000),
            top_p: Some(0.25),
            top_k: Some(7),
            ..ModelConfig::new("meta/llama")
        }
    }

    #[test]
    fn parameters_have_the_providers_names() {
        let body = |package: &str| {
            let config = rendered(Some(full(package)), None).unwrap();
            config["provider"]["opencode-run-code"]["options"]["body"].clone()
        };
        let plain = json!({"temperature": 0.5, "top_p": 0.25, "top_k": 7, "max_tokens": 50_000});
        assert_eq!(body(ProviderPackage::OPENAI_COMPATIBLE), plain);
        assert_eq!(body(ProviderPackage::ANTHROPIC), plain);
        let google = json!({"temperature": 0.5, "topP": 0.25, "topK": 7, "maxOutputTokens": 50_000});
        assert_eq!(body(ProviderPackage::GOOGLE), json!({ "generationConfig": google }));
        assert_eq!(body("@ai-sdk/openai")["max_output_tokens"], 50_000);
    }

    #[test]
    fn source_without_input_gets_text_only() {
        let model = |config: ModelConfig| {
            let provider = rendered(Some(config), None).unwrap()["provider"]["opencode-run-code"].take();
            (provider["models"]["m"]["attachment"].clone(), provider["models"]["m"]["modalities"]["input"].clone())
        };
        let source = || ModelConfig { base_url: Some("http://127.0.0.1:1/v1".to_owned()), ..ModelConfig::new("m") };
        assert_eq!(model(source()), (json!(false), json!(["text"])));
        let input = Some(vec![InputType::Text, InputType::Image]);
        assert_eq!(model(ModelConfig { input, ..source() }), (json!(true), json!(["text", "image"])));
    }

    #[test]
    fn source_disables_hosted_models() {
        let config =
            rendered(Some(full(ProviderPackage::ANTHROPIC)), Some(r#"{"disabled_providers": ["mine"]}"#)).unwrap();
        assert_eq!(config["disabled_providers"], json!(["mine", "opencode"]));
        assert_eq!(rendered(None, Some(r#"{"model": "a/b",}"#)).unwrap(), json!({"model": "a/b"}));
        assert_eq!(rendered(None, None).unwrap(), Value::Null);
    }

    #[test]
    fn broken_environment_configuration_is_refused() {
        for (text, why) in [
            ("this is no json", "it is not JSON at line 1"),
            (r#"{"provider": 7}"#, "`provider` has the wrong type"),
            (r#"{"provider": {"x": 7}}"#, "`provider.x` has the wrong type"),
            (r#"{"provider": {}, "providers": {}}"#, "it has both `provider` and `providers`, one of which is ignored"),
        ] {
            assert_eq!(rendered(None, Some(text)), Err(why.to_owned()), "{text}");
        }
    }
}
