//! Requests that our clients never send.

use std::time::Duration;

use opencode_run_gateway::{GatewayOptions, Protocol};

use crate::support::{Recorder, Setup, ask, post, raw, target, until, upstream};

#[tokio::test]
async fn unknown_token_is_not_found() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let setup = Setup::new(&provider.server.url());
    let token = target(&setup.path, "");
    let cut = &token[..token.len() - 2];
    let targets = [
        "/".to_owned(),
        "/chat/completions".to_owned(),
        "/00000000000000000000000000000000/chat/completions".to_owned(),
        format!("{cut}/chat/completions"),
        format!("/x/..{token}chat/completions"),
        format!("/%2e%2e{token}chat/completions"),
    ];
    for (count, target) in targets.iter().enumerate() {
        let answer =
            raw(&setup.gateway, &format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}")).await;
        answer.assert_fault(404, "gateway_not_found");
        assert_eq!(setup.gateway.refused(), count as u64 + 1);
    }
    assert!(provider.seen().is_empty());
    assert_eq!(setup.path.traffic().refused, 0);
}

#[tokio::test]
async fn unknown_endpoint_is_not_found() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let setup = Setup::new(&provider.server.url());
    let rests = [
        "files",
        "",
        "../admin",
        "chat/../files",
        "chat/%2e%2e/%2E%2E/files",
        "chat/completions/..",
        "chat//completions",
        "chat%2fcompletions",
        "..%2f..%2fadmin",
        "/chat/completions",
    ];
    for (count, rest) in rests.iter().enumerate() {
        post(&setup.path, rest, "{}").await.assert_fault(404, "gateway_not_found");
        assert_eq!(setup.path.traffic().refused, count as u64 + 1, "{rest}");
    }
    let doubled = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", target(&setup.path, "models"));
    raw(&setup.gateway, &doubled).await.assert_fault(404, "gateway_not_found");
    let delete = format!("DELETE {} HTTP/1.1\r\nhost: x\r\n\r\n", target(&setup.path, "models"));
    raw(&setup.gateway, &delete).await.assert_fault(404, "gateway_not_found");
    assert!(provider.seen().is_empty());
    assert_eq!((setup.path.traffic().requests, setup.budget.traffic().requests), (0, 0));
}

#[tokio::test]
async fn ambiguous_request_is_rejected() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let setup = Setup::new(&provider.server.url());
    let target = target(&setup.path, "chat/completions");
    let address = setup.gateway.address();
    for request in [
        format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{{}}x"),
        format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2, 2\r\n\r\n{{}}"),
        format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: +2\r\n\r\n{{}}"),
        format!("POST {target} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, x\r\n\r\n0\r\n\r\n"),
        format!("POST http://{address}{target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}"),
        format!("POST http://elsewhere{target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}"),
        format!("CONNECT {address} HTTP/1.1\r\nhost: x\r\n\r\n"),
        "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        format!("POST {target} HTTP/1.0\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}"),
    ] {
        let answer = raw(&setup.gateway, &request).await;
        assert_eq!(answer.status, 400, "{request}");
    }
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn overridden_length_is_not_forwarded() {
    let same = "content-length: 2\r\ncontent-length: 2\r\n\r\n{}";
    let chunked = "content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    for rest in [same, chunked] {
        let provider = Recorder::new(200, "application/json", "{}").await;
        let setup = Setup::new(&provider.server.url());
        let target = target(&setup.path, "chat/completions");
        assert_eq!(raw(&setup.gateway, &format!("POST {target} HTTP/1.1\r\nhost: x\r\n{rest}")).await.status, 200);
        let seen = provider.only();
        assert_eq!(seen.headers.get_all("content-length").iter().collect::<Vec<_>>(), ["2"]);
        assert_eq!((seen.header("transfer-encoding"), &seen.body[..]), (None, &b"{}"[..]));
    }
}

#[tokio::test]
async fn non_http_bytes_are_harmless() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let setup = Setup::new(&provider.server.url());
    let cases = ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "POST / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"];
    for bytes in cases {
        let mut connection = crate::support::Connection::to(setup.gateway.address()).await;
        connection.send(bytes).await;
        connection.closed().await;
    }
    until("the count", || setup.gateway.refused() == cases.len() as u64).await;
    assert_eq!(setup.chat().await.status, 200);
}

#[tokio::test]
async fn oversized_request_is_rejected() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let mut options = GatewayOptions::default();
    options.max_request_bytes = 1000;
    let setup = Setup::with(options, &upstream(&provider.server.url(), Protocol::OpenAiCompatible));
    assert_eq!(post(&setup.path, "chat/completions", &"x".repeat(1000)).await.status, 200);
    let answer = post(&setup.path, "chat/completions", &"x".repeat(1001)).await;
    answer.assert_fault(413, "gateway_request_too_large");
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let setup = Setup::new(&provider.server.url());
    let mut connection = ask(&setup.path, "chat/completions", &[("expect", "100-continue")], "{}").await;
    assert_eq!(connection.head().await.unwrap().0, 100);
    assert_eq!(connection.answer().await.status, 200);
    assert_eq!(provider.only().header("expect"), None);
}

#[tokio::test]
async fn incomplete_request_is_rejected() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let mut options = GatewayOptions::default();
    options.client_timeout = Duration::from_secs(2);
    let setup = Setup::with(options, &upstream(&provider.server.url(), Protocol::OpenAiCompatible));
    let target = target(&setup.path, "chat/completions");
    let request = format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{");
    raw(&setup.gateway, &request).await.assert_fault(408, "gateway_request_too_slow");
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn connection_without_route_is_closed() {
    let provider = Recorder::new(200, "application/json", "{}").await;
    let mut options = GatewayOptions::default();
    options.client_timeout = Duration::from_secs(2);
    let setup = Setup::with(options, &upstream(&provider.server.url(), Protocol::OpenAiCompatible));
    let other_users = ["", "POST / HTTP/1.1\r\nhos", "GET /x HTTP/1.1\r\nhost: x\r\n\r\n"].map(|bytes| async {
        let mut connection = crate::support::Connection::to(setup.gateway.address()).await;
        connection.send(bytes).await;
        connection.closed().await;
    });
    futures_util::future::join_all(other_users).await;
    assert_eq!(setup.chat().await.status, 200);
}
