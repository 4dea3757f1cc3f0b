//! Faults in a provider's answer that HTTP alone does not show.

use std::fmt;

use crate::Redactor;

/// The most of a provider's words that are kept, in characters.
const MAX_WORDS: usize = 300;

/// The fault of a provider's last answer, although it came with a status of success, or why a request was refused
/// without being sent.
///
/// A client words it in its own way, or retries; this is the provider's own text. It never holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerFault {
    /// A stream of events was asked for, and something else came.
    NotAStream {
        /// The kind of answer: `a web page`, `a whole JSON answer`, `plain text`.
        what: &'static str,
        /// Its text; may be empty.
        words: String,
    },
    /// It is compressed in a way that the gateway cannot undo, although plain bytes were asked for.
    Encoded,
    /// No bytes, or a stream without any output.
    Empty,
    /// The model's message ended without a reason.
    NoFinishReason,
    /// An event of the stream is not JSON.
    NotJson {
        /// The event.
        words: String,
    },
    /// The stream does not keep to its format.
    Malformed {
        /// The reason.
        what: &'static str,
        /// The event if that is helpful; may be empty.
        words: String,
    },
    /// The provider reported an error within the stream.
    Error {
        /// Its text.
        message: String,
    },
    /// The connection ended before the answer did.
    BrokenOff,
    /// An event or an answer was longer than any that is passed on.
    TooLong {
        /// The part that was too long: `an event` or `the answer`.
        what: &'static str,
        /// The bound, in bytes.
        max_bytes: u64,
    },
    /// Under a limit on the cost the request was refused, since it asks for something whose price is not known.
    Unpriced {
        /// The feature that it asks for.
        what: &'static str,
    },
}

impl AnswerFault {
    /// Returns it with the secrets taken out, and its words cut to a readable length.
    pub(crate) fn redacted(mut self, redactor: &Redactor) -> Self {
        match &mut self {
            Self::NotAStream { words: text, .. }
            | Self::NotJson { words: text }
            | Self::Malformed { words: text, .. }
            | Self::Error { message: text } => *text = excerpt(&redactor.redact(text)),
            Self::Encoded
            | Self::Empty
            | Self::NoFinishReason
            | Self::BrokenOff
            | Self::TooLong { .. }
            | Self::Unpriced { .. } => {}
        }
        self
    }
}

/// Returns the beginning of a text on one line.
fn excerpt(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
        if let Some((end, _)) = line.char_indices().nth(MAX_WORDS) {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}

impl fmt::Display for AnswerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, words) = match self {
            Self::NotAStream { what, words } => {
                (format!("it answered with {what} instead of a stream of events"), words)
            }
            Self::Encoded => {
                return f.write_str(
                    "its answer has a content encoding that cannot be searched for the key, so it was refused",
                );
            }
            Self::Empty => return f.write_str("its answer was empty"),
            Self::NoFinishReason => return f.write_str("its answer ended without a finish reason"),
            Self::NotJson { words } => ("its stream holds an event that is not JSON".to_owned(), words),
            Self::Malformed { what, words } => (format!("its stream holds {what}"), words),
            Self::Error { message } => return f.write_str(message),
            Self::BrokenOff => return f.write_str("it closed the connection before the end of its answer"),
            Self::TooLong { what, max_bytes } => {
                return write!(f, "{what} is longer than {} MiB, the most that is passed on", max_bytes >> 20);
            }
            Self::Unpriced { what } => {
                return write!(
                    f,
                    "the request asks for {what}, whose price is not known, so a limit on the cost cannot hold"
                );
            }
        };
        if words.is_empty() { f.write_str(&what) } else { write!(f, "{what}: {words}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_short_line_without_the_key() {
        let redactor = Redactor::new(["sk-1234567890".into()]);
        let words = format!("no  such\nkey\u{1b}: sk-1234567890 {}", "x ".repeat(1000));
        let fault = AnswerFault::NotAStream { what: "plain text", words }.redacted(&redactor).to_string();
        let expected = "it answered with plain text instead of a stream of events: no such key: [redacted] x x";
        assert!(fault.starts_with(expected) && fault.ends_with('…') && fault.chars().count() < 400, "{fault}");
    }
}
