//! The destination of a route: a model's provider, with its key, its parameters and its prices.

use std::fmt;

use http::{
    HeaderName, HeaderValue, Uri,
    header::{self, InvalidHeaderName},
    uri::{PathAndQuery, Scheme},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{Prices, Throttle, headers};

/// The destination of a route.
///
/// ```
/// use opencode_run_gateway::{Protocol, Upstream};
///
/// let upstream = Upstream {
///     credential: Some("sk-1234567890".into()),
///     ..Upstream::new("https://api.example.com/v1", Protocol::OpenAiCompatible)
/// };
/// assert!(!format!("{upstream:?}").contains("sk-1234567890"));
/// ```
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field")]
pub struct Upstream {
    /// The base URL of the provider, such as `https://api.example.com/v1`; its query is added to that of each
    /// request.
    pub base_url: String,
    /// The provider's key, without `Bearer`. Without one, requests carry no key.
    pub credential: Option<SecretString>,
    /// The header that carries the key.
    pub key_header: KeyHeader,
    /// The provider's protocol, which determines the forwarded paths and the format of error answers.
    pub protocol: Protocol,
    /// The only model that may be used, so that `prices` apply to every request; any model if `None`.
    pub model: Option<String>,
    /// The parameters that are set in each request to a model.
    pub parameters: Parameters,
    /// The provider's prices; without them the cost is unknown.
    pub prices: Option<Prices>,
    /// Delays requests: by a maximum rate, and during pauses after a rate limit. `None` delays none.
    pub throttle: Option<Throttle>,
}

/// The header that carries a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KeyHeader {
    /// The default of the protocol: `x-api-key` for Anthropic, `x-goog-api-key` for Google, otherwise
    /// `Authorization: Bearer`.
    #[default]
    ProtocolDefault,
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// A header with this name, whose value is only the key.
    Named(String),
}

/// The protocol of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `OpenAI`'s own protocol, including the responses API, and everything compatible with it.
    OpenAiCompatible,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini API.
    Google,
    /// Unknown: the paths of all three are forwarded, and errors have `OpenAI`'s format.
    Other,
}

/// The parameters that are set in each request to a model, overriding the request's own; a `None` changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in field by field")]
pub struct Parameters {
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// The number of candidates to sample from.
    pub top_k: Option<u32>,
    /// The maximum number of tokens of an answer.
    pub max_tokens: Option<u32>,
}

