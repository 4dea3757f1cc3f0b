//! The requests that arrive at the upstream, and the answers that come back.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use opencode_run_gateway::{GatewayOptions, KeyHeader, Parameters, Protocol, Upstream};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::{
    Connection, EVENTS, KEY, Recorder, Server, Setup, address, ask, chunk, post, read_request, send, soon, target,
    upstream,
};

#[tokio::test]
async fn client_credentials_are_never_forwarded() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let setup = Setup::new(&provider.server.url());
    let headers = [
        ("authorization", "Bearer the-gateway-holds-the-key"),
        ("x-api-key", "the-gateway-holds-the-key"),
        ("x-goog-api-key", "another"),
        ("x-mine", setup.path.placeholder()),
        ("accept-encoding", "gzip, br"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("x-session-id", "ses_1"),
        ("user-agent", "opencode/1"),
    ];
    let answer =
        send(&setup.path, "chat/completions?key=the-gateway-holds-the-key&a=%20b", &headers, "{\"x\": 1}").await;
    assert_eq!((answer.status, answer.text()), (200, "{}"));

    let seen = provider.only();
    assert_eq!(seen.target, "/v1/chat/completions?a=%20b");
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert_eq!(seen.header("host"), Some(&*provider.server.address.to_string()));
    assert_eq!(seen.header("x-session-id"), Some("ses_1"));
    assert_eq!(seen.header("user-agent"), Some("opencode/1"));
    for gone in ["x-api-key", "x-goog-api-key", "x-mine", "connection", "x-hop"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.body, b"{\"x\": 1}");
}

#[tokio::test]
async fn key_header_depends_on_protocol() {
    for (protocol, key_header, rest, name, value) in [
        (Protocol::Anthropic, KeyHeader::ProtocolDefault, "messages", "x-api-key", KEY.to_owned()),
        (Protocol::Google, KeyHeader::ProtocolDefault, "models/g:generateContent", "x-goog-api-key", KEY.to_owned()),
        (Protocol::OpenAiCompatible, KeyHeader::ProtocolDefault, "responses", "authorization", format!("Bearer {KEY}")),
        (Protocol::Other, KeyHeader::Named("x-special".to_owned()), "messages", "x-special", KEY.to_owned()),
    ] {
        let provider = Recorder::new(200, "application/json", "{}").await;
        let setup = Setup::with(
            GatewayOptions::default(),
            &Upstream { key_header, ..upstream(&provider.server.url(), protocol) },
        );
        assert_eq!(post(&setup.path, rest, "{}").await.status, 200);
        let seen = provider.only();
        assert_eq!(seen.target, format!("/v1/{rest}"));
        assert_eq!(seen.header(name), Some(&*value));
        let keys = seen.headers.values().filter(|value| value.to_str().is_ok_and(|value| value.contains(KEY)));
        assert_eq!(keys.count(), 1);
    }
}

#[tokio::test]
async fn missing_key_sends_no_header() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let keyless = Upstream::new(provider.server.url(), Protocol::OpenAiCompatible);
    let setup = Setup::with(GatewayOptions::default(), &keyless);
    send(&setup.path, "chat/completions", &[("authorization", "Bearer mine")], "{}").await;
    assert_eq!(provider.only().header("authorization"), None);
}

#[tokio::test]
async fn parameters_reach_every_protocol() {
    let parameters = Parameters { temperature: Some(0.25), top_p: Some(0.5), top_k: Some(7), max_tokens: Some(99) };
    for (protocol, rest, expected) in [
        (
            Protocol::OpenAiCompatible,
            "chat/completions",
            json!({"model": "m", "temperature": 0.25, "top_p": 0.5, "top_k": 7, "max_tokens": 99}),
        ),
        (
            Protocol::Anthropic,
            "messages",
            json!({"model": "m", "temperature": 0.25, "top_p": 0.5, "top_k": 7, "max_tokens": 99}),
        ),
        (
            Protocol::Google,
            "models/g:streamGenerateContent",
            json!({"model": "m", "generationConfig":
                {"temperature": 0.25, "topP": 0.5, "topK": 7, "maxOutputTokens": 99}}),
        ),
    ] {
        let provider = Recorder::new(200, "application/json", "{}").await;
        let setup = Setup::with(
            GatewayOptions::default(),
            &Upstream { parameters, ..upstream(&provider.server.url(), protocol) },
        );
        post(&setup.path, rest, "{\"model\": \"m\"}").await;
        assert_eq!(provider.only().json(), expected);
    }
}

