//! One model with everything that is needed to reach it.

use super::header::can_carry_key;
use super::{InputType, ModelName, ModelParameter, ProviderPackage};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A model, its endpoint, its key and its parameters.
///
/// Implements serde for any format. The key is deserialized but **never serialized**, so the output can be shown,
/// logged and stored. `Debug` prints `[redacted]` instead of it.
///
/// A config without a base URL names a model that opencode already knows (`provider/model`); its parameters apply to
/// that model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field, from files and forms of their own")]
pub struct ModelConfig {
    /// The model's id at its provider; `provider/model` if there is no base URL.
    pub model: String,
    /// The base URL of the provider, such as `https://api.example.com/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The provider's key.
    #[serde(skip_serializing)]
    pub api_key: Option<SecretString>,
    /// A file that contains only the key, as an alternative to the key itself. Executors ignore it: the owner of
    /// the model sources reads it when the source is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<PathBuf>,
    /// A command that prints the key, such as a password manager's, as an alternative to the key itself. Executors
    /// ignore it, as they do the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_command: Option<String>,
    /// The header that carries the key, if it is not the default header of the provider's package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_header: Option<String>,
    /// The npm package that opencode uses for the provider.
    pub provider: ProviderPackage,
    /// Sampling temperature, from 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The maximum number of tokens of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Nucleus sampling, above 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The number of candidates to sample from, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// The model's context length in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// The price of a million input tokens in USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_input: Option<f64>,
    /// The price of a million output tokens in USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_output: Option<f64>,
    /// The kinds of content that the model accepts. Without it, opencode sends a model with a base URL only text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Vec<InputType>>,
}

/// A setting of a [`ModelConfig`] with which the model cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct ModelProblem {
    /// The invalid setting.
    pub parameter: ModelParameter,
    /// The problem and its solution. It quotes nothing from the config, because that could be a misplaced key.
    pub reason: String,
}

impl ModelConfig {
    /// Creates a config with only a model id.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }

    /// Sets the base URL of the provider, such as `https://api.example.com/v1`.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Sets the provider's key.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<SecretString>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Sets the npm package that opencode uses for the provider.
    #[must_use]
    pub fn provider(mut self, package: ProviderPackage) -> Self {
        self.provider = package;
        self
    }

    /// Sets the sampling temperature, from 0 to 2.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sets the maximum number of tokens of an answer.
    #[must_use]
    pub fn max_tokens(mut self, most: u32) -> Self {
        self.max_tokens = Some(most);
        self
    }

