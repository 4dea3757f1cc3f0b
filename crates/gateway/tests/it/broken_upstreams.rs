//! Upstreams that misbehave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opencode_run_gateway::{GatewayOptions, Protocol};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::support::{EVENTS, LIMIT, Recorder, Server, Setup, ask, chunk, read_request, read_to_end, upstream};

/// Options with short timeouts that are still long enough for successful operations on a busy machine.
fn impatient() -> GatewayOptions {
    let mut options = GatewayOptions::default();
    options.silence_timeout = Duration::from_secs(2);
    options.connect_timeout = Duration::from_secs(2);
    options
}

#[tokio::test]
async fn upstream_down_is_bad_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let setup = Setup::new(&url);
    setup.chat().await.assert_fault(502, "gateway_unreachable");
    let traffic = setup.budget.traffic();
    assert_eq!((traffic.requests, traffic.failed, traffic.running), (1, 1, 0));
}

#[tokio::test]
async fn unresolvable_upstream_is_bad_gateway() {
    let mut direct = GatewayOptions::default();
    direct.proxy = opencode_run_gateway::Proxy::None;
    let setup = Setup::with(direct, &upstream("http://no-such-host.invalid/v1", Protocol::OpenAiCompatible));
    setup.chat().await.assert_fault(502, "gateway_unreachable");
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let elsewhere = Recorder::new(200, "application/json", "{}").await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://{}/v1/chat/completions", elsewhere.server.address);
        let server =
            Server::bytes(format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")).await;
        let setup = Setup::new(&server.url());
        let answer = setup.chat().await;
        answer.assert_fault(421, "gateway_redirect");
        assert_eq!(answer.header("location"), None);
        assert_eq!(setup.path.traffic().failed, 1);
    }
    assert!(elsewhere.seen().is_empty(), "the key was sent to another host");
}

#[tokio::test]
async fn non_http_upstream_is_bad_gateway() {
    for bytes in ["", "220 mail.example ESMTP\r\n", "HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 abc\r\n\r\n", "\0\0\0"] {
        let server = Server::bytes(bytes).await;
        Setup::new(&server.url()).chat().await.assert_fault(502, "gateway_broken_answer");
    }
}

#[tokio::test]
async fn conflicting_lengths_are_rejected() {
    let server = Server::bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc").await;
    Setup::new(&server.url()).chat().await.assert_fault(502, "gateway_broken_answer");
}

#[tokio::test]
async fn silent_upstream_times_out() {
    let server = Server::tcp(|mut stream| async move {
        read_to_end(&mut stream).await.ok();
    })
    .await;
    let setup = Setup::with(impatient(), &upstream(&server.url(), Protocol::OpenAiCompatible));
    setup.chat().await.assert_fault(504, "gateway_timeout");
    assert_eq!(setup.path.traffic().failed, 1);
}

#[tokio::test]
async fn stalled_answer_is_aborted() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let server = Server::tcp(move |mut stream| {
        let ended = Arc::clone(&count);
        async move {
            read_request(&mut stream).await;
            stream.write_all(format!("{EVENTS}{}8\r\nhalf", chunk("data: 1\n\n")).as_bytes()).await.unwrap();
            read_to_end(&mut stream).await.ok();
            ended.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    let setup = Setup::with(impatient(), &upstream(&server.url(), Protocol::OpenAiCompatible));
    let answer = setup.chat().await;
    assert_eq!((answer.status, answer.text(), answer.whole), (200, "data: 1\n\nhalf", false));
    let traffic = setup.path.traffic();
    assert_eq!((traffic.failed, traffic.running, traffic.unreported), (1, 0, 0));
    crate::support::until("the end of the upstream's connection", || ended.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn broken_answer_never_ends_cleanly() {
    for answer in [
        format!("{EVENTS}{}", chunk("data: 1\n\n")),
        format!("{EVENTS}{}9\r\ndata", chunk("data: 1\n\n")),
        format!("{EVENTS}{}zz\r\n", chunk("data: 1\n\n")),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ndata: 1\n\n".to_owned(),
    ] {
        let server = Server::bytes(answer.clone()).await;
        let setup = Setup::new(&server.url());
        let received = setup.chat().await;
        assert_eq!((received.status, received.whole), (200, false), "{answer}");
        assert!(received.text().starts_with("data: 1\n\n"), "{answer}");
        assert_eq!(setup.path.traffic().failed, 1, "{answer}");
    }
}

#[tokio::test]
async fn answer_ended_by_closing_is_complete() {
    let server = Server::bytes("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it").await;
    let received = Setup::new(&server.url()).chat().await;
    assert_eq!((received.text(), received.whole), ("all of it", true));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connect_timeout_is_enforced() {
    // A listener with a full queue accepts no connection, and the system does not answer.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let connecting = tokio::net::TcpStream::connect(address);
        waiting.push(tokio::time::timeout(Duration::from_millis(100), connecting).await);
    }
    assert!(waiting.iter().any(Result::is_err), "the queue is not full");
    let setup = Setup::with(impatient(), &upstream(&format!("http://{address}/v1"), Protocol::OpenAiCompatible));
    setup.chat().await.assert_fault(504, "gateway_timeout");
}

#[tokio::test]
async fn pause_within_limit_is_accepted() {
    let server = Server::tcp(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(EVENTS.as_bytes()).await.unwrap();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stream.write_all(chunk(": ping\n\n").as_bytes()).await.unwrap();
        }
        stream.write_all(chunk("").as_bytes()).await.unwrap();
    })
    .await;
    let mut options = GatewayOptions::default();
    options.silence_timeout = LIMIT;
    let setup = Setup::with(options, &upstream(&server.url(), Protocol::OpenAiCompatible));
    let mut connection = ask(&setup.path, "chat/completions", &[], "{}").await;
    assert_eq!(connection.answer().await.text(), ": ping\n\n".repeat(5));
}
