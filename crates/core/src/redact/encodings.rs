//! Property tests: secrets in random encodings and random chunks never survive redaction.

use ::base64::{Engine, alphabet, engine::general_purpose as base64};
use proptest::{prelude::*, sample::Index};
use serde_json::Value;

use super::*;

/// An encoding of a text.
#[derive(Debug, Clone)]
enum Encoding {
    /// JSON with some characters as `\u` escapes, in upper or lower case, and with escaped slashes.
    Json { by_number: Vec<bool>, upper: bool },
    /// A URL with some unnecessarily escaped characters.
    Url { escaped: Vec<bool>, upper: bool },
    /// HTML with some characters as numeric entities.
    Html { by_number: Vec<bool>, hex: bool, zeros: usize },
}

/// The innermost encoding.
#[derive(Debug, Clone)]
enum Armour {
    None,
    Base64 { front: String, behind: String, url: bool, pads: bool, wraps: bool },
    Hex { upper: bool },
}

fn is_chosen(choices: &[bool], index: usize) -> bool {
    choices.get(index % choices.len().max(1)).copied().unwrap_or_default()
}

impl Encoding {
    fn encode(&self, text: &str) -> String {
        let chars = text.chars().enumerate();
        match self {
            Self::Json { by_number, upper } => chars
                .map(|(index, char)| match char {
                    char if is_chosen(by_number, index) && *upper => format!("\\u{:04X}", u32::from(char)),
                    char if is_chosen(by_number, index) => format!("\\u{:04x}", u32::from(char)),
                    '/' if *upper => "\\/".to_owned(),
                    char => {
                        let quoted = Value::from(char.to_string()).to_string();
                        quoted[1..quoted.len() - 1].to_owned()
                    }
                })
                .collect(),
            Self::Url { escaped, upper } => chars
                .map(|(index, char)| match char {
                    char if char.is_ascii_alphanumeric() && !is_chosen(escaped, index) => char.to_string(),
                    char if *upper => format!("%{:02X}", u32::from(char)),
                    char => format!("%{:02x}", u32::from(char)),
                })
                .collect(),
            Self::Html { by_number, hex, zeros } => chars
                .map(|(index, char)| match char {
                    char if is_chosen(by_number, index) && *hex => {
                        format!("&#x{}{:X};", "0".repeat(*zeros), u32::from(char))
                    }
                    char if is_chosen(by_number, index) => format!("&#{}{};", "0".repeat(*zeros), u32::from(char)),
                    '&' => "&amp;".to_owned(),
                    '<' => "&lt;".to_owned(),
                    '"' => "&quot;".to_owned(),
                    char => char.to_string(),
                })
                .collect(),
        }
    }
}

