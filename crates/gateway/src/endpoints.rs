//! The requests that are forwarded: only those that a provider's package sends.

use crate::Protocol;
use crate::requested::{is_stream, model_of};
use http::Method;

/// A request that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelEndpoint<'p> {
    pub(crate) kind: Kind,
    /// The path below the base URL.
    pub(crate) path: &'p str,
}

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A model's answer, through `OpenAI`'s chat completions or completions.
    Chat,
    /// A model's answer, through `OpenAI`'s responses.
    Responses,
    /// A model's answer, through Anthropic's messages.
    Messages,
    /// A model's answer, through Google's API.
    Generate,
    /// Anything else: embeddings, a token count, the list of models.
    Aside,
}

/// Returns the endpoint for a path below the route, if there is one.
///
/// Paths are compared without decoding, so one with `..`, `//`, `%` or `\` never matches.
pub(crate) fn endpoint<'p>(protocol: Protocol, method: &Method, path: &'p str) -> Option<ModelEndpoint<'p>> {
    let openai = || match (method, path) {
        (&Method::POST, "chat/completions" | "completions") => Some(Kind::Chat),
        (&Method::POST, "responses") => Some(Kind::Responses),
        (&Method::POST, "embeddings") | (&Method::GET, "models") => Some(Kind::Aside),
        _ => None,
    };
    let anthropic = || match (method, path) {
        (&Method::POST, "messages") => Some(Kind::Messages),
        (&Method::POST, "messages/count_tokens") | (&Method::GET, "models") => Some(Kind::Aside),
        _ => None,
    };
    let google = || match (method, path) {
        (&Method::GET, "models") => Some(Kind::Aside),
        (&Method::POST, path) => google_call(path),
        _ => None,
    };
    let kind = match protocol {
        Protocol::OpenAiCompatible => openai(),
        Protocol::Anthropic => anthropic(),
        Protocol::Google => google(),
        Protocol::Other => openai().or_else(anthropic).or_else(google),
    };
    kind.map(|kind| ModelEndpoint { kind, path })
}

impl ModelEndpoint<'_> {
    /// Returns whether a request with this body uses the given model and no other. A list of models uses none.
    pub(crate) fn asks(&self, model: &str, body: &[u8]) -> bool {
        match self.path.split_once(':') {
            _ if self.path == "models" => true,
            Some((named, _)) => named == model || named.strip_prefix("models/") == Some(model),
            None => model_of(body).is_some_and(|asked| asked == model),
        }
    }
}

impl ModelEndpoint<'_> {
    /// Returns whether a request asks for a model's answer as an event stream.
    pub(crate) fn asks_for_a_stream(&self, query: Option<&str>, body: &[u8]) -> bool {
        match self.kind {
            Kind::Aside => false,
            Kind::Generate => {
                self.path.ends_with(":streamGenerateContent")
                    && query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"))
            }
            Kind::Chat | Kind::Responses | Kind::Messages => is_stream(body),
        }
    }
}

/// Parses `models/NAME:CALL` or `tunedModels/NAME:CALL`.
fn google_call(path: &str) -> Option<Kind> {
    let (model, call) = path.split_once(':')?;
    let name = model.strip_prefix("models/").or_else(|| model.strip_prefix("tunedModels/"))?;
    let is_name = !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    match call {
        _ if !is_name => None,
        "generateContent" | "streamGenerateContent" => Some(Kind::Generate),
        "countTokens" | "embedContent" | "batchEmbedContents" => Some(Kind::Aside),
        _ => None,
    }
}

