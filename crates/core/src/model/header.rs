//! Headers that can carry a key.

/// The HTTP headers that cannot carry a key, in lower case: HTTP or a proxy needs them for itself.
pub const RESERVED_HEADERS: [&str; 15] = [
    // Between two neighbours (RFC 9110, section 7.6.1), not passed on.
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // Of the connection and the body.
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
];

/// Returns whether a text is the name of an HTTP header that can carry a key.
pub(crate) fn can_carry_key(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_token);
    is_name && !RESERVED_HEADERS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
}