/// The reason why a route could not be opened. No message contains a key or a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The base URL is invalid.
    #[error("the base URL {0}")]
    BaseUrl(&'static str),
    /// No HTTP header can carry the key: it is empty or contains a line break, a space or another character that is
    /// not visible ASCII.
    #[error(
        "the key is empty or contains characters other than ASCII letters, digits and punctuation, so no HTTP header can carry it"
    )]
    Key,
    /// The name of the key's header is invalid.
    #[error("the name of the key's header is invalid")]
    HeaderName(#[source] InvalidHeaderName),
    /// HTTP uses the header for another purpose.
    #[error("HTTP uses the header {0} for another purpose, so it cannot carry a key")]
    ReservedHeader(HeaderName),
    /// A parameter is not a number.
    #[error("the parameter {0} is not a number")]
    Parameter(&'static str),
    /// The prices are negative or not numbers.
    #[error("prices must be amounts in USD of at least 0")]
    Prices,
    /// The certificates that TLS needs to trust a provider could not be read.
    #[error("read the trusted certificates: {0}")]
    Certificates(String),
}

impl Upstream {
    /// Creates an upstream without key, parameters and prices, that allows every model.
    pub fn new(base_url: impl Into<String>, protocol: Protocol) -> Self {
        Self {
            base_url: base_url.into(),
            credential: None,
            key_header: KeyHeader::default(),
            protocol,
            model: None,
            parameters: Parameters::default(),
            prices: None,
            throttle: None,
        }
    }
}

/// A validated upstream.
pub(crate) struct Target {
    base: Base,
    key: Option<(HeaderName, HeaderValue)>,
    pub(crate) protocol: Protocol,
    pub(crate) model: Option<String>,
    pub(crate) parameters: Parameters,
    pub(crate) prices: Option<Prices>,
    pub(crate) throttle: Option<Throttle>,
}

/// The parts of a base URL.
#[derive(Debug, Clone)]
struct Base {
    scheme: Scheme,
    authority: http::uri::Authority,
    /// Without a trailing slash.
    path: String,
    query: Option<String>,
}

impl Target {
    pub(crate) fn new(upstream: &Upstream) -> Result<Self, OpenError> {
        let name = match &upstream.key_header {
            KeyHeader::Named(name) => HeaderName::try_from(name).map_err(OpenError::HeaderName)?,
            KeyHeader::ProtocolDefault => match upstream.protocol {
                Protocol::Anthropic => headers::X_API_KEY,
                Protocol::Google => headers::X_GOOG_API_KEY,
                Protocol::OpenAiCompatible | Protocol::Other => header::AUTHORIZATION,
            },
            KeyHeader::Bearer => header::AUTHORIZATION,
        };
        if headers::is_reserved(&name) {
            return Err(OpenError::ReservedHeader(name));
        }
        let bearer = !matches!(upstream.key_header, KeyHeader::Named(_)) && name == header::AUTHORIZATION;
        let key = upstream.credential.as_ref().map(|key| header_value(key, bearer)).transpose()?;
        for (parameter, value) in
            [("temperature", upstream.parameters.temperature), ("top_p", upstream.parameters.top_p)]
        {
            if value.is_some_and(|value| !value.is_finite()) {
                return Err(OpenError::Parameter(parameter));
            }
        }
        if !upstream.prices.as_ref().is_none_or(Prices::are_valid) {
            return Err(OpenError::Prices);
        }
        Ok(Self {
            base: Base::new(&upstream.base_url)?,
            key: key.map(|key| (name, key)),
            protocol: upstream.protocol,
            model: upstream.model.clone(),
            parameters: upstream.parameters,
            prices: upstream.prices,
            throttle: upstream.throttle.clone(),
        })
    }

    /// Returns the base URL as a `Uri`.
    pub(crate) fn uri(&self) -> Option<Uri> {
        self.base.uri("", None)
    }

    /// Returns the URL for a path below the base and a query.
    pub(crate) fn uri_of(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        self.base.uri(path, query)
    }

    /// Returns the header that carries the key.
    pub(crate) fn key(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.key.as_ref()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("authority", &self.base.authority).finish_non_exhaustive()
    }
}

impl Base {
    fn new(url: &str) -> Result<Self, OpenError> {
        let wrong = OpenError::BaseUrl;
        if url.contains('#') {
            return Err(wrong("has a fragment"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(wrong("has no scheme or no host: write http:// or https://, a host and a path"));
        };
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(wrong("is neither http:// nor https://"));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("contains a user or a password: name the key's header instead"));
        }
        if authority.host().is_empty() || authority.as_str().ends_with(':') {
            return Err(wrong("has no host or no port after its colon"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        let query = uri.query().filter(|query| !query.is_empty()).map(str::to_owned);
        Ok(Self { scheme: scheme.clone(), authority: authority.clone(), path, query })
    }

    fn uri(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let queries: Vec<&str> = [self.query.as_deref(), query].into_iter().flatten().collect();
        let mut text = format!("{}/{path}", self.path);
        if !queries.is_empty() {
            text = format!("{text}?{}", queries.join("&"));
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
        Uri::from_parts(parts).ok()
    }
}

fn header_value(key: &SecretString, bearer: bool) -> Result<HeaderValue, OpenError> {
    let key = key.expose_secret();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(OpenError::Key);
    }
    let mut value = if bearer { HeaderValue::try_from(format!("Bearer {key}")) } else { HeaderValue::try_from(key) }
        .map_err(|_| OpenError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(key: &str) -> Upstream {
        Upstream { credential: Some(key.into()), ..Upstream::new("https://x/v1", Protocol::OpenAiCompatible) }
    }

    fn header_of(upstream: &Upstream) -> (String, String) {
        let target = Target::new(upstream).unwrap();
        let (name, value) = target.key().unwrap();
        assert!(value.is_sensitive());
        (name.to_string(), value.to_str().unwrap().to_owned())
    }

    #[test]
    fn invalid_key_is_rejected_and_hidden() {
        for key in ["", "sk-1\nx: y", "sk-1\r\n", "sk 1", "sk-\u{201c}", "\0"] {
            let error = Target::new(&keyed(key)).unwrap_err();
            assert!(matches!(error, OpenError::Key), "{key:?}: {error}");
            assert!(key.is_empty() || !format!("{error} {error:?}").contains(key));
        }
    }

    #[test]
    fn key_header_is_configurable() {
        let with = |protocol, key_header| header_of(&Upstream { key_header, protocol, ..keyed("k1") });
        let bearer = ("authorization".to_owned(), "Bearer k1".to_owned());
        let named = |name: &str| (name.to_owned(), "k1".to_owned());
        assert_eq!(with(Protocol::OpenAiCompatible, KeyHeader::ProtocolDefault), bearer);
        assert_eq!(with(Protocol::Other, KeyHeader::ProtocolDefault), bearer);
        assert_eq!(with(Protocol::Anthropic, KeyHeader::ProtocolDefault), named("x-api-key"));
        assert_eq!(with(Protocol::Google, KeyHeader::ProtocolDefault), named("x-goog-api-key"));
        assert_eq!(with(Protocol::Anthropic, KeyHeader::Bearer), bearer);
        assert_eq!(with(Protocol::Google, KeyHeader::Named("X-My-Key".to_owned())), named("x-my-key"));
        assert_eq!(with(Protocol::Other, KeyHeader::Named("authorization".to_owned())), named("authorization"));
    }

    #[test]
    fn reserved_key_header_is_rejected() {
        for name in
            ["Host", "content-length", "connection", "transfer-encoding", "te", "accept-encoding", "content-type"]
        {
            let upstream = Upstream { key_header: KeyHeader::Named(name.to_owned()), ..keyed("k1") };
            assert!(matches!(Target::new(&upstream), Err(OpenError::ReservedHeader(_))), "{name}");
        }
        let upstream = Upstream { key_header: KeyHeader::Named("a b".to_owned()), ..keyed("k1") };
        assert!(matches!(Target::new(&upstream), Err(OpenError::HeaderName(_))));
    }

    #[test]
    fn base_url_is_joined_with_path() {
        let joined = |base: &str, path: &str, query| {
            let upstream = Upstream::new(base, Protocol::OpenAiCompatible);
            Target::new(&upstream).unwrap().uri_of(path, query).unwrap().to_string()
        };
        assert_eq!(joined("https://x/v1", "chat/completions", None), "https://x/v1/chat/completions");
        assert_eq!(joined("https://x/v1/", "models", Some("a=b")), "https://x/v1/models?a=b");
        assert_eq!(joined("http://[::1]:8080", "models", None), "http://[::1]:8080/models");
        assert_eq!(joined("https://x/v1?api-version=2", "models", Some("a")), "https://x/v1/models?api-version=2&a");
    }

    #[test]
    fn invalid_base_url_is_rejected_and_hidden() {
        for url in [
            "",
            "x/v1",
            "/v1",
            "ftp://x/v1",
            "https://",
            "https://user:sk-1@x/v1",
            "https://x/#f",
            "https://:1/v1",
            "https://x:/v1",
            "https://a b/",
            "x",
            "*",
        ] {
            let error = Target::new(&Upstream::new(url, Protocol::Other)).unwrap_err();
            assert!(matches!(error, OpenError::BaseUrl(_)), "{url}: {error}");
            assert!(!error.to_string().contains("sk-1"));
        }
    }

    #[test]
    fn non_finite_numbers_are_rejected() {
        let nan = Parameters { temperature: Some(f64::NAN), ..Parameters::default() };
        let upstream = Upstream { parameters: nan, ..keyed("k1") };
        assert!(matches!(Target::new(&upstream), Err(OpenError::Parameter("temperature"))));
        let upstream = Upstream { prices: Some(Prices { input: -1.0, output: 0.0 }), ..keyed("k1") };
        assert!(matches!(Target::new(&upstream), Err(OpenError::Prices)));
    }
}
