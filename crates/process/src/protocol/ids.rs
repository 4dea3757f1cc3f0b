//! opencode's ids, which are validated on reading: an attached server can send any text as an id.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::borrow::Borrow;

/// The longest valid id; opencode's have 30 characters.
const MAX_ID_BYTES: usize = 128;

/// Returns whether a text has the form of an id, such as `ses_1f2E`. Other texts could name another route or file.
pub(crate) fn is_id(id: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(is_part)
}

/// Deserializes an id.
pub(crate) fn read<'de, D: Deserializer<'de>, T: Deserialize<'de> + Borrow<str>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let id = T::deserialize(deserializer)?;
    if is_id(id.borrow()) { Ok(id) } else { Err(D::Error::custom("not an id of opencode's")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_not_an_id() {
        for id in ["ses_1f2E", "msg_A-b", "1"] {
            assert!(is_id(id), "{id}");
        }
        let long = "a".repeat(MAX_ID_BYTES + 1);
        for id in ["", "../x", "ses_1/x", "ses_1?x", "ses_%2e", "ses 1", "s\u{e9}s", "ses\n", "ses_1\u{1b}[2J", &long] {
            assert!(!is_id(id), "{id}");
        }
    }
}