impl Armour {
    fn encode(&self, secret: &str) -> String {
        match self {
            Self::None => secret.to_owned(),
            Self::Base64 { front, behind, url, pads, wraps } => {
                let alphabet = if *url { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
                let config = if *pads { base64::PAD } else { base64::NO_PAD };
                let text = base64::GeneralPurpose::new(alphabet, config).encode(format!("{front}{secret}{behind}"));
                let lines: Vec<_> = text.as_bytes().chunks(16).map(String::from_utf8_lossy).collect();
                if *wraps { lines.join("\n") } else { lines.concat() }
            }
            Self::Hex { upper } => {
                secret.bytes().map(|byte| if *upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
            }
        }
    }
}

fn encoding() -> impl Strategy<Value = Encoding> {
    let choices = || prop::collection::vec(any::<bool>(), 0..7);
    prop_oneof![
        (choices(), any::<bool>()).prop_map(|(by_number, upper)| Encoding::Json { by_number, upper }),
        (choices(), any::<bool>()).prop_map(|(escaped, upper)| Encoding::Url { escaped, upper }),
        (choices(), any::<bool>(), 0..4_usize).prop_map(|(by_number, hex, zeros)| Encoding::Html {
            by_number,
            hex,
            zeros
        }),
    ]
}

fn armour() -> impl Strategy<Value = Armour> {
    prop_oneof![
        3 => Just(Armour::None),
        2 => ("[a-z:]{0,5}", "[a-z\n]{0,5}", any::<[bool; 3]>()).prop_map(|(front, behind, [url, pads, wraps])| {
            Armour::Base64 { front, behind, url, pads, wraps }
        }),
        1 => any::<bool>().prop_map(|upper| Armour::Hex { upper }),
    ]
}

fn in_pieces(stream: &mut RedactorStream, text: &str, cuts: &[Index]) -> Vec<u8> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
    cuts.sort_unstable();
    let mut out = Vec::new();
    for cut in cuts.windows(2) {
        out.extend(stream.push(Bytes::copy_from_slice(&text.as_bytes()[cut[0]..cut[1]])));
    }
    out.extend(stream.finish());
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn encoded_secret_is_redacted_completely(
        secret in "[!-~]{8,40}",
        armour in armour(),
        encodings in prop::collection::vec(encoding(), 0..=3),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        // A backslash at either end would also belong to the adjacent text.
        prop_assume!(!secret.starts_with('\\') && !secret.ends_with('\\'));
        let written = encodings.iter().fold(armour.encode(&secret), |text, encoding| encoding.encode(&text));
        let text = format!("<key> {written} <end>");
        let redactor = Redactor::new([secret.as_str().into()]);
        let redacted = String::from_utf8(in_pieces(&mut redactor.stream(), &text, &cuts)).unwrap();
        if matches!(armour, Armour::Base64 { .. }) {
            prop_assert!(redacted.contains("[redacted]"), "{text:?} became {redacted:?}");
        } else {
            prop_assert_eq!(redacted, "<key> [redacted] <end>", "{:?}", text);
        }
        let of_same_length = in_pieces(&mut redactor.stream_of_same_length(), &text, &cuts);
        prop_assert_eq!(of_same_length.len(), text.len());
        prop_assert!(redactor.redact_bytes(&of_same_length).is_none());
    }

    #[test]
    fn redacted_json_stays_valid(
        secret in "[!-\\[\\]-~]{8,20}",
        front in "[\\\\/\"nrtu0-9a-f\n]{0,6}",
        encodings in prop::collection::vec(encoding(), 0..=2),
    ) {
        let written = encodings.iter().fold(secret.clone(), |text, encoding| encoding.encode(&text));
        let text = Value::from(format!("{front}{written}{front}")).to_string();
        let redacted = Redactor::new([secret.into()]).redact(&text).into_owned();
        prop_assert!(serde_json::from_str::<Value>(&redacted).is_ok(), "{text} became {redacted}");
        prop_assert!(redacted.contains("[redacted]"), "{text} became {redacted}");
    }
}

#[test]
fn usual_forms_are_found() {
    let secret = "sk-a/b+c=\"d&e<f";
    let redactor = Redactor::new([secret.into()]);
    for text in [
        r#"sk-a\/b\u002Bc\u003d\"d\u0026e\u003cf"#,
        "sk-a%2fb%2Bc%3D%22d%26e%3cf",
        "sk%2Da/b%2bc=%22d&e%3Cf",
        "sk-a/b+c=&quot;d&amp;e&lt;f",
        "sk&#45;a&sol;b&plus;c&equals;&#x22;d&#038;e&#x3c;f",
        r#"sk\-a/b\+c=\"d\&e\<f"#,
        "sk-a%252Fb%252Bc%253D%2522d%2526e%253Cf",
        r#"sk-a\\/b\\u002bc=\\\"d\\u0026amp;e\\u0026lt;f"#,
        r"\x73\x6b\x2d\u{61}\u{002f}b+c=\x22d&e\x3Cf",
        r"\163\153\55a\057b\53c=\42d&e\74f",
        r"\\163k-a\\/b\\053c=\\042d&e<f",
        "%u0073k%u002Da/b%u002bc=%22d&e%3Cf",
    ] {
        assert_eq!(redactor.redact(&format!("a {text} b")), "a [redacted] b", "{text}");
    }
    for front in ["", "u", "us"] {
        for url in [false, true] {
            let inner = if url { base64::URL_SAFE } else { base64::STANDARD };
            let twice = base64::STANDARD.encode(format!("{front}{}", inner.encode(format!("{front}{secret}"))));
            let redacted = redactor.redact(&twice);
            assert!(redacted.contains("[redacted]") && redacted.len() < 26, "{twice} became {redacted}");
        }
    }
    let basic = base64::STANDARD.encode(format!("user:{secret}"));
    let redacted = redactor.redact(&basic);
    assert!(redacted.contains("[redacted]") && redacted.len() < 24, "{redacted}");
}

#[test]
fn ambiguous_first_escape_is_redacted() {
    for (secret, text) in [
        ("nvapi-1234+5", r"C:\\nvapi-1234\u002b5"),
        ("abcdef123+45", r"%abcdef123\u002b45"),
        ("u002b12345+", r"\\u002b12345\u002b"),
        ("45;12345678", "&#45;12345678"),
    ] {
        let redacted = Redactor::new([secret.into()]).redact(text).into_owned();
        assert!(redacted.contains("[redacted]") && !redacted.contains("12"), "{text} became {redacted}");
    }
}

#[test]
fn held_back_bytes_are_bounded() {
    let redactor = Redactor::new(["\\\\%&0000000000".into()]);
    for text in ["\\", "%25", "&#0", "&amp;", "\\u005c", "%5c%26amp;"] {
        let mut stream = redactor.stream();
        for _ in 0..200 {
            let passed = stream.push(Bytes::copy_from_slice(text.as_bytes()));
            assert!(passed.len() <= 20_000 && stream.held.len() < 20_000, "{text}");
        }
    }
}