#[tokio::test]
async fn upstream_errors_are_forwarded() {
    let server = Server::bytes(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 17\r\nx-ratelimit: 0\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\
         content-type: application/json\r\ncontent-length: 13\r\n\r\n{\"error\": {}}",
    )
    .await;
    let setup = Setup::new(&server.url());
    let answer = setup.chat().await;
    assert_eq!((answer.status, answer.text()), (429, "{\"error\": {}}"));
    assert_eq!(answer.header("retry-after"), Some("17"));
    assert_eq!(answer.header("x-ratelimit"), Some("0"));
    assert_eq!(answer.header("content-length"), Some("13"));
    assert_eq!((answer.header("x-hop"), answer.header("connection")), (None, None));
    let traffic = setup.path.traffic();
    assert_eq!((traffic.requests, traffic.failed, traffic.unreported), (1, 0, 0));
}

#[tokio::test]
async fn echoed_key_redaction_preserves_length() {
    let body = format!("{{\"error\":\"Incorrect API key provided: {KEY}.\"}}");
    let answer =
        format!("HTTP/1.1 401 Unauthorized\r\nx-echo: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = Server::bytes(answer).await;
    let answer = Setup::new(&server.url()).chat().await;
    assert_eq!(answer.status, 401);
    assert!(answer.whole);
    assert_eq!(answer.body.len(), body.len());
    assert!(!answer.text().contains("sk-the-real") && answer.text().contains("[redacted]"), "{}", answer.text());
    assert_eq!(answer.header("x-echo"), Some("Bearer [redacted]"));
}

#[tokio::test]
async fn key_across_chunks_is_redacted() {
    let (one, two) = KEY.split_at(11);
    let answer = format!("{EVENTS}{}{}{}", chunk(&format!("data: {one}")), chunk(&format!("{two}\n\n")), chunk(""));
    let server = Server::bytes(answer).await;
    let answer = Setup::new(&server.url()).chat().await;
    assert!(answer.whole);
    assert!(!answer.text().contains(one) && answer.text().starts_with("data: [redacted]"), "{}", answer.text());
}

#[tokio::test]
async fn slow_answer_streams() {
    let (go, gone) = tokio::sync::watch::channel(0);
    let server = Server::tcp(move |mut stream| {
        let mut gone = gone.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(EVENTS.as_bytes()).await.unwrap();
            for (piece, step) in [("data: 1\n\n", 1), ("data: 2\n\n", 2), ("", 3)] {
                gone.wait_for(|gone| *gone >= step).await.unwrap();
                stream.write_all(chunk(piece).as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let setup = Setup::new(&server.url());
    let mut connection = ask(&setup.path, "chat/completions", &[], "{}").await;
    // Each piece is sent only after the previous one has arrived.
    assert_eq!(soon("the head", connection.head()).await.unwrap().0, 200);
    go.send_replace(1);
    assert_eq!(soon("a piece", connection.chunk()).await.unwrap(), b"data: 1\n\n");
    go.send_replace(2);
    assert_eq!(soon("a piece", connection.chunk()).await.unwrap(), b"data: 2\n\n");
    go.send_replace(3);
    assert_eq!(soon("the end", connection.chunk()).await.unwrap(), b"");
}

#[tokio::test]
async fn trailers_are_forwarded() {
    let server = Server::bytes(format!(
        "HTTP/1.1 200 OK\r\ntrailer: x-checksum\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\nx-checksum: 7\r\n\r\n",
        chunk("text")
    ))
    .await;
    let setup = Setup::new(&server.url());
    let headers = [("te", "trailers"), ("connection", "te, close")];
    let mut connection = ask(&setup.path, "chat/completions", &headers, "{}").await;
    connection.head().await.unwrap();
    assert_eq!(connection.chunk().await.unwrap(), b"text");
    assert_eq!(connection.line().await, "0");
    assert_eq!(connection.line().await, "x-checksum: 7");
}

#[tokio::test]
async fn trailers_are_redacted_and_last() {
    // Text that could be the beginning of the key, so that the gateway holds it back.
    let held = &KEY[..7];
    let server = Server::bytes(format!(
        "HTTP/1.1 200 OK\r\ntrailer: x-echo\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\nx-echo: {KEY}\r\n\r\n",
        chunk(&format!("data: {held}"))
    ))
    .await;
    let setup = Setup::new(&server.url());
    let headers = [("te", "trailers"), ("connection", "te, close")];
    let mut connection = ask(&setup.path, "chat/completions", &headers, "{}").await;
    connection.head().await.unwrap();
    assert_eq!(connection.chunk().await.unwrap(), b"data: ");
    assert_eq!(connection.chunk().await.unwrap(), held.as_bytes());
    assert_eq!(connection.line().await, "0");
    assert_eq!(connection.line().await, "x-echo: [redacted]");
}

#[tokio::test]
async fn requests_share_connection() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let setup = Setup::new(&provider.server.url());
    let mut connection = Connection::to(address(&setup.path)).await;
    for _ in 0..20 {
        let target = target(&setup.path, "chat/completions");
        connection.send(&format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}")).await;
        assert_eq!(soon("an answer", connection.answer()).await.status, 200);
    }
    assert_eq!(setup.path.traffic().requests, 20);
    assert_eq!(setup.path.traffic().running, 0);
}

#[tokio::test]
async fn model_list_request_has_no_body() {
    let server = Server::http(|request: Request| async move {
        let seen = format!("{} {}", request.method(), request.uri());
        Response::new(Body::from(seen)).into_response()
    })
    .await;
    let setup = Setup::new(&server.url());
    let mut connection = Connection::to(address(&setup.path)).await;
    connection.send(&format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", target(&setup.path, "models"))).await;
    assert_eq!(soon("an answer", connection.answer()).await.text(), "GET /v1/models");
}

#[tokio::test]
async fn idle_connection_stays_open() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let mut options = GatewayOptions::default();
    options.client_timeout = Duration::from_secs(1);
    let setup = Setup::with(options, &upstream(&provider.server.url(), Protocol::OpenAiCompatible));
    let mut connection = Connection::to(address(&setup.path)).await;
    let target = target(&setup.path, "chat/completions");
    for _ in 0..2 {
        connection.send(&format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}")).await;
        assert_eq!(soon("an answer", connection.answer()).await.status, 200);
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}
