//! The beginning of an answer to a request for a stream: whether a stream comes, before the client gets a status of success.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::chunk;
use crate::{AnswerFault, encoded::UpstreamBody};

/// How long the client's headers are held back for the first byte of the body. A provider that thinks for longer is taken at
/// its word.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a body that is not a stream is read for its text, and for how long.
const MAX_WORDS_BYTES: usize = 64 * 1024;
const WORDS_TIMEOUT: Duration = Duration::from_secs(2);
/// The most white space in front of a body that is waited through.
const MAX_BLANK_BYTES: usize = 1024;

/// Whether the client asked for a stream of events in a format that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Stream,
    Anything,
}

/// How an answer begins.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// As it should; what was read of its body so far.
    Well(Option<Bytes>),
    /// With something else than a stream, which was read as far as it is needed.
    Wrong { what: &'static str, fault: AnswerFault, body: Bytes },
    /// It ended before its first byte.
    Empty {
        /// The connection broke.
        broken: bool,
    },
}

/// Reads as much of an answer's body as shows whether it is what was asked for.
pub(crate) async fn begin(expected: Expected, headers: &HeaderMap, body: &mut UpstreamBody) -> Beginning {
    if expected == Expected::Anything {
        return Beginning::Well(None);
    }
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    let mut read = BytesMut::new();
    let first = loop {
        match timeout(FIRST_BYTE_TIMEOUT, body.frame()).await {
            // All further bytes go to the client as they arrive.
            Err(_) => return Beginning::Well((!read.is_empty()).then(|| read.freeze())),
            Ok(None) => return Beginning::Empty { broken: false },
            Ok(Some(Err(_))) => return Beginning::Empty { broken: true },
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => read.extend_from_slice(&data),
                Err(_) => return Beginning::Empty { broken: false },
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
        // Many servers do not declare a stream; its first line shows it.
        Some(_) if !is_stream && !begins_an_event(&read) => "plain text",
        _ => return Beginning::Well(Some(read.freeze())),
    };
    let rest = async {
        while read.len() < MAX_WORDS_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
        }
    };
    timeout(WORDS_TIMEOUT, rest).await.ok();
    let text = String::from_utf8_lossy(&read);
    let fault = match first {
        Some(b'<') => AnswerFault::NotAStream { what, words: words_of_page(&text) },
        _ => match chunk::error_in(&text) {
            Some(message) => AnswerFault::Error { message },
            None => AnswerFault::NotAStream { what, words: text.into_owned() },
        },
    };
    Beginning::Wrong { what, fault, body: read.freeze() }
}

/// Returns whether a body can be a stream of events by the beginning of its first line.
fn begins_an_event(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let field = body.split(|byte| b":\r\n".contains(byte)).next().unwrap_or_default();
    let is_whole = field.len() < body.len();
    [&b""[..], b"data", b"event", b"id", b"retry"]
        .iter()
        .any(|name| if is_whole { field == *name } else { name.starts_with(field) })
}

/// Returns the visible words of a web page.
fn words_of_page(page: &str) -> String {
    let mut words = String::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        words.push_str(&rest[..start]);
        words.push(' ');
        let tag = &rest[start..];
        // The text of these elements is for programs.
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
    fn stream_is_known_by_its_first_line() {
        for stream in ["data: x", "event: x\n", ": x", "id: 1", "retry: 1\n", "da", "\u{feff}data:", "\n\n:"] {
            assert!(begins_an_event(stream.as_bytes()), "{stream}");
        }
        for other in ["model is loading", "dat\n", "HTTP/1.1", "data-x: y", "events: x"] {
            assert!(!begins_an_event(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn words_of_a_page_are_what_a_person_sees() {
        let page = "<!doctype html><!-- > --><html><head><STYLE>a>b{}</STYLE><title>Sign in</title><script>if(a<b)x()</script>\
                    </head><body><h1 class=x>Portal</h1>down";
        assert_eq!(words_of_page(page).split_whitespace().collect::<Vec<_>>(), ["Sign", "in", "Portal", "down"]);
        assert_eq!(words_of_page("<").trim(), "");
    }
}
