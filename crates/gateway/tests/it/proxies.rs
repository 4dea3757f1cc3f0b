//! Upstreams behind a proxy. Their names cannot be resolved, so that only the proxy can reach them.

use opencode_run_gateway::{Gateway, GatewayOptions, GatewayStartError, Protocol, Proxy};
use tokio::io::AsyncWriteExt;

use crate::support::{KEY, Server, Setup, read_request, upstream};

/// A proxy that answers each request with the head that it received.
async fn mirror() -> Server {
    Server::tcp(|mut stream| async move {
        let head = read_request(&mut stream).await.replace(KEY, "THE-KEY");
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

fn by(proxy: String) -> GatewayOptions {
    let mut options = GatewayOptions::default();
    options.proxy = Proxy::Fixed(proxy);
    options
}

#[tokio::test]
async fn http_proxy_gets_url_and_password() {
    let proxy = mirror().await;
    let options = by(format!("http://user:secret@{}", proxy.address));
    let setup = Setup::with(options, &upstream("http://provider.invalid/v1", Protocol::OpenAiCompatible));
    let head = setup.chat().await.text().to_ascii_lowercase();
    assert!(head.starts_with("post http://provider.invalid/v1/chat/completions http/1.1"), "{head}");
    assert!(head.contains("\r\nhost: provider.invalid\r\n"), "{head}");
    assert!(head.contains("\r\nproxy-authorization: basic dxnlcjpzzwnyzxq="), "{head}");
    assert!(head.contains("\r\nauthorization: bearer the-key"), "{head}");
}

#[tokio::test]
async fn tls_tunnel_hides_key_from_proxy() {
    let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let proxy = Server::tcp(move |mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(read_request(&mut stream).await).unwrap();
            stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let options = by(format!("http://{}", proxy.address));
    let setup = Setup::with(options, &upstream("https://provider.invalid/v1", Protocol::OpenAiCompatible));
    setup.chat().await.assert_fault(502, "gateway_unreachable");
    let head = seen.recv().await.unwrap();
    assert!(head.starts_with("CONNECT provider.invalid:443 HTTP/1.1"), "{head}");
    assert!(!head.contains(KEY));
}

#[tokio::test]
async fn loopback_is_reached_directly() {
    let proxy = mirror().await;
    let provider = Server::bytes("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ndirect").await;
    let setup =
        Setup::with(by(format!("http://{}", proxy.address)), &upstream(&provider.url(), Protocol::OpenAiCompatible));
    assert_eq!(setup.chat().await.text(), "direct");
}

#[test]
fn proxy_password_is_hidden() {
    assert!(!format!("{:?}", by("http://user:secret@proxy.example".to_owned())).contains("secret"));
}

#[test]
fn invalid_proxy_is_rejected_at_start() {
    let error = Gateway::start_with(by("gopher://x".to_owned())).unwrap_err();
    assert!(matches!(error, GatewayStartError::Proxy));
}