    /// Returns all invalid settings, in the order of the settings; empty if the config is valid.
    #[must_use]
    pub fn problems(&self) -> Vec<ModelProblem> {
        let mut found = Vec::new();
        let mut problem = |parameter, reason: String| found.push(ModelProblem { parameter, reason });

        // The URL is not quoted: it may contain a password, or a key if a quote was left open.
        if self.base_url.as_deref().is_some_and(|url| !is_http_url(url)) {
            problem(
                ModelParameter::BaseUrl,
                "it is not a base URL: write http:// or https://, a host and a path, without user, query or fragment"
                    .to_owned(),
            );
        }
        if let Some(route) = self.base_url.as_deref().and_then(|url| route_at_end(url, &self.provider)) {
            let reason =
                format!("it ends in {route}, the path of a request, which opencode appends itself: remove {route}");
            problem(ModelParameter::BaseUrl, reason);
        }
        if let Some(key) = &self.api_key
            && (key.expose_secret().is_empty() || !key.expose_secret().chars().all(|c| c.is_ascii_graphic()))
        {
            problem(
                ModelParameter::ApiKey,
                "the key is empty or contains characters other than ASCII letters, digits and punctuation, so no HTTP header can carry it"
                    .to_owned(),
            );
        }
        let origins = self.key_origins();
        if let ([parameter, ..], None) = (origins.as_slice(), &self.base_url) {
            problem(
                *parameter,
                "a key without a base URL is not used: add the base URL, or log in to the provider in opencode"
                    .to_owned(),
            );
        }
        if let [first, second, ..] = origins.as_slice() {
            problem(*second, format!("{first} already sets the key: remove one of the two"));
        }
        if self.api_key_file.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
            problem(ModelParameter::ApiKeyFile, "the path is empty: write the path of the file".to_owned());
        }
        if self.api_key_command.as_ref().is_some_and(|command| command.trim().is_empty()) {
            problem(ModelParameter::ApiKeyCommand, "the command is empty: write one that prints the key".to_owned());
        }
        if let Some(header) = &self.api_key_header {
            if !can_carry_key(header) {
                let reason = "it is not the name of a header that can carry a key: write one such as X-Api-Key";
                problem(ModelParameter::ApiKeyHeader, reason.to_owned());
            } else if origins.is_empty() {
                problem(ModelParameter::ApiKeyHeader, "there is no key for this header: set one".to_owned());
            }
        }
        if self.model.is_empty() {
            problem(ModelParameter::Model, "a source needs a model: name one".to_owned());
        } else if self.model.contains(|c: char| c.is_control() || c.is_whitespace()) {
            problem(ModelParameter::Model, "a model's id must not contain spaces or control characters".to_owned());
        } else if self.base_url.is_none() && self.model.parse::<ModelName>().is_err() {
            problem(
                ModelParameter::Model,
                "without a base URL the model must be one that opencode knows: write it as provider/model, such as \
                 anthropic/claude-sonnet-4-5, or set the base URL"
                    .to_owned(),
            );
        }
        let mut number = |parameter, value: Option<f64>, fits: fn(f64) -> bool, range: &str| {
            if let Some(value) = value
                && !(value.is_finite() && fits(value))
            {
                problem(parameter, format!("{value} is out of range: it must be {range}"));
            }
        };
        number(ModelParameter::Temperature, self.temperature, |t| (0.0..=2.0).contains(&t), "from 0 to 2");
        number(ModelParameter::MaxTokens, self.max_tokens.map(f64::from), |n| n >= 1.0, "at least 1");
        number(ModelParameter::TopP, self.top_p, |p| p > 0.0 && p <= 1.0, "above 0 and at most 1");
        number(ModelParameter::TopK, self.top_k.map(f64::from), |k| k >= 1.0, "at least 1");
        number(ModelParameter::Context, self.context.map(f64::from), |n| n >= 1.0, "at least 1");
        number(ModelParameter::PriceInput, self.price_input, |p| p >= 0.0, "at least 0");
        number(ModelParameter::PriceOutput, self.price_output, |p| p >= 0.0, "at least 0");

        let package = self.provider.as_str();
        if package.is_empty() || package.contains(|c: char| c.is_control() || c.is_whitespace()) {
            problem(ModelParameter::Provider, "it is not the name of an npm package".to_owned());
        } else if self.top_k.is_some() && self.base_url.is_none() {
            let reason = "without a base URL it is unknown whether the model's provider package supports it: remove it";
            problem(ModelParameter::TopK, reason.to_owned());
        }
        found
    }

    /// Returns the settings that define the origin of the key: at most one in a valid config.
    fn key_origins(&self) -> Vec<ModelParameter> {
        [
            (ModelParameter::ApiKey, self.api_key.is_some()),
            (ModelParameter::ApiKeyFile, self.api_key_file.is_some()),
            (ModelParameter::ApiKeyCommand, self.api_key_command.is_some()),
        ]
        .into_iter()
        .filter_map(|(parameter, is_set)| is_set.then_some(parameter))
        .collect()
    }

    /// Returns the host and port of the base URL for display; `None` without a base URL.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let rest = self.base_url.as_deref()?.split_once("://")?.1;
        let authority = rest.split(['/', '?', '#']).next()?;
        Some(authority.rsplit('@').next().unwrap_or(authority))
    }
}

/// Returns the request path that the base URL ends in, if the user copied the whole address of a request.
fn route_at_end(url: &str, provider: &ProviderPackage) -> Option<&'static str> {
    const ROUTES: [&str; 8] = [
        "/chat/completions",
        "/completions",
        "/responses",
        "/messages",
        "/messages/count_tokens",
        "/embeddings",
        ":generateContent",
        ":streamGenerateContent",
    ];
    // Some OpenAI-compatible endpoints have a base path of this name.
    let models = (provider.as_str() == ProviderPackage::GOOGLE).then_some("/models");
    // Without the query.
    let path = url.split_once("://")?.1.split(['?', '#']).next()?.trim_end_matches('/').to_ascii_lowercase();
    let path = &path[path.find('/')?..];
    ROUTES.into_iter().chain(models).find(|route| path.ends_with(&route.to_ascii_lowercase()))
}

