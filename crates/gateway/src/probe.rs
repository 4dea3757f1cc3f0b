//! Probes an upstream before anything depends on it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, PROXY_AUTHORIZATION, USER_AGENT},
};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use tokio::time::timeout;

use crate::{GatewayOptions, OpenError, Protocol, Redactor, Upstream, dial, failure::Failure, tls, upstream::Target};

/// The maximum size of a list in bytes. The longest known lists have hundreds of models and some hundreds of kilobytes.
const MAX_LIST_BYTES: usize = 8 << 20;

/// The models that an upstream lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelList {
    names: Vec<String>,
    is_complete: bool,
}

/// The reason why an upstream did not list its models. No message contains a key or a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The configuration of the upstream is invalid.
    #[error(transparent)]
    Unusable(OpenError),
    /// The proxy in the options is invalid.
    #[error("the proxy is not the URL of an HTTP or SOCKS 5 proxy")]
    Proxy,
    /// The host name cannot be resolved.
    #[error("the host name {0} cannot be resolved")]
    UnknownHost(String),
    /// The connection was refused.
    #[error("the connection was refused: no server listens at this address")]
    Refused,
    /// The connection failed for another reason.
    #[error("the connection failed{}", if *.by_proxy { " at the proxy" } else { "" })]
    NoConnection {
        /// Whether a proxy is used.
        by_proxy: bool,
    },
    /// The upstream's certificate is not trusted, for this reason.
    #[error("its certificate is not trusted: {0}")]
    Certificate(&'static str),
    /// The upstream did not answer in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// The upstream closed the connection before the end of its answer, or did not speak HTTP.
    #[error("it closed the connection before the end of its answer")]
    Broken,
    /// The upstream redirects the client. Redirects are not followed, because the key would be sent along.
    #[error("it answers with a redirect")]
    Redirect,
    /// The upstream rejects the key, or requires one.
    #[error("it rejects the key (status {0})")]
    Key(u16),
    /// The upstream does not list its models, which is not required.
    #[error("it does not list its models (status {0})")]
    NoList(u16),
    /// The upstream answers with another status, such as one for too many requests.
    #[error("it answers with the status {0}")]
    Status(u16),
}

impl ModelList {
    /// Returns the names, in the order of the list.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns whether the list is complete: some upstreams return it in pages, of which this is the first.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Parses the lists of all protocols; `None` if the text is not such a list.
    fn read(text: &str) -> Option<Self> {
        let answer: Value = serde_json::from_str(text).ok()?;
        let list = match &answer {
            Value::Array(list) => list.as_slice(),
            answer => match answer.get("data").or_else(|| answer.get("models"))? {
                // Some upstreams send this for an empty list.
                Value::Null => &[][..],
                list => list.as_array()?.as_slice(),
            },
        };
        let name = |model: &Value| {
            let name = model.get("id").or_else(|| model.get("name"))?.as_str()?;
            Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
        };
        let has_more = answer.get("has_more").and_then(Value::as_bool).unwrap_or(false)
            || answer.get("nextPageToken").and_then(Value::as_str).is_some_and(|token| !token.is_empty());
        Some(Self { names: list.iter().filter_map(name).collect(), is_complete: !has_more })
    }
}

/// Requests the model list of an upstream in the same way as a route to it would: through the same proxies, with
/// the same trusted certificates and with its key. This shows whether it can be reached, whether it accepts the
/// key, and which models it has.
///
/// It costs no tokens, takes at most `limit`, and needs no gateway. Dropping the future aborts the request.
///
/// # Errors
///
/// See [`ProbeError`].
///
/// ```no_run
/// use opencode_run_gateway::{GatewayOptions, Protocol, Upstream, probe};
/// use std::time::Duration;
///
/// # async fn look() -> Result<(), Box<dyn std::error::Error>> {
/// let upstream = Upstream {
///     credential: Some("sk-1234567890".into()),
///     ..Upstream::new("https://api.example.com/v1", Protocol::OpenAiCompatible)
/// };
/// let list = probe(&upstream, &GatewayOptions::default(), Duration::from_secs(10)).await?;
/// println!("{}", list.names().join("\n"));
/// # Ok(())
/// # }
/// ```
pub async fn probe(upstream: &Upstream, options: &GatewayOptions, limit: Duration) -> Result<ModelList, ProbeError> {
    let target = Target::new(upstream).map_err(ProbeError::Unusable)?;
    timeout(limit, ask(upstream, &target, options)).await.map_err(|_| ProbeError::TimedOut)?
}