/// Returns a query without parameters that may carry a key; `None` if nothing remains.
pub(crate) fn query_without_key(query: &str, placeholder: &str) -> Option<String> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            !matches!(name.to_ascii_lowercase().as_str(), "key" | "api_key" | "api-key" | "apikey" | "access_token")
                && value != placeholder
        })
        .collect();
    let kept = kept.join("&");
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(protocol: Protocol, method: &Method, path: &str) -> Option<Kind> {
        endpoint(protocol, method, path).map(|endpoint| endpoint.kind)
    }

    #[test]
    fn endpoints_depend_on_protocol() {
        let all = [
            (Method::POST, "chat/completions", Protocol::OpenAiCompatible, Kind::Chat),
            (Method::POST, "completions", Protocol::OpenAiCompatible, Kind::Chat),
            (Method::POST, "responses", Protocol::OpenAiCompatible, Kind::Responses),
            (Method::POST, "embeddings", Protocol::OpenAiCompatible, Kind::Aside),
            (Method::POST, "messages", Protocol::Anthropic, Kind::Messages),
            (Method::POST, "messages/count_tokens", Protocol::Anthropic, Kind::Aside),
            (Method::POST, "models/gemini-2.5-pro:streamGenerateContent", Protocol::Google, Kind::Generate),
            (Method::POST, "models/gemini-2.5-pro:generateContent", Protocol::Google, Kind::Generate),
            (Method::POST, "tunedModels/mine:generateContent", Protocol::Google, Kind::Generate),
            (Method::POST, "models/gemini-2.5-pro:countTokens", Protocol::Google, Kind::Aside),
        ];
        for (method, path, its, expected) in all {
            for protocol in [Protocol::OpenAiCompatible, Protocol::Anthropic, Protocol::Google] {
                assert_eq!(kind(protocol, &method, path), (protocol == its).then_some(expected), "{path}");
                assert_eq!(kind(protocol, &Method::GET, "models"), Some(Kind::Aside));
            }
            assert_eq!(kind(Protocol::Other, &method, path), Some(expected), "{path}");
            assert_eq!(kind(its, &Method::DELETE, path), None, "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_forwarded() {
        for path in [
            "",
            "/chat/completions",
            "chat/completions/",
            "chat//completions",
            "../chat/completions",
            "chat/../files",
            "chat/%2e%2e/files",
            "chat%2Fcompletions",
            "files",
            "fine_tuning/jobs",
            "models/x",
            "models/..:generateContent",
            "models/.:generateContent",
            "models/a/b:generateContent",
            "models/a%2fb:generateContent",
            "models/:generateContent",
            "models/x:generateContent:x",
            "models/x:delete",
            "models/x\\y:generateContent",
            "CHAT/COMPLETIONS",
        ] {
            for protocol in [Protocol::OpenAiCompatible, Protocol::Anthropic, Protocol::Google, Protocol::Other] {
                assert_eq!(kind(protocol, &Method::POST, path), None, "{path}");
            }
        }
    }

    #[test]
    fn model_is_read_from_path_or_body() {
        let asks =
            |protocol, path, body: &str| endpoint(protocol, &Method::POST, path).unwrap().asks("m", body.as_bytes());
        let chat = |body| asks(Protocol::OpenAiCompatible, "chat/completions", body);
        assert!(chat(r#"{"stream":true,"model":"m"}"#));
        for other in [r#"{"model":"n"}"#, "{}", "", r#"{"model":"m","model":"n"}"#, r#"{"model":["m"]}"#] {
            assert!(!chat(other), "{other}");
        }
        assert!(asks(Protocol::Google, "models/m:generateContent", "{}"));
        assert!(!asks(Protocol::Google, "models/n:generateContent", r#"{"model":"m"}"#));
        let tuned = endpoint(Protocol::Google, &Method::POST, "tunedModels/m:generateContent").unwrap();
        assert!(tuned.asks("tunedModels/m", b"") && !tuned.asks("m", b""));
        assert!(endpoint(Protocol::Google, &Method::GET, "models").unwrap().asks("m", b""));
    }

    #[test]
    fn query_is_forwarded_without_key() {
        let without = |query| query_without_key(query, "placeholder");
        assert_eq!(without("alt=sse&key=placeholder&x=%20y"), Some("alt=sse&x=%20y".to_owned()));
        assert_eq!(without("KEY=a&api_key=b"), None);
        assert_eq!(without("token=placeholder&beta=true"), Some("beta=true".to_owned()));
        assert_eq!(without(""), None);
    }
}