/// Returns whether a text is an HTTP(S) URL with a host and without credentials, spaces, query or fragment.
///
/// Only plain letters are accepted in the host, so that the displayed host is the one that is contacted: URL
/// parsers treat `\` as `/`, decode percent signs, and accept letters that look alike. International names must use
/// the `xn--` form.
fn is_http_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let plain = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
    };
    plain
        && port.is_none_or(|port| !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0))
        && !url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> ModelConfig {
        ModelConfig { base_url: Some("http://127.0.0.1:1/v1".to_owned()), ..ModelConfig::new("gpt-4") }
    }

    fn blamed(config: &ModelConfig) -> Vec<ModelParameter> {
        config.problems().into_iter().map(|problem| problem.parameter).collect()
    }

    #[test]
    fn complete_source_is_valid() {
        let config = ModelConfig {
            api_key: Some("sk-1".into()),
            temperature: Some(0.0),
            max_tokens: Some(1),
            top_p: Some(1.0),
            top_k: Some(1),
            context: Some(1),
            price_input: Some(0.0),
            price_output: Some(0.5),
            ..source()
        };
        assert_eq!(config.problems(), []);
        assert_eq!(ModelConfig::new("openai/gpt-4").problems(), []);
        for url in ["https://x", "http://[::1]/v1", "http://[::1]:80/v1", "http://my_host:1/v1/", "https://x/a:b@c"] {
            assert_eq!(ModelConfig { base_url: Some(url.to_owned()), ..source() }.problems(), [], "{url}");
        }
    }

    #[test]
    fn base_url_with_request_path_is_invalid() {
        let with = |url: &str, package: &str| {
            let config = ModelConfig { provider: ProviderPackage::new(package), ..source() };
            ModelConfig { base_url: Some(url.to_owned()), ..config }
        };
        for (url, route) in [
            ("https://x/v1/chat/completions", "/chat/completions"),
            ("https://x/v1/chat/completions/", "/chat/completions"),
            ("https://x/V1/Chat/Completions", "/chat/completions"),
            ("https://x/v1/completions", "/completions"),
            ("https://x/v1/responses", "/responses"),
            ("https://x/v1/messages", "/messages"),
            ("https://x/v1/embeddings", "/embeddings"),
            ("https://x/v1beta/models/m:generateContent", ":generateContent"),
            ("https://x/v1beta/models/m:streamGenerateContent", ":streamGenerateContent"),
        ] {
            let problems = with(url, ProviderPackage::OPENAI_COMPATIBLE).problems();
            assert_eq!(problems.len(), 1, "{url}: {problems:?}");
            assert_eq!(problems[0].parameter, ModelParameter::BaseUrl);
            assert!(problems[0].reason.contains(&format!("ends in {route},")), "{problems:?}");
        }
        let with_query = with("https://x/v1beta/models/m:streamGenerateContent?alt=sse", ProviderPackage::GOOGLE);
        assert!(with_query.problems().iter().any(|problem| problem.reason.contains(":streamGenerateContent")));
        assert_eq!(blamed(&with("https://x/v1beta/models", ProviderPackage::GOOGLE)), [ModelParameter::BaseUrl]);
        for url in
            ["https://x/models", "https://responses/v1", "https://x/messages/v1", "https://messages", "https://x/chat"]
        {
            assert_eq!(with(url, ProviderPackage::OPENAI_COMPATIBLE).problems(), [], "{url}");
        }
    }

    #[test]
    fn each_invalid_setting_is_reported() {
        let none = source;
        for model in ["", "gpt 4", "gpt\u{7}4"] {
            assert_eq!(
                blamed(&ModelConfig { model: model.to_owned(), ..none() }),
                [ModelParameter::Model],
                "{model:?}"
            );
        }
        assert_eq!(blamed(&ModelConfig::new("gpt-4")), [ModelParameter::Model]);
        assert_eq!(blamed(&ModelConfig { temperature: Some(2.1), ..none() }), [ModelParameter::Temperature]);
        assert_eq!(blamed(&ModelConfig { temperature: Some(f64::NAN), ..none() }), [ModelParameter::Temperature]);
        assert_eq!(blamed(&ModelConfig { max_tokens: Some(0), ..none() }), [ModelParameter::MaxTokens]);
        assert_eq!(blamed(&ModelConfig { top_p: Some(0.0), ..none() }), [ModelParameter::TopP]);
        assert_eq!(blamed(&ModelConfig { top_k: Some(0), ..none() }), [ModelParameter::TopK]);
        assert_eq!(blamed(&ModelConfig { context: Some(0), ..none() }), [ModelParameter::Context]);
        assert_eq!(blamed(&ModelConfig { price_input: Some(-1.0), ..none() }), [ModelParameter::PriceInput]);
        assert_eq!(blamed(&ModelConfig { price_output: Some(-1.0), ..none() }), [ModelParameter::PriceOutput]);
        for key in ["", "a b", "a\nb", "\u{201c}a\u{201d}"] {
            assert_eq!(
                blamed(&ModelConfig { api_key: Some(key.into()), ..none() }),
                [ModelParameter::ApiKey],
                "{key:?}"
            );
        }
        for package in ["", "a b", "a\nb"] {
            let config = ModelConfig { provider: ProviderPackage::new(package), top_k: Some(5), ..none() };
            assert_eq!(blamed(&config), [ModelParameter::Provider], "{package:?}");
        }
        for url in [
            "",
            "api.example.com/v1",
            "ftp://x",
            "http://",
            "http://:1/v1",
            "http://x:/v1",
            "http://x:65536",
            "http://x:0",
            "https://x/a b",
            "https://x/a\u{7}b",
            "https://x/v1#a",
            "http://[::1/v1",
            "http://u:p@x/v1",
            "https://x/v1?key=1",
            "http://a b",
            "https://x\\.example.com/v1",
            "https://%78/v1",
            "https://\u{430}pi.example.com/v1",
        ] {
            let config = ModelConfig { base_url: Some(url.to_owned()), ..none() };
            assert_eq!(blamed(&config), [ModelParameter::BaseUrl], "{url:?}");
            assert!(!config.problems()[0].reason.contains("u:p"), "the URL is shown");
        }
        let homeless = ModelConfig { api_key: Some("sk-1".into()), ..ModelConfig::new("openai/gpt-4") };
        assert_eq!(blamed(&homeless), [ModelParameter::ApiKey]);
    }

    #[test]
    fn two_key_origins_are_invalid() {
        let file = || ModelConfig { api_key_file: Some("/run/secrets/key".into()), ..source() };
        let command = || ModelConfig { api_key_command: Some("pass show key".to_owned()), ..source() };
        assert_eq!((file().problems(), command().problems()), (vec![], vec![]));
        let two = ModelConfig { api_key_command: command().api_key_command, ..file() };
        assert_eq!(blamed(&two), [ModelParameter::ApiKeyCommand]);
        assert!(two.problems()[0].reason.contains("APIKEY_FILE"));
        let two = ModelConfig { api_key: Some("sk-1".into()), ..file() };
        assert_eq!(blamed(&two), [ModelParameter::ApiKeyFile]);
        assert_eq!(
            blamed(&ModelConfig { base_url: None, model: "a/b".to_owned(), ..file() }),
            [ModelParameter::ApiKeyFile]
        );
        assert_eq!(blamed(&ModelConfig { api_key_file: Some("".into()), ..source() }), [ModelParameter::ApiKeyFile]);
        let blank = ModelConfig { api_key_command: Some(" ".to_owned()), ..source() };
        assert_eq!(blamed(&blank), [ModelParameter::ApiKeyCommand]);
    }

    #[test]
    fn reserved_key_header_is_invalid() {
        let with = |header: &str| ModelConfig {
            api_key: Some("sk-1".into()),
            api_key_header: Some(header.to_owned()),
            ..source()
        };
        for header in ["X-Api-Key", "authorization", "api_key"] {
            assert_eq!(with(header).problems(), [], "{header}");
        }
        for header in ["", "X Api", "X-Key:", "Content-Length", "host", "X-K\u{e9}y"] {
            assert_eq!(blamed(&with(header)), [ModelParameter::ApiKeyHeader], "{header:?}");
        }
        assert_eq!(blamed(&ModelConfig { api_key: None, ..with("X-Key") }), [ModelParameter::ApiKeyHeader]);
    }

    #[test]
    fn unsupported_parameter_is_invalid() {
        assert_eq!(blamed(&ModelConfig { top_k: Some(5), ..ModelConfig::new("a/b") }), [ModelParameter::TopK]);
    }

    #[test]
    fn key_is_never_serialized_or_shown() {
        let config: ModelConfig =
            serde_json::from_str(r#"{"model":"m","base_url":"https://x/v1","api_key":"sk-secret"}"#).unwrap();
        assert_eq!(config.api_key.as_ref().unwrap().expose_secret(), "sk-secret");
        let written = serde_json::to_string(&config).unwrap();
        assert!(!written.contains("sk-secret") && !written.contains("api_key"), "{written}");
        assert!(!format!("{config:?}").contains("sk-secret"));
    }

    #[test]
    fn host_excludes_path() {
        assert_eq!(source().host(), Some("127.0.0.1:1"));
        assert_eq!(ModelConfig::new("a/b").host(), None);
    }
}