async fn ask(upstream: &Upstream, target: &Target, options: &GatewayOptions) -> Result<ModelList, ProbeError> {
    let query = match target.protocol {
        Protocol::Anthropic => Some("limit=1000"),
        Protocol::Google => Some("pageSize=1000"),
        Protocol::OpenAiCompatible | Protocol::Other => None,
    };
    let no_url = || ProbeError::Unusable(OpenError::BaseUrl("is not a URL"));
    let uri = target.uri_of("models", query).ok_or_else(no_url)?;
    let proxies = Arc::new(dial::matcher(&options.proxy).ok_or(ProbeError::Proxy)?);
    let trusted = if dial::is_plain(&proxies, &uri) { tls::of_nobody() } else { tls::of_system(options) };
    let client = dial::client(&proxies, trusted.map_err(ProbeError::Unusable)?, options.connect_timeout);

    let mut request = Request::new(Full::<Bytes>::default());
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("opencode-run/", env!("CARGO_PKG_VERSION"))));
    if target.protocol == Protocol::Anthropic {
        headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
    }
    if let Some((name, value)) = target.key() {
        headers.insert(name, value.clone());
    }
    if let Some(authorization) = dial::proxy_authorization(&proxies, &uri) {
        headers.insert(PROXY_AUTHORIZATION, authorization);
    }

    let by_proxy = dial::proxy_for(&proxies, &uri).is_some();
    let answer = match client.request(request).await {
        Ok(answer) => answer,
        Err(error) => return Err(probe_error(Failure::of(&error), &uri, by_proxy).await),
    };
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_LIST_BYTES).collect().await.map_err(|_| ProbeError::Broken)?;
    let body = body.to_bytes();
    let text = String::from_utf8_lossy(&body);
    judge(status, &Redactor::new(upstream.credential.clone()).redact(&text))
}

/// Converts a failure into an error.
async fn probe_error(failure: Failure, uri: &Uri, by_proxy: bool) -> ProbeError {
    match failure {
        Failure::Certificate(what) => ProbeError::Certificate(what),
        // The proxy refused the connection.
        Failure::Refused | Failure::NoConnection if by_proxy => ProbeError::NoConnection { by_proxy },
        Failure::Refused => ProbeError::Refused,
        Failure::NoConnection => {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            match tokio::net::lookup_host((host, 0)).await {
                Ok(_) => ProbeError::NoConnection { by_proxy },
                Err(_) => ProbeError::UnknownHost(host.to_owned()),
            }
        }
        Failure::Broken => ProbeError::Broken,
        Failure::TimedOut => ProbeError::TimedOut,
    }
}

fn judge(status: StatusCode, text: &str) -> Result<ModelList, ProbeError> {
    let number = status.as_u16();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ProbeError::Key(number)),
        // Google reports an unknown key in this way.
        StatusCode::BAD_REQUEST if text.contains("API_KEY_INVALID") => Err(ProbeError::Key(number)),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            Err(ProbeError::NoList(number))
        }
        status if status.is_redirection() => Err(ProbeError::Redirect),
        status if status.is_success() => ModelList::read(text).ok_or(ProbeError::NoList(number)),
        _ => Err(ProbeError::Status(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Vec<String>, bool)> {
        ModelList::read(text).map(|list| (list.names, list.is_complete))
    }

    #[test]
    fn model_lists_are_parsed() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let openai = r#"{"object":"list","data":[{"id":"a/b"},{"id":"c"},{"no":1}]}"#;
        assert_eq!(read(openai), Some((names(&["a/b", "c"]), true)));
        assert_eq!(read(r#"{"data":[{"id":"a"}],"has_more":true}"#), Some((names(&["a"]), false)));
        let google = r#"{"models":[{"name":"models/g"}],"nextPageToken":"x"}"#;
        assert_eq!(read(google), Some((names(&["g"]), false)));
        assert_eq!(read(r#"[{"id":"a"}]"#), Some((names(&["a"]), true)));
        assert_eq!(read(r#"{"data":null}"#), Some((names(&[]), true)));
        for no_list in ["", "<html>", "{}", "1", r#"{"data":"x"}"#] {
            assert_eq!(read(no_list), None, "{no_list}");
        }
    }
}
