//! Clients that disconnect, routes that close, a gateway that stops.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opencode_run_gateway::{Gateway, Protocol, UsageBudget};
use tokio::io::AsyncWriteExt;

use crate::support::{
    Connection, EVENTS, Server, Setup, address, ask, chunk, post, read_request, read_to_end, soon, target, until,
    upstream,
};

/// An upstream that never ends its answers, and counts the connections that its clients closed.
struct Endless {
    server: Server,
    asked: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

impl Endless {
    /// Creates an upstream that begins its answers if `begins`.
    async fn new(begins: bool) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let left = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::clone(&asked), Arc::clone(&left));
        let server = Server::tcp(move |mut stream| {
            let (asked, left) = counts.clone();
            async move {
                if read_request(&mut stream).await.is_empty() {
                    return;
                }
                asked.fetch_add(1, Ordering::Relaxed);
                if begins {
                    stream.write_all(format!("{EVENTS}{}", chunk("data: 1\n\n")).as_bytes()).await.unwrap();
                }
                read_to_end(&mut stream).await.ok();
                left.fetch_add(1, Ordering::Relaxed);
            }
        })
        .await;
        Self { server, asked, left }
    }

    async fn is_asked(&self) {
        until("the request", || self.asked.load(Ordering::Relaxed) == 1).await;
    }

    async fn is_left(&self) {
        until("the end of the upstream's request", || self.left.load(Ordering::Relaxed) == 1).await;
    }
}

#[tokio::test]
async fn disconnect_during_answer_aborts_request() {
    let endless = Endless::new(true).await;
    let setup = Setup::new(&endless.server.url());
    let mut connection = ask(&setup.path, "chat/completions", &[], "{}").await;
    connection.head().await.unwrap();
    assert_eq!(connection.chunk().await.unwrap(), b"data: 1\n\n");
    assert_eq!(setup.budget.traffic().running, 1);
    drop(connection);
    endless.is_left().await;
    until("the end of the count", || setup.budget.traffic().running == 0).await;
    let traffic = setup.budget.traffic();
    assert_eq!((traffic.failed, traffic.unreported), (0, 1), "it was the client that ended it");
}

#[tokio::test]
async fn disconnect_before_answer_aborts_request() {
    let endless = Endless::new(false).await;
    let setup = Setup::new(&endless.server.url());
    let connection = ask(&setup.path, "chat/completions", &[], "{}").await;
    endless.is_asked().await;
    drop(connection);
    endless.is_left().await;
    until("the end of the count", || setup.budget.traffic().running == 0).await;
}

#[tokio::test]
async fn disconnect_during_request_sends_nothing() {
    let endless = Endless::new(false).await;
    let setup = Setup::new(&endless.server.url());
    let mut connection = Connection::to(address(&setup.path)).await;
    let target = target(&setup.path, "chat/completions");
    connection.send(&format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{")).await;
    drop(connection);
    // Other clients are still served; the incomplete request never reaches the upstream.
    let other = ask(&setup.path, "chat/completions", &[], "{}").await;
    endless.is_asked().await;
    drop(other);
    endless.is_left().await;
    assert_eq!(setup.path.traffic().requests, 1);
}

#[tokio::test]
async fn closed_route_aborts_its_requests() {
    let endless = Endless::new(true).await;
    let Setup { gateway, path, budget, lease } = Setup::new(&endless.server.url());
    let mut connection = ask(&path, "chat/completions", &[], "{}").await;
    connection.head().await.unwrap();
    assert_eq!(connection.chunk().await.unwrap(), b"data: 1\n\n");

    let target = target(&path, "chat/completions");
    drop(path);
    assert_eq!(soon("the break", connection.chunk()).await, None, "an aborted answer must not end cleanly");
    endless.is_left().await;
    let request = format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    crate::support::raw(&gateway, &request).await.assert_fault(404, "gateway_not_found");
    assert_eq!(gateway.refused(), 1);
    assert_eq!((budget.traffic().running, lease.traffic().requests), (0, 1));
}

#[tokio::test]
async fn closed_route_answers_waiting_request() {
    let endless = Endless::new(false).await;
    let Setup { gateway: _gateway, path, lease: _lease, .. } = Setup::new(&endless.server.url());
    let mut connection = ask(&path, "chat/completions", &[], "{}").await;
    endless.is_asked().await;
    drop(path);
    soon("the answer", connection.answer()).await.assert_fault(404, "gateway_closed");
    endless.is_left().await;
}

#[tokio::test]
async fn released_lease_aborts_its_requests() {
    let one = Endless::new(true).await;
    let two = Endless::new(true).await;
    let gateway = Gateway::start().unwrap();
    let budget = UsageBudget::unlimited();
    let path = gateway.open(&upstream(&one.server.url(), Protocol::OpenAiCompatible)).unwrap();
    let other = gateway.open(&upstream(&two.server.url(), Protocol::OpenAiCompatible)).unwrap();
    let lease = path.lease("ses_1", &budget).unwrap();
    let stays = other.lease("ses_1", &budget).unwrap();
    let headers = [("x-session-id", "ses_1")];
    let mut ended = ask(&path, "chat/completions", &headers, "{}").await;
    let mut running = ask(&other, "chat/completions", &headers, "{}").await;
    for connection in [&mut ended, &mut running] {
        connection.head().await.unwrap();
        connection.chunk().await.unwrap();
    }
    drop(lease);
    assert_eq!(soon("the break", ended.chunk()).await, None);
    one.is_left().await;
    assert_eq!((stays.traffic().running, two.left.load(Ordering::Relaxed)), (1, 0));
}

#[tokio::test]
async fn last_handle_stops_gateway() {
    let endless = Endless::new(true).await;
    let Setup { gateway, path, lease, .. } = Setup::new(&endless.server.url());
    let mut connection = ask(&path, "chat/completions", &[], "{}").await;
    connection.head().await.unwrap();
    let idle = Connection::to(gateway.address()).await;
    let address = gateway.address();
    drop(gateway);
    assert_eq!(post(&path, "files", "{}").await.status, 404, "a route keeps it running");
    drop((path, lease));
    soon("the break", connection.closed()).await;
    endless.is_left().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is open");
    drop(idle);
}

#[test]
fn gateway_needs_no_runtime() {
    let gateway = Gateway::start().unwrap();
    let address = gateway.address();
    assert!(std::net::TcpStream::connect(address).is_ok());
    drop(gateway.clone());
    assert!(std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok());
    drop(gateway);
    assert!(std::net::TcpStream::connect(address).is_err());
}
