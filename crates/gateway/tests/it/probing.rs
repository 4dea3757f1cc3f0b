//! Probing an upstream before anything depends on it.

use std::time::Duration;

use axum::{body::Body, extract::Request, response::Response};
use opencode_run_gateway::{
    GatewayOptions, KeyHeader, ModelList, OpenError, ProbeError, Protocol, Proxy, Upstream, probe,
};
use tokio::net::TcpListener;

use crate::support::{KEY, LIMIT, Recorder, Server, read_to_end, soon, upstream};

const LIST: &str = r#"{"data":[{"id":"large"}]}"#;

async fn look(upstream: &Upstream) -> Result<ModelList, ProbeError> {
    look_with(upstream, GatewayOptions::default()).await
}

async fn look_with(upstream: &Upstream, options: GatewayOptions) -> Result<ModelList, ProbeError> {
    let result = soon("the probe", probe(upstream, &options, LIMIT)).await;
    assert!(!format!("{result:?}").contains(KEY), "{result:?}");
    if let Err(error) = &result {
        assert!(!error.to_string().contains(KEY), "{error}");
    }
    result
}

#[tokio::test]
async fn probe_depends_on_protocol() {
    let own = || KeyHeader::Named("X-Own".to_owned());
    let bearer = format!("Bearer {KEY}");
    for (protocol, key_header, target, header, value) in [
        (Protocol::OpenAiCompatible, KeyHeader::ProtocolDefault, "/v1/models", "authorization", bearer.as_str()),
        (Protocol::Other, KeyHeader::ProtocolDefault, "/v1/models", "authorization", &bearer),
        (Protocol::Anthropic, KeyHeader::ProtocolDefault, "/v1/models?limit=1000", "x-api-key", KEY),
        (Protocol::Google, KeyHeader::ProtocolDefault, "/v1/models?pageSize=1000", "x-goog-api-key", KEY),
        (Protocol::OpenAiCompatible, own(), "/v1/models", "x-own", KEY),
    ] {
        let provider = Recorder::new(200, "application/json", LIST).await;
        let list = look(&Upstream { key_header, ..upstream(&provider.server.url(), protocol) }).await.unwrap();
        assert_eq!((list.names(), list.is_complete()), (&["large".to_owned()][..], true));
        let seen = provider.only();
        assert_eq!((seen.target.as_str(), seen.header(header)), (target, Some(value)));
        let keys = seen.headers.values().filter(|value| value.to_str().unwrap().contains(KEY)).count();
        assert_eq!(keys, 1, "{seen:?}");
        assert_eq!(seen.header("anthropic-version").is_some(), protocol == Protocol::Anthropic);
    }
}

#[tokio::test]
async fn status_determines_probe_error() {
    let google = r#"{"error":{"code":400,"details":[{"reason":"API_KEY_INVALID"}]}}"#;
    for (status, body, expected) in [
        (401, "{}", "Key(401)"),
        (403, "{}", "Key(403)"),
        (400, google, "Key(400)"),
        (400, "{}", "Status(400)"),
        (404, "{}", "NoList(404)"),
        (405, "{}", "NoList(405)"),
        (200, "<html>", "NoList(200)"),
        (307, "", "Redirect"),
        (429, "{}", "Status(429)"),
        (500, LIST, "Status(500)"),
    ] {
        let provider = Recorder::new(status, "application/json", body).await;
        let error = look(&upstream(&provider.server.url(), Protocol::OpenAiCompatible)).await.unwrap_err();
        assert_eq!(format!("{error:?}"), expected);
        provider.only();
    }
}

#[tokio::test]
async fn unreachable_differs_from_unresolvable() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let direct = || {
        let mut options = GatewayOptions::default();
        options.proxy = Proxy::None;
        options
    };
    let of = |url: &str| upstream(url, Protocol::OpenAiCompatible);
    let error = look_with(&of(&format!("http://{nobody}/v1")), direct()).await.unwrap_err();
    assert!(matches!(error, ProbeError::Refused), "{error:?}");
    let error = look_with(&of("https://provider.invalid/v1"), direct()).await.unwrap_err();
    assert!(matches!(&error, ProbeError::UnknownHost(host) if host == "provider.invalid"), "{error:?}");
    let mut proxied = direct();
    proxied.proxy = Proxy::Fixed(format!("http://{nobody}"));
    let error = look_with(&of("http://provider.invalid/v1"), proxied).await.unwrap_err();
    assert!(matches!(error, ProbeError::NoConnection { by_proxy: true }), "{error:?}");
}

#[tokio::test]
async fn probe_times_out() {
    let closes = Server::bytes("").await;
    let error = look(&upstream(&closes.url(), Protocol::OpenAiCompatible)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Broken), "{error:?}");
    let cut = Server::bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
    let error = look(&upstream(&cut.url(), Protocol::OpenAiCompatible)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Broken), "{error:?}");
    let stalls = Server::tcp(|mut stream| async move {
        read_to_end(&mut stream).await.ok();
    })
    .await;
    let upstream = upstream(&stalls.url(), Protocol::OpenAiCompatible);
    let error = probe(&upstream, &GatewayOptions::default(), Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, ProbeError::TimedOut), "{error:?}");
}

#[tokio::test]
async fn echoed_key_is_redacted_in_names() {
    let provider = Server::http(|request: Request| async move {
        let key = request.headers()["authorization"].to_str().unwrap().to_owned();
        Response::new(Body::from(format!(r#"{{"data":[{{"id":"{key}"}}]}}"#)))
    })
    .await;
    let list = look(&upstream(&provider.url(), Protocol::OpenAiCompatible)).await.unwrap();
    assert_eq!(list.names(), ["Bearer [redacted]"]);
}

#[tokio::test]
async fn invalid_upstream_is_not_probed() {
    let provider = Recorder::new(200, "application/json", LIST).await;
    let broken = Upstream {
        credential: Some("sk-1234567890\n".into()),
        ..Upstream::new(provider.server.url(), Protocol::OpenAiCompatible)
    };
    let error = look(&broken).await.unwrap_err();
    assert!(matches!(error, ProbeError::Unusable(OpenError::Key)), "{error:?}");
    assert!(provider.seen().is_empty());
}
