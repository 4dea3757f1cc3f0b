//! Checks the beginning of an answer to a streaming request before the client receives a success status.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::chunk;
use crate::{AnswerFault, encoded::UpstreamBody};

/// The maximum time for which the client's headers wait for the first byte of the body. If the provider takes
/// longer, its status is passed on.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of bytes that are read of a body that is not a stream, for its text, and the maximum time for
/// that.
const MAX_TEXT_BYTES: usize = 64 * 1024;
const TEXT_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of white-space bytes before a body.
const MAX_BLANK_BYTES: usize = 1024;

/// The answer that the client expects: an event stream of a known format, or anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpectedAnswer {
    Stream,
    Anything,
}

/// The beginning of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBeginning {
    /// Valid, with the bytes of its body that were read so far.
    Valid(Option<Bytes>),
    /// Not a stream, with the part that was read.
    Invalid { what: &'static str, fault: AnswerFault, body: Bytes },
    /// Ended before its first byte.
    Empty {
        /// Whether the connection broke.
        broken: bool,
    },
}

/// Reads enough of an answer's body to check whether it is what was requested.
pub(crate) async fn begin(expected: ExpectedAnswer, headers: &HeaderMap, body: &mut UpstreamBody) -> AnswerBeginning {
    if expected == ExpectedAnswer::Anything {
        return AnswerBeginning::Valid(None);
    }
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    let mut read = BytesMut::new();
    let first = loop {
        match timeout(FIRST_BYTE_TIMEOUT, body.frame()).await {
            // All further bytes are passed to the client as they arrive.
            Err(_) => return AnswerBeginning::Valid((!read.is_empty()).then(|| read.freeze())),
            Ok(None) => return AnswerBeginning::Empty { broken: false },
            Ok(Some(Err(_))) => return AnswerBeginning::Empty { broken: true },
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => read.extend_from_slice(&data),
                Err(_) => return AnswerBeginning::Empty { broken: false },
            },
        }
        let text = read.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&read);
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        if first.is_some() || read.len() > MAX_BLANK_BYTES {
            break first.copied();
        }
    };
    let is_stream = content_type.starts_with(b"text/event-stream");
    let what = match first {
        Some(b'<') => "a web page",
        Some(b'{' | b'[') => "a whole JSON answer",
        // Many servers do not declare a stream, but its first line reveals it.
        Some(_) if !is_stream && !begins_an_event(&read) => "plain text",
        _ => return AnswerBeginning::Valid(Some(read.freeze())),
    };
    let rest = async {
        while read.len() < MAX_TEXT_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
        }
    };
    timeout(TEXT_TIMEOUT, rest).await.ok();
    let text = String::from_utf8_lossy(&read);
    let fault = match first {
        Some(b'<') => AnswerFault::NotAStream { what, words: text_of_page(&text) },
        _ => match chunk::error_in(&text) {
            Some(message) => AnswerFault::Error { message },
            None => AnswerFault::NotAStream { what, words: text.into_owned() },
        },
    };
    AnswerBeginning::Invalid { what, fault, body: read.freeze() }
}

/// Returns whether a body can be an event stream, judging by its first line.
fn begins_an_event(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let field = body.split(|byte| b":\r\n".contains(byte)).next().unwrap_or_default();
    let is_whole = field.len() < body.len();
    [&b""[..], b"data", b"event", b"id", b"retry"]
        .iter()
        .any(|name| if is_whole { field == *name } else { name.starts_with(field) })
}

/// Returns the visible text of a web page.
fn text_of_page(page: &str) -> String {
    let mut words = String::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        words.push_str(&rest[..start]);
        words.push(' ');
        let tag = &rest[start..];
        // The content of these elements is not visible text.
        let hidden = ["style", "script"].iter().find(|name| {
            tag.as_bytes().get(1..=name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
        });
        let end = match hidden {
            Some(name) => tag.to_ascii_lowercase().find(&format!("</{name}")),
            None if tag.starts_with("<!--") => tag.find("-->"),
            None => Some(0),
        };
        let end = end.and_then(|from| tag[from..].find('>').map(|at| from + at + 1));
        rest = end.map_or("", |end| &tag[end..]);
    }
    words.push_str(rest);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_recognised_by_first_line() {
        for stream in ["data: x", "event: x\n", ": x", "id: 1", "retry: 1\n", "da", "\u{feff}data:", "\n\n:"] {
            assert!(begins_an_event(stream.as_bytes()), "{stream}");
        }
        for other in ["model is loading", "dat\n", "HTTP/1.1", "data-x: y", "events: x"] {
            assert!(!begins_an_event(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn page_text_is_its_visible_text() {
        let page = "<!doctype html><!-- > --><html><head><STYLE>a>b{}</STYLE><title>Sign in</title><script>if(a<b)x()</script>\
                    </head><body><h1 class=x>Portal</h1>down";
        assert_eq!(text_of_page(page).split_whitespace().collect::<Vec<_>>(), ["Sign", "in", "Portal", "down"]);
        assert_eq!(text_of_page("<").trim(), "");
    }
}
