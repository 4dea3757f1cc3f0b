//! Makes text of models, tools and providers safe for terminals: control sequences have no effect.

use opencode_run_markdown::{is_unsafe_on_terminal, visible};
use std::fmt::Write;

/// The kind of a text, which determines how control characters are shown on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextKind {
    /// Text for people: control characters are replaced by visible ones.
    Plain,
    /// JSON: control characters can occur only in strings and are escaped, so that the JSON stays equivalent.
    Json,
}

/// Makes a streamed text safe. Every character is handled separately, so that splitting a sequence between two
/// pieces does not circumvent it.
#[derive(Debug)]
pub(crate) struct TerminalText {
    kind: TextKind,
    /// Whether the last piece ended with `\r`, which is shown unless the next one begins with `\n`.
    return_is_pending: bool,
}

impl TerminalText {
    pub(crate) const fn new(kind: TextKind) -> Self {
        Self { kind, return_is_pending: false }
    }

    /// Returns a piece in its safe form.
    pub(crate) fn show(&mut self, piece: &str) -> String {
        match self.kind {
            TextKind::Json => escape(piece),
            TextKind::Plain => {
                let pending = if self.return_is_pending { "\r" } else { "" };
                self.return_is_pending = piece.ends_with('\r');
                let now = piece.strip_suffix('\r').unwrap_or(piece);
                visible(&format!("{pending}{now}"))
            }
        }
    }
}

/// Escapes characters that JSON allows in a string but that control a terminal.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !is_unsafe_on_terminal(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                write!(escaped, "\\u{unit:04x}").ok();
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences that set a title, write the clipboard, clear the screen, conceal text, request a reply, and
    /// reorder text.
    const HOSTILE: &[&str] = &[
        "\u{1b}]0;title\u{7}",
        "\u{1b}]52;c;cm0gLXJmIH4=\u{1b}\\",
        "\u{1b}[2J\u{1b}[H",
        "\u{1b}[8mhidden\u{1b}[0m",
        "\u{1b}P+q544e\u{1b}\\\u{1b}[6n\u{1b}[c\u{5}",
        "\u{9b}2J\u{9d}0;title\u{9c}\u{90}q\u{84}",
        "\u{202e}reversed\u{2066}\u{2069}\u{200f}\u{61c}",
        "over\rwritten\u{8}\u{8}\u{b}\u{c}\u{7f}\0",
        "line\r\nline\u{85}line\u{2028}",
    ];

    fn is_harmless(text: &str) -> bool {
        text.chars().all(|c| c == '\n' || c == '\t' || !is_unsafe_on_terminal(c))
            && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    }

    #[test]
    fn hostile_text_is_harmless_at_any_split() {
        for text in HOSTILE {
            let whole = TerminalText::new(TextKind::Plain).show(&format!("{text}."));
            assert!(is_harmless(&whole), "{whole:?}");
            for (at, _) in text.char_indices() {
                let (head, tail) = text.split_at(at);
                let mut shown = TerminalText::new(TextKind::Plain);
                let pieces = shown.show(head) + &shown.show(tail) + &shown.show(".");
                assert_eq!(pieces, whole, "{text:?} at {at}");
            }
        }
    }

    #[test]
    fn hostile_json_stays_equivalent() {
        for text in HOSTILE {
            let json = serde_json::json!({ "output": text }).to_string() + "\n";
            let shown = TerminalText::new(TextKind::Json).show(&json);
            assert!(is_harmless(&shown), "{shown:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap()["output"], *text);
        }
    }

    #[test]
    fn ordinary_text_is_not_changed() {
        let text = "naïve — 日本語 👩\u{200d}💻\n\tcode █ ─ ␛\n";
        assert_eq!(TerminalText::new(TextKind::Plain).show(text), text);
        let json = serde_json::json!({ "output": text }).to_string();
        assert_eq!(TerminalText::new(TextKind::Json).show(&json), json);
    }
}
