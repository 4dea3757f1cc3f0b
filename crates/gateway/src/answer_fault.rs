//! Faults of a provider's answer that are not visible in its HTTP status.

use std::fmt;

use crate::Redactor;

/// The maximum number of characters of a provider's text that are stored.
const MAX_TEXT_CHARS: usize = 300;

/// The fault of a provider's last answer despite its success status, or the reason why a request was rejected without
/// being sent.
///
/// A client reports it in its own words or retries; this is the provider's own text. It never contains a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerFault {
    /// An event stream was requested, but the answer is something else.
    NotAStream {
        /// The kind of answer: `a web page`, `a whole JSON answer`, `plain text`.
        what: &'static str,
        /// The text of the body; may be empty.
        words: String,
    },
    /// The answer has an encoding that the gateway cannot decode, although an unencoded one was requested.
    Encoded,
    /// The answer has no bytes, or is a stream without any output.
    Empty,
    /// The model's message ended without a finish reason.
    NoFinishReason,
    /// An event of the stream is not JSON.
    NotJson {
        /// The beginning of the event.
        words: String,
    },
    /// The stream violates its format.
    Malformed {
        /// The violation of the format, in words.
        what: &'static str,
        /// The event, if it is helpful; may be empty.
        words: String,
    },
    /// The provider reported an error within the stream.
    Error {
        /// The text of the error.
        message: String,
    },
    /// The connection was closed before the end of the answer.
    BrokenOff,
    /// An event or the answer exceeds its size limit.
    TooLong {
        /// The part that was too long: `an event` or `the answer`.
        what: &'static str,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The request was rejected under a cost limit, because it uses a feature whose price is unknown.
    Unpriced {
        /// The feature, in words.
        what: &'static str,
    },
}

impl AnswerFault {
    /// Returns the fault with secrets redacted and its text shortened.
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
        if let Some((end, _)) = line.char_indices().nth(MAX_TEXT_CHARS) {
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
                    "its answer has a content encoding that cannot be searched for the key, so it was rejected",
                );
            }
            Self::Empty => return f.write_str("its answer was empty"),
            Self::NoFinishReason => return f.write_str("its answer ended without a finish reason"),
            Self::NotJson { words } => ("its stream contains an event that is not JSON".to_owned(), words),
            Self::Malformed { what, words } => (format!("its stream contains {what}"), words),
            Self::Error { message } => return f.write_str(message),
            Self::BrokenOff => return f.write_str("it closed the connection before the end of its answer"),
            Self::TooLong { what, max_bytes } => {
                return write!(f, "{what} exceeds the limit of {} MiB", max_bytes >> 20);
            }
            Self::Unpriced { what } => {
                return write!(
                    f,
                    "the request uses {what}, whose price is unknown, so a limit on the cost cannot be enforced"
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
    fn fault_text_is_short_and_redacted() {
        let redactor = Redactor::new(["sk-1234567890".into()]);
        let words = format!("no  such\nkey\u{1b}: sk-1234567890 {}", "x ".repeat(1000));
        let fault = AnswerFault::NotAStream { what: "plain text", words }.redacted(&redactor).to_string();
        let expected = "it answered with plain text instead of a stream of events: no such key: [redacted] x x";
        assert!(fault.starts_with(expected) && fault.ends_with('…') && fault.chars().count() < 400, "{fault}");
    }
}
