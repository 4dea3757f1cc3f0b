//! A client that writes HTTP/1.1 by hand, so that it can do what a library would not, and upstreams for HTTP and
//! raw TCP.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use opencode_run_gateway::{Gateway, GatewayOptions, Lease, Protocol, Route, Upstream, UsageBudget};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The timeout of every wait.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
pub(crate) const KEY: &str = "sk-the-real-key-1234567890";

/// Fails the test if something takes too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("waited for {what}"))
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A server that stops with the test.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Answers each request with a function.
    pub(crate) async fn http<F, R>(answer: F) -> Self
    where
        F: Fn(Request) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, task }
    }

    /// Handles each connection with a function.
    pub(crate) async fn tcp<F, R>(handle: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(handle(stream));
            }
        });
        Self { address, task }
    }

    /// Reads each request and answers it with these bytes, then closes the connection.
    pub(crate) async fn bytes(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<Vec<u8>> = Arc::new(answer.into());
        Self::tcp(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_request(&mut stream).await;
                stream.write_all(&answer).await.unwrap();
                stream.shutdown().await.ok();
            }
        })
        .await
    }
}

/// A request that an upstream received.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An upstream that records its requests and answers each of them the same way.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) server: Server,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub(crate) async fn new(status: u16, content_type: &'static str, body: &'static str) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let into = Arc::clone(&seen);
        let server = Server::http(move |request: Request| {
            let into = Arc::clone(&into);
            async move {
                let target = request.uri().to_string();
                let headers = request.headers().clone();
                let body_seen = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap().to_vec();
                into.lock().unwrap().push(Seen { target, headers, body: body_seen });
                Response::builder().status(status).header("content-type", content_type).body(Body::from(body)).unwrap()
            }
        })
        .await;
        Self { server, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }
}

/// A gateway with one route to an upstream, which every client may use.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) gateway: Gateway,
    pub(crate) path: Route,
    pub(crate) budget: UsageBudget,
    pub(crate) lease: Lease,
}

pub(crate) fn upstream(url: &str, protocol: Protocol) -> Upstream {
    Upstream { credential: Some(KEY.into()), ..Upstream::new(url, protocol) }
}

impl Setup {
    pub(crate) fn new(url: &str) -> Self {
        Self::with(GatewayOptions::default(), &upstream(url, Protocol::OpenAiCompatible))
    }

    pub(crate) fn with(options: GatewayOptions, upstream: &Upstream) -> Self {
        let gateway = Gateway::start_with(options).unwrap();
        let path = gateway.open(upstream).unwrap();
        let budget = UsageBudget::unlimited();
        let lease = path.lease_to_anyone(&budget).unwrap();
        Self { gateway, path, budget, lease }
    }

    pub(crate) async fn chat(&self) -> Answer {
        post(&self.path, "chat/completions", "{}").await
    }
}

/// Returns the target of a request: the route's token and the rest.
pub(crate) fn target(path: &Route, rest: &str) -> String {
    let base = path.base_url().strip_prefix("http://").unwrap();
    format!("/{}/{rest}", base.split_once('/').unwrap().1)
}

pub(crate) fn address(path: &Route) -> SocketAddr {
    let base = path.base_url().strip_prefix("http://").unwrap();
    base.split_once('/').unwrap().0.parse().unwrap()
}

pub(crate) async fn post(path: &Route, rest: &str, body: &str) -> Answer {
    send(path, rest, &[], body).await
}

/// Sends a request, and reads its answer to the end.
pub(crate) async fn send(path: &Route, rest: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut connection = ask(path, rest, headers, body).await;
    soon("an answer", connection.answer()).await
}

/// Sends a request.
pub(crate) async fn ask(path: &Route, rest: &str, headers: &[(&str, &str)], body: &str) -> Connection {
    let mut connection = Connection::to(address(path)).await;
    let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = headers.concat();
    let target = target(path, rest);
    connection
        .send(&format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    connection
}

/// Sends raw bytes to the gateway, and reads the answer to the end.
pub(crate) async fn raw(gateway: &Gateway, bytes: &str) -> Answer {
    let mut connection = Connection::to(gateway.address()).await;
    connection.send(bytes).await;
    soon("an answer", connection.answer()).await
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, as far as it was received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether it ended as HTTP requires.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that it is an error answer of the gateway in `OpenAI`'s format.
    #[track_caller]
    pub(crate) fn assert_fault(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(self.whole);
        assert_eq!(self.json()["error"]["type"], kind);
        assert!(self.json()["error"]["message"].as_str().is_some_and(|message| message.len() > 10));
        assert!(!self.text().contains(KEY));
    }
}

impl Connection {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads the head of an answer: its status and its headers.
    pub(crate) async fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some((status, headers))
    }

    /// Reads the next chunk of a chunked body: empty at its end, `None` if the connection was aborted.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at;
            }
            self.more().await?;
        };
        let length = usize::from_str_radix(std::str::from_utf8(&self.buffer[..end]).unwrap(), 16).unwrap();
        while self.buffer.len() < end + 2 + length + 2 {
            self.more().await?;
        }
        let chunk = self.buffer[end + 2..end + 2 + length].to_vec();
        self.buffer.drain(..end + 2 + length + 2);
        Some(chunk)
    }

    /// Reads a line.
    pub(crate) async fn line(&mut self) -> String {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at;
            }
            self.more().await.expect("no line");
        };
        let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Reads an answer to its end, or as far as it was sent.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (status, headers) = self.head().await.expect("no answer");
        let mut answer = Answer { status, headers, body: Vec::new(), whole: false };
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length && self.more().await.is_some() {}
            answer.whole = self.buffer.len() >= length;
            answer.body = self.buffer.drain(..length.min(self.buffer.len())).collect();
            return answer;
        }
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{answer:?}");
        while let Some(chunk) = self.chunk().await {
            if chunk.is_empty() {
                answer.whole = true;
                break;
            }
            answer.body.extend(chunk);
        }
        answer
    }

    /// Waits until the other side closes the connection.
    pub(crate) async fn closed(&mut self) {
        while self.more().await.is_some() {}
    }

    async fn more(&mut self) -> Option<()> {
        let read = soon("bytes", self.stream.read_buf(&mut self.buffer)).await.unwrap_or(0);
        (read > 0).then_some(())
    }
}

/// Reads a request with a `content-length` to its end, and returns its head.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut buffer = Vec::new();
    loop {
        if let Some(head) = find(&buffer, b"\r\n\r\n") {
            let text = String::from_utf8(buffer[..head].to_vec()).unwrap();
            let length = text.to_ascii_lowercase();
            let length = length.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
            if buffer.len() >= head + 4 + length.parse::<usize>().unwrap() {
                return text;
            }
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return String::new();
        }
    }
}

/// Waits until the other side closes the connection.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<usize> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

pub(crate) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
