//! A provider that echoes the key in any form and place: the client never receives it.

use crate::support::{KEY, Server, Setup, read_request};
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder};
use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Returns the key in the forms that providers, proxies and frameworks use.
fn forms() -> Vec<String> {
    let escaped = |escape: &dyn Fn(u8) -> String| KEY.bytes().map(escape).collect::<String>();
    vec![
        KEY.to_owned(),
        KEY.replace('-', "\\u002D"),
        KEY.replace('-', "%2d"),
        KEY.replace('-', "&#x2D;"),
        escaped(&|byte| format!("\\u{byte:04x}")),
        escaped(&|byte| format!("%{byte:02x}")),
        escaped(&|byte| format!("%25{byte:02X}")),
        escaped(&|byte| format!("&#{byte};")),
        escaped(&|byte| format!("{byte:02x}")),
        STANDARD.encode(KEY),
        STANDARD.encode(format!("user:{KEY}")),
    ]
}

#[track_caller]
fn assert_hidden(text: &str, form: &str) {
    // The base64 characters at the ends depend on the text around the key.
    let middle = &form[4..form.len() - 6];
    assert!(!text.contains(middle), "{form} in {text}");
}

async fn compressed(encoding: &str, text: &str) -> Vec<u8> {
    async fn written<W: AsyncWrite + Unpin>(mut encoder: W, text: &str) -> W {
        encoder.write_all(text.as_bytes()).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder
    }
    match encoding {
        "gzip" | "x-gzip" => written(GzipEncoder::new(Vec::new()), text).await.into_inner(),
        "deflate" => written(ZlibEncoder::new(Vec::new()), text).await.into_inner(),
        "br" => written(BrotliEncoder::new(Vec::new()), text).await.into_inner(),
        _ => text.as_bytes().to_vec(),
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn echoed_key_is_redacted_everywhere() {
    for form in forms() {
        let body = format!("{{\"error\": {{\"message\": \"no such key: {form}\"}}}}");
        let headers = format!("x-echo: {form}\r\nlocation: https://x/?key={form}\r\nset-cookie: k={form}\r\n");
        for status in [format!("401 {form}"), "200 OK".to_owned(), "302 Found".to_owned()] {
            let server = Server::bytes(answer(&status, &headers, body.as_bytes())).await;
            let setup = Setup::new(&server.url());
            let seen = setup.chat().await;
            assert_hidden(&format!("{seen:?}"), &form);
            assert_hidden(&String::from_utf8_lossy(&seen.body), &form);
            assert!(
                seen.body.is_empty() || serde_json::from_slice::<serde_json::Value>(&seen.body).is_ok(),
                "{seen:?}"
            );
        }
    }
}

#[tokio::test]
async fn header_named_like_key_is_dropped() {
    let upstream = opencode_run_gateway::Upstream {
        credential: Some("sk-lower-case-123".into()),
        ..crate::support::upstream("http://x/v1", opencode_run_gateway::Protocol::OpenAiCompatible)
    };
    let server = Server::bytes(answer("200 OK", "x-SK-lower-case-123: 1\r\n", b"{}")).await;
    let setup = Setup::with(
        opencode_run_gateway::GatewayOptions::default(),
        &opencode_run_gateway::Upstream { base_url: server.url(), ..upstream },
    );
    assert!(!format!("{:?}", setup.chat().await).contains("sk-lower"));
}

#[tokio::test]
async fn compressed_answer_is_decoded_and_searched() {
    for encoding in ["gzip", "x-gzip", "deflate", "br", "GZIP, identity"] {
        for form in forms() {
            let body =
                format!("{{\"error\": \"{form}\", \"usage\": {{\"prompt_tokens\": 3, \"completion_tokens\": 4}}}}");
            let body = compressed(encoding.split(',').next().unwrap().to_lowercase().as_str(), &body).await;
            let server = Server::bytes(answer("200 OK", &format!("content-encoding: {encoding}\r\n"), &body)).await;
            let setup = Setup::new(&server.url());
            let seen = setup.chat().await;
            assert!(seen.whole && seen.header("content-encoding").is_none(), "{seen:?}");
            assert!(seen.json()["error"].as_str().unwrap().contains("[redacted]"), "{seen:?}");
            assert_hidden(seen.text(), &form);
            assert_eq!(setup.path.traffic().unreported, 0, "its tokens are counted");
        }
    }
}

#[tokio::test]
async fn unsearchable_encoding_is_rejected() {
    for encoding in ["zstd", "compress", "rot13", "gzip, gzip", "identity, br, gzip", "\u{e9}"] {
        for status in ["200 OK", "401 Unauthorized"] {
            let head = format!("content-encoding: {encoding}\r\n");
            let server = Server::bytes(answer(status, &head, KEY.as_bytes())).await;
            let seen = Setup::new(&server.url()).chat().await;
            assert_eq!(seen.status, 421, "{encoding}: {seen:?}");
            assert!(!seen.text().contains(KEY) && seen.text().contains("content encoding"), "{encoding}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn falsely_compressed_answer_is_rejected() {
    for encoding in ["gzip", "deflate", "br"] {
        let head = format!("content-encoding: {encoding}\r\n");
        let server = Server::bytes(answer("200 OK", &head, format!("{{\"a\": \"{KEY}\"}}").as_bytes())).await;
        let seen = Setup::new(&server.url()).chat().await;
        assert!(!seen.whole && !String::from_utf8_lossy(&seen.body).contains(KEY), "{encoding}: {seen:?}");
    }
}

#[tokio::test]
async fn decompression_bomb_is_aborted() {
    let body = compressed("gzip", &" ".repeat(8 << 20)).await;
    assert!(body.len() < 64 << 10);
    let server = Server::bytes(answer("200 OK", "content-encoding: gzip\r\n", &body)).await;
    let mut options = opencode_run_gateway::GatewayOptions::default();
    options.max_answer_bytes = 1 << 20;
    let upstream = crate::support::upstream(&server.url(), opencode_run_gateway::Protocol::OpenAiCompatible);
    let seen = Setup::with(options, &upstream).chat().await;
    assert!(!seen.whole && seen.body.len() <= 1 << 20, "{}", seen.body.len());
}

#[tokio::test]
async fn split_key_and_trailers_are_redacted() {
    for form in forms() {
        let sent = form.clone();
        let server = Server::tcp(move |mut stream| {
            let form = sent.clone();
            async move {
                read_request(&mut stream).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\ntrailer: x-key\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                for piece in format!("data: {{\"choices\": \"{form}\"}}\n\ndata: [DONE]\n\n").as_bytes().chunks(3) {
                    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
                    stream.write_all(&[piece, b"\r\n"].concat()).await.unwrap();
                    stream.flush().await.unwrap();
                }
                stream.write_all(format!("0\r\nx-key: {form}\r\n\r\n").as_bytes()).await.unwrap();
            }
        })
        .await;
        let seen = Setup::new(&server.url()).chat().await;
        assert_hidden(&format!("{seen:?}"), &form);
        assert!(seen.text().contains("[redacted]"), "{}", seen.text());
        assert_hidden(seen.text(), &form);
    }
}
