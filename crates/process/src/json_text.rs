//! Parses JSON from opencode, even if a string contains half of a UTF-16 surrogate pair.
//!
//! opencode runs on JavaScript, whose strings are UTF-16: a tool that cuts a long line by length may cut an emoji in
//! half, and `JSON.stringify` writes the remaining half as an escape such as `\ud83d`. That is valid JSON but not
//! Unicode text, so `serde_json` refuses to read it as a `String`. All JSON from opencode is repaired here before it is
//! parsed; the crate's `clippy.toml` forbids other ways to parse.

use memchr::memmem;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// The replacement of half a surrogate pair.
const REPLACEMENT: &str = "\\ufffd";

/// Parses JSON from opencode.
///
/// # Errors
///
/// If it is not JSON, or does not match `T`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    parse_repaired(&repair_surrogates(text))
}

/// Parses a value of repaired text, or JSON that does not come from opencode.
///
/// # Errors
///
/// If it is not JSON, or does not match `T`.
#[expect(clippy::disallowed_methods, reason = "the callers guarantee the repair")]
pub(crate) fn parse_repaired<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    serde_json::from_str(text)
}

/// Parses the value at the start of a text from opencode; `None` if it does not match `T` or was cut.
#[expect(clippy::disallowed_methods, reason = "the text is repaired here")]
pub(crate) fn parse_beginning<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::Deserializer::from_str(&repair_surrogates(text)).into_iter().next()?.ok()
}

/// Replaces each escape of half a surrogate pair by that of U+FFFD. Escapes of whole pairs and all other text are
/// unchanged.
///
/// The text need not be valid JSON. Text without such an escape is returned unchanged after two fast searches.
pub(crate) fn repair_surrogates(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if memmem::find(bytes, b"\\ud").is_none() && memmem::find(bytes, b"\\uD").is_none() {
        return Cow::Borrowed(text);
    }
    let mut repaired = String::new();
    // All text before `copied` is in `repaired`.
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        let escape = at + found;
        // Skips escaped backslashes too, so that the text after them is not mistaken for an escape.
        at = (escape + 2).min(bytes.len());
        match surrogate_at(bytes, escape) {
            Some(Half::High) if surrogate_at(bytes, escape + 6) == Some(Half::Low) => at = escape + 12,
            Some(_) => {
                repaired.push_str(&text[copied..escape]);
                repaired.push_str(REPLACEMENT);
                at = escape + 6;
                copied = at;
            }
            None => {}
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    repaired.push_str(&text[copied..]);
    Cow::Owned(repaired)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

/// Returns which half of a surrogate pair the six bytes of an escape represent, if any.
fn surrogate_at(bytes: &[u8], at: usize) -> Option<Half> {
    let [b'\\', b'u', b'd' | b'D', second, third, fourth] = bytes.get(at..at + 6)? else { return None };
    if !third.is_ascii_hexdigit() || !fourth.is_ascii_hexdigit() {
        return None;
    }
    match second {
        b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => Some(Half::High),
        b'c'..=b'f' | b'C'..=b'F' => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::fmt::Write;

    #[test]
    fn lone_halves_are_replaced() {
        for (json, text) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""a\uD83Db""#, "a\u{fffd}b"),
            (r#""\ude00""#, "\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
            (r#""\ud83d\"""#, "\u{fffd}\""),
        ] {
            assert!(parse_repaired::<String>(json).is_err(), "{json}");
            assert_eq!(parse::<String>(json).unwrap(), text, "{json}");
        }
    }

    #[test]
    fn other_text_is_not_touched() {
        for text in [
            r#""\ud83d\ude00 \uD83D\uDE00""#,
            r#""\\ud83d""#,
            r#""\\\\ud83d""#,
            r#""\u00e9 \ud7ff \ue000""#,
            r"\ud8",
            r"\ud83",
            r"\udzzz",
            r"\",
            "",
            "plain \u{1f600}",
        ] {
            assert!(matches!(repair_surrogates(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn keys_and_nested_values_are_repaired() {
        let json = r#"{"\ud83d":[{"a":"\ude00"}],"b":1.0}"#;
        let value: Value = parse(json).unwrap();
        assert_eq!(value["\u{fffd}"][0]["a"], "\u{fffd}");
    }

    proptest! {
        /// Any UTF-16 text, written as JavaScript writes it, is read as Rust decodes it.
        #[test]
        fn any_utf16_text_is_read(units in proptest::collection::vec(
            prop_oneof![0xd7f0_u16..0xe010, Just(u16::from(b'\\')), Just(u16::from(b'u')), Just(u16::from(b'"')), any::<u16>()],
            0..24,
        )) {
            let mut json = "\"".to_owned();
            for unit in &units {
                match *unit {
                    0x22 | 0x5c => json.extend(['\\', char::from_u32((*unit).into()).unwrap()]),
                    _ => write!(json, "\\u{unit:04x}").unwrap(),
                }
            }
            json.push('"');
            let read: String = parse(&json).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn any_text_is_accepted(text in r#"[\\ud8cf3D"é]{0,40}"#) {
            let repaired = repair_surrogates(&text);
            let again = repair_surrogates(&repaired).into_owned();
            prop_assert_eq!(again, repaired.into_owned());
        }
    }
}
