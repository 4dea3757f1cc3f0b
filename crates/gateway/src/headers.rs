//! The headers that are forwarded in each direction.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
    },
};

use crate::Redactor;
use opencode_run_core::RESERVED_HEADERS;

pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub(crate) const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Hop-by-hop headers, which are not forwarded.
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];

/// Headers that may carry a key. Those of the client are dropped.
const CREDENTIALS: [HeaderName; 5] = [AUTHORIZATION, X_API_KEY, X_GOOG_API_KEY, API_KEY, COOKIE];

/// Headers that the gateway sets for its own connection to the upstream.
const OWN: [HeaderName; 4] = [HOST, CONTENT_LENGTH, EXPECT, ACCEPT_ENCODING];

/// The headers in which opencode names the session of a request.
///
/// If the provider's id begins with `opencode`, it is `x-opencode-session` in every version from 1.1.65 to 1.18.33.
/// For other providers it is `x-session-affinity` from 1.14.41 on, in 1.18 also `x-session-id`, and absent before.
const SESSION: [HeaderName; 3] = [
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("x-opencode-session"),
    HeaderName::from_static("x-session-affinity"),
];
/// The header in which opencode names the parent of that session: from 1.14.41 on, or only after 1.15.13 if the
/// provider's id begins with `opencode`.
const PARENT: HeaderName = HeaderName::from_static("x-parent-session-id");

/// Returns whether HTTP or the gateway needs a header for another purpose than a key.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    RESERVED_HEADERS.contains(&name.as_str())
}

/// Returns the session that a request names.
pub(crate) fn session(headers: &HeaderMap) -> Option<&str> {
    SESSION.iter().find_map(|name| headers.get(name)?.to_str().ok())
}

/// Returns the parent session that a request names.
pub(crate) fn parent_session(headers: &HeaderMap) -> Option<&str> {
    headers.get(PARENT)?.to_str().ok()
}

/// Converts a client's headers into those of the request to the upstream.
pub(crate) fn to_upstream(headers: &mut HeaderMap, key: Option<&(HeaderName, HeaderValue)>, placeholder: &str) {
    let trailers = headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    remove_hop_by_hop(headers);
    for name in CREDENTIALS.iter().chain(&OWN) {
        headers.remove(name);
    }
    remove_if(headers, |value| contains(value, placeholder));
    if let Some((name, value)) = key {
        headers.insert(name, value.clone());
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // An uncompressed answer can be scanned for token counts and is passed on unchanged.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Converts an upstream's headers into those of the answer to the client.
pub(crate) fn to_client(headers: &mut HeaderMap, redactor: &Redactor) {
    remove_hop_by_hop(headers);
    redact(headers, redactor);
}

/// Redacts the key in headers or trailers. Values need not be UTF-8.
pub(crate) fn redact(headers: &mut HeaderMap, redactor: &Redactor) {
    let named: Vec<_> = headers.keys().filter(|name| redactor.redact_bytes(name.as_ref()).is_some()).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        if let Some(redacted) = redactor.redact_bytes(value.as_bytes())
            && let Ok(redacted) = HeaderValue::try_from(redacted)
        {
            *value = redacted;
        }
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn remove_if(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderValue) -> bool) {
    let names: Vec<HeaderName> =
        headers.iter().filter(|(_, value)| unwanted(value)).map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

fn contains(value: &HeaderValue, text: &str) -> bool {
    memchr::memmem::find(value.as_bytes(), text.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut shown: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        shown.sort();
        shown
    }

    #[test]
    fn client_credentials_are_replaced() {
        let mut sent = headers(&[
            ("authorization", "Bearer placeholder"),
            ("x-api-key", "a"),
            ("x-goog-api-key", "b"),
            ("api-key", "c"),
            ("cookie", "d"),
            ("x-own-key", "my placeholder"),
            ("proxy-authorization", "e"),
            ("x-session-id", "ses_1"),
            ("anthropic-version", "2023-06-01"),
        ]);
        let key = (X_API_KEY, HeaderValue::from_static("the-key"));
        to_upstream(&mut sent, Some(&key), "placeholder");
        assert_eq!(
            shown(&sent),
            ["accept-encoding: identity", "anthropic-version: 2023-06-01", "x-api-key: the-key", "x-session-id: ses_1"]
        );
    }

    #[test]
    fn hop_by_hop_headers_are_dropped() {
        let pairs = [
            ("connection", "close, X-One"),
            ("connection", "x-two"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("retry-after", "3"),
        ];
        let mut answer = headers(&pairs);
        to_client(&mut answer, &Redactor::default());
        assert_eq!(shown(&answer), ["retry-after: 3"]);
        let mut request = headers(&[("connection", "authorization"), ("te", "trailers"), ("host", "x"), ("x", "y")]);
        to_upstream(&mut request, Some(&(AUTHORIZATION, HeaderValue::from_static("k"))), "placeholder");
        assert_eq!(shown(&request), ["accept-encoding: identity", "authorization: k", "te: trailers", "x: y"]);
    }

    #[test]
    fn answer_headers_are_redacted() {
        let mut answer = headers(&[("x-echo", "Bearer sk-12345678"), ("x", "sk-1")]);
        to_client(&mut answer, &Redactor::new(["sk-12345678".into()]));
        assert_eq!(shown(&answer), ["x-echo: Bearer [redacted]", "x: sk-1"]);
        let no_text = HeaderValue::from_bytes(b"\xff sk-12345678").unwrap();
        let mut answer = HeaderMap::from_iter([(X_API_KEY, no_text)]);
        to_client(&mut answer, &Redactor::new(["sk-12345678".into()]));
        assert_eq!(answer[X_API_KEY].as_bytes(), b"\xff [redacted]");
    }

    #[test]
    fn connection_headers_are_reserved() {
        for name in HOP_BY_HOP.iter().chain(&OWN) {
            assert!(is_reserved(name), "{name}");
        }
        assert!(!CREDENTIALS.iter().any(is_reserved));
    }

    #[test]
    fn session_is_read_from_any_header() {
        for name in ["X-Session-Id", "x-opencode-session", "x-session-affinity"] {
            assert_eq!(session(&headers(&[(name, "ses_1")])), Some("ses_1"));
        }
        assert_eq!(session(&headers(&[("x-session-affinity", "a"), ("x-session-id", "b")])), Some("b"));
        assert_eq!(session(&headers(&[])), None);
        assert_eq!(parent_session(&headers(&[("x-parent-session-id", "ses_0")])), Some("ses_0"));
    }
}
