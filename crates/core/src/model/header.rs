//! Headers that can carry a key.

/// HTTP headers that cannot carry a key, in lower case, because HTTP or a proxy needs them.
pub const RESERVED_HEADERS: [&str; 15] = [
    // Hop-by-hop headers (RFC 9110, section 7.6.1), which are not forwarded.
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // Headers about the connection and the body.
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
