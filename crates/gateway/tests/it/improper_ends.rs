//! Connections that end in violation of HTTP and TLS, after a complete answer and within one.

use std::{sync::Arc, time::Duration};

use opencode_run_gateway::{AnswerFault, GatewayOptions, Protocol};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    support::{Answer, KEY, Server, Setup, chunk, read_request, send, upstream},
    tls::{Authority, trusting},
};

/// The end of the upstream's connection after a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// No length, and the connection is closed; with TLS, without `close_notify`.
    Close,
    /// The last chunk is missing.
    NoLastChunk,
    /// The last chunk is missing, and the connection is reset.
    Reset,
    /// The connection stays open.
    StaysOpen,
    /// The body is shorter than the announced length.
    Short,
}

const ENDS: [End; 4] = [End::Close, End::NoLastChunk, End::Reset, End::Short];

struct Format {
    protocol: Protocol,
    path: &'static str,
    events: &'static [&'static str],
    /// The number of events that make the answer complete.
    complete: usize,
}

const FORMATS: [Format; 5] = [
    Format {
        protocol: Protocol::OpenAiCompatible,
        path: "chat/completions",
        events: &[
            r#"{"choices":[{"delta":{"content":"all"},"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        ],
        complete: 2,
    },
    Format {
        protocol: Protocol::OpenAiCompatible,
        path: "chat/completions",
        events: &[r#"{"choices":[{"delta":{"content":"all"}}]}"#, "[DONE]"],
        complete: 2,
    },
    Format {
        protocol: Protocol::OpenAiCompatible,
        path: "responses",
        events: &[
            r#"{"type":"response.output_text.delta","delta":"all"}"#,
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":1}}}"#,
        ],
        complete: 2,
    },
    Format {
        protocol: Protocol::Anthropic,
        path: "messages",
        events: &[
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"all"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#,
            r#"{"type":"message_stop"}"#,
        ],
        complete: 2,
    },
    Format {
        protocol: Protocol::Google,
        path: "models/m:streamGenerateContent?alt=sse",
        events: &[
            r#"{"candidates":[{"content":{"parts":[{"text":"all"}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"."}]},"finishReason":"STOP"}]}"#,
        ],
        complete: 2,
    },
];

async fn play(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &str, end: End) {
    read_request(&mut stream).await;
    let answer = match end {
        End::Close => format!("{head}connection: close\r\n\r\n{body}"),
        End::Short => format!("{head}content-length: {}\r\n\r\n{body}", body.len() + 100),
        End::NoLastChunk | End::Reset | End::StaysOpen => {
            format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk(body))
        }
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    match end {
        End::StaysOpen => tokio::time::sleep(Duration::from_mins(1)).await,
        // The pause keeps the reset from overtaking the answer.
        End::Reset => tokio::time::sleep(Duration::from_millis(100)).await,
        End::Close | End::NoLastChunk | End::Short => {}
    }
}

async fn plain(head: &'static str, body: String, end: End) -> Server {
    let body: Arc<str> = body.into();
    Server::tcp(move |stream: TcpStream| {
        let body = Arc::clone(&body);
        async move {
            if end == End::Reset {
                stream.set_zero_linger().unwrap();
            }
            play(stream, head, &body, end).await;
        }
    })
    .await
}

/// Requests a stream from an upstream, optionally over TLS without `close_notify`.
async fn asked(format: &Format, head: &'static str, body: String, end: End, tls: bool) -> (Setup, Answer) {
    let authority = Authority::new();
    let (server, url, options);
    if tls {
        let body: Arc<str> = body.into();
        server = authority
            .handle("localhost", false, move |stream| {
                let body = Arc::clone(&body);
                // Dropped without a shutdown, it sends no `close_notify`.
                async move { play(stream, head, &body, end).await }
            })
            .await;
        url = format!("https://localhost:{}/v1", server.address.port());
        options = trusting(&authority);
    } else {
        server = plain(head, body, end).await;
        url = server.url();
        options = GatewayOptions::default();
    }
    let setup = Setup::with(options, &upstream(&url, format.protocol));
    let answer = send(&setup.path, format.path, &[], "{\"stream\":true}").await;
    (setup, answer)
}

fn stream_of(events: &[&str]) -> String {
    format!("data: {}\n\n", events.join("\n\ndata: "))
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";

#[tokio::test]
async fn complete_answer_survives_improper_end() {
    for format in &FORMATS {
        for (end, tls) in ENDS.map(|end| (end, false)).into_iter().chain([(End::Close, true), (End::NoLastChunk, true)])
        {
            // Possible beginnings of the key are held back until the end.
            let body = format!("{}: {}", stream_of(format.events), &KEY[..6]);
            let (setup, answer) = asked(format, EVENTS, body.clone(), end, tls).await;
            let what = format!("{} {end:?} tls {tls}", format.path);
            assert_eq!((answer.status, answer.whole, answer.text()), (200, true, &*body), "{what}");
            assert_eq!(setup.path.traffic().failed, 0, "{what}");
        }
    }
}

#[tokio::test]
async fn incomplete_answer_always_fails() {
    for format in &FORMATS {
        for (end, tls) in ENDS.map(|end| (end, false)).into_iter().chain([(End::Close, true), (End::NoLastChunk, true)])
        {
            let body = format!("{}: {}", stream_of(&format.events[..format.complete - 1]), &KEY[..6]);
            let (setup, answer) = asked(format, EVENTS, body.clone(), end, tls).await;
            let what = format!("{} {end:?} tls {tls}", format.path);
            assert_eq!((answer.status, answer.whole, answer.text()), (200, false, &*body), "{what}");
            assert_eq!(setup.path.traffic().failed, 1, "{what}");
            assert_eq!(setup.lease.answer_fault(), Some(AnswerFault::BrokenOff), "{what}");
        }
    }
}

#[tokio::test]
async fn ended_stream_needs_no_close() {
    let format = &FORMATS[1];
    let (setup, answer) = asked(format, EVENTS, stream_of(format.events), End::StaysOpen, false).await;
    assert!(answer.whole, "{answer:?}");
    assert_eq!(setup.path.traffic().failed, 0);
}

#[tokio::test]
async fn partial_json_value_fails() {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for (body, whole) in [(r#"{"data":[{"id":"m"}]}"#, true), (r#"{"data":[{"id":"m"}"#, false)] {
        for (end, tls) in [(End::Close, false), (End::Close, true), (End::NoLastChunk, false), (End::Reset, false)] {
            let authority_body = body.to_owned();
            let format = Format { path: "embeddings", ..FORMATS[0] };
            let (setup, answer) = asked(&format, json, authority_body, end, tls).await;
            assert_eq!((answer.whole, answer.text()), (whole, body), "{end:?} tls {tls}");
            assert_eq!(setup.path.traffic().failed, u64::from(!whole), "{end:?} tls {tls}");
        }
    }
}

#[tokio::test]
async fn error_text_survives_improper_end() {
    let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: text/plain\r\n";
    for (end, tls) in [(End::Close, true), (End::NoLastChunk, false), (End::Reset, false)] {
        let (_, answer) = asked(&FORMATS[0], head, "no such key".to_owned(), end, tls).await;
        assert_eq!((answer.status, answer.whole, answer.text()), (401, true, "no such key"), "{end:?}");
    }
}
