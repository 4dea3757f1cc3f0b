//! The protocol and the purpose of a request.

use axum::http::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A protocol of model providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protocol {
    /// OpenAI's chat completions, which compatible servers share.
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's generative language API.
    Google,
}

/// The purpose of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A model's answer.
    Answer { protocol: Protocol },
    /// The list of models.
    Models { protocol: Protocol },
    /// An endpoint that is not served.
    Unknown,
}

impl Endpoint {
    pub(crate) fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let google_model = path.strip_prefix("/v1beta/models/");
        if method == Method::POST {
            match (path, google_model.and_then(|rest| rest.rsplit_once(':'))) {
                ("/v1/chat/completions", _) => Self::Answer { protocol: Protocol::OpenAi },
                ("/v1/messages", _) => Self::Answer { protocol: Protocol::Anthropic },
                (_, Some((_, "generateContent" | "streamGenerateContent"))) => {
                    Self::Answer { protocol: Protocol::Google }
                }
                _ => Self::Unknown,
            }
        } else if method == Method::GET {
            match path {
                "/v1/models" => Self::Models { protocol: Protocol::OpenAi },
                "/v1beta/models" => Self::Models { protocol: Protocol::Google },
                _ => Self::Unknown,
            }
        } else {
            Self::Unknown
        }
    }

    pub(crate) fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Answer { protocol } | Self::Models { protocol } => Some(*protocol),
            Self::Unknown => None,
        }
    }
}

/// Returns the requested model; Google has it in the path, the others in the body.
pub(crate) fn model_of<'a>(protocol: Option<Protocol>, path: &'a str, body: &'a Value) -> &'a str {
    if protocol == Some(Protocol::Google) {
        path.strip_prefix("/v1beta/models/").and_then(|rest| rest.rsplit_once(':')).map_or("", |(model, _)| model)
    } else {
        body["model"].as_str().unwrap_or_default()
    }
}

/// Returns whether a request asks for a streamed answer.
pub(crate) fn wants_stream(protocol: Protocol, path: &str, body: &Value) -> bool {
    match protocol {
        Protocol::OpenAi | Protocol::Anthropic => body["stream"] == Value::Bool(true),
        Protocol::Google => path.split('?').next().is_some_and(|path| path.ends_with(":streamGenerateContent")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(method: &str, uri: &str) -> Endpoint {
        Endpoint::of(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn endpoints_of_all_protocols_are_recognized() {
        let answer = |protocol| Endpoint::Answer { protocol };
        assert_eq!(of("POST", "/v1/chat/completions"), answer(Protocol::OpenAi));
        assert_eq!(of("POST", "/v1/messages?beta=true"), answer(Protocol::Anthropic));
        assert_eq!(of("POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"), answer(Protocol::Google));
        assert_eq!(of("GET", "/v1/models"), Endpoint::Models { protocol: Protocol::OpenAi });
        assert_eq!(of("GET", "/v1/chat/completions"), Endpoint::Unknown);
        assert_eq!(of("POST", "/v1beta/models/gemini:embedContent"), Endpoint::Unknown);
        assert_eq!(of("DELETE", "/v1/models"), Endpoint::Unknown);
    }

    #[test]
    fn model_and_stream_flag_are_parsed() {
        let path = "/v1beta/models/gemini:streamGenerateContent?alt=sse";
        assert_eq!(model_of(Some(Protocol::Google), path, &Value::Null), "gemini");
        assert!(wants_stream(Protocol::Google, path, &Value::Null));
        let path = "/v1beta/models/gemini:generateContent";
        assert!(!wants_stream(Protocol::Google, path, &Value::Null));
        let body = json!({"model": "gpt-4", "stream": true});
        assert_eq!(model_of(Some(Protocol::OpenAi), "/v1/chat/completions", &body), "gpt-4");
        assert!(wants_stream(Protocol::OpenAi, "", &body));
        assert!(!wants_stream(Protocol::Anthropic, "", &json!({"stream": false})));
    }
}
