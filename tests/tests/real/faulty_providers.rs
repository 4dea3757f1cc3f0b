//! Providers that answer in another format, break off after the answer, or never end it.

use crate::library::builder;
use crate::stage::{LIMIT, Stage};
use opencode_run_scripted_model::Script;
use opencode_runner::{FailureKind, Limit, ModelConfig, ModelSourceType, Prompt, ProviderPackage, TurnFailure};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A provider that answers each request in the same way.
struct Provider {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Provider {
    /// Starts a provider that answers each request by a function, until the client disconnects or the provider is
    /// dropped.
    fn start(answer: impl Fn(&mut TcpStream, &AtomicBool) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let count = Arc::clone(&requests);
        let over = Arc::clone(&is_over);
        let answer = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            let mut answering = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let count = Arc::clone(&count);
                let over = Arc::clone(&over);
                let answer = Arc::clone(&answer);
                answering.push(std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    if read_request(&mut stream).is_some() {
                        count.fetch_add(1, Ordering::Relaxed);
                        answer(&mut stream, &over).ok();
                        stream.shutdown(Shutdown::Both).ok();
                    }
                }));
            }
            for thread in answering {
                thread.join().unwrap();
            }
        });
        Self { address, requests, is_over, thread: Some(thread) }
    }

    /// Returns a provider that answers each request with these bytes and closes the connection.
    fn bytes(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |stream, _| stream.write_all(answer.as_bytes()))
    }

    /// Returns a provider that answers each request with the current bytes, and closes the connection.
    fn changing() -> (Self, Arc<Mutex<String>>) {
        let answer = Arc::<Mutex<String>>::default();
        let current = Arc::clone(&answer);
        let provider = Self::start(move |stream, _| {
            let bytes = current.lock().unwrap().clone();
            stream.write_all(bytes.as_bytes())
        });
        (provider, answer)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).ok();
        self.thread.take().unwrap().join().ok();
    }
}

fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut text = Vec::new();
    let mut piece = [0; 1 << 12];
    loop {
        let head = text.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(head) = head {
            let lower = String::from_utf8_lossy(&text[..head]).to_ascii_lowercase();
            let length = lower.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
            if text.len() >= head + 4 + length.parse::<usize>().unwrap() {
                return Some(());
            }
        }
        match stream.read(&mut piece) {
            Ok(read @ 1..) => text.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}

/// Plays a turn on the provider, and returns its result and its duration.
#[track_caller]
fn turn(stage: &Stage, provider: &Provider, code: i32, arguments: &[&str]) -> (Value, Duration) {
    turn_of(stage, provider, "@ai-sdk/openai-compatible", code, arguments)
}

/// Does the same with another provider package.
#[track_caller]
fn turn_of(stage: &Stage, provider: &Provider, package: &str, code: i32, arguments: &[&str]) -> (Value, Duration) {
    source(stage, provider, package);
    let since = Instant::now();
    let all = ["--output-format", "json"].into_iter().chain(arguments.iter().copied()).chain(["hello"]);
    let done = stage.run(all).with_code(code);
    (done.json(), since.elapsed())
}

/// Makes the provider the default model source.
fn source(stage: &Stage, provider: &Provider, package: &str) {
    stage.dot_env(&format!(
        "MODEL_DEFAULT_PROVIDER={package}\nMODEL_DEFAULT_BASEURL=http://{}/v1\nMODEL_DEFAULT_APIKEY=sk-1234567890\nMODEL_DEFAULT_MODEL=m\n\
         MODEL_DEFAULT_PRICE_INPUT=1\nMODEL_DEFAULT_PRICE_OUTPUT=1\n",
        provider.address
    ));
}

/// Does the same for a turn that fails with this message because of the provider.
#[track_caller]
fn fails(stage: &Stage, provider: &Provider, arguments: &[&str], says: &str) -> Value {
    let (json, _) = turn(stage, provider, 1, arguments);
    assert_failure(&json, says);
    json
}

/// Asserts that a turn failed with this message because of the provider.
#[track_caller]
fn assert_failure(json: &Value, says: &str) {
    assert_eq!(json["error"]["kind"], "provider", "{json}");
    assert!(json["error"]["message"].as_str().unwrap().contains(says), "{json}");
}

fn with_length(content_type: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const HELLO: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hello.\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n\
                    data: [DONE]\n\n";
const LATE_NAME: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\
                         \"function\",\"function\":{\"arguments\":\"\"}}]}}]}\n\n";

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn complete_answer_survives_broken_connection() {
    let stage = Stage::new(Script::always("unused"));
    let provider = Provider::bytes(format!("{EVENTS}{}", chunk(&format!("{HELLO}{STOP}"))));
    let (json, _) = turn(&stage, &provider, 0, &["--max-cost", "1"]);
    assert_eq!((&json["output"], provider.requests()), (&"Hello.".into(), 1), "{json}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn answer_in_other_format_is_reported() {
    let stage = Stage::new(Script::always("unused"));
    let page = "<!doctype html><html><head><title>Sign in</title></head><body>to the portal</body></html>";
    let (provider, current) = Provider::changing();
    source(&stage, &provider, "@ai-sdk/openai-compatible");
    let mut chat = stage.chat([]);
    for (answer, says, requests) in [
        (with_length("text/html", page), "a web page instead of a stream of events: Sign in to the portal", 1),
        (with_length("application/json", r#"{"choices":[]}"#), "a whole JSON answer instead of a stream", 1),
        (with_length("application/json", r#"{"error":{"message":"quota is used up"}}"#), "quota is used up", 1),
        (with_length("text/event-stream", ""), "its answer was empty", 2),
        (with_length("text/event-stream", HELLO), "without a finish reason", 2),
        (with_length("text/event-stream", "data: {\"cho\n\n"), "an event that is not JSON: {\"cho", 2),
        (with_length("text/event-stream", &format!("{LATE_NAME}{STOP}")), "a tool call that begins without a name", 1),
    ] {
        *current.lock().unwrap() = answer;
        let before = provider.requests();
        let json = chat.next_turn("hello");
        assert_failure(&json, says);
        assert_eq!(provider.requests() - before, requests, "{json}");
        let hints = says != "quota is used up";
        assert_eq!(json["error"]["hint"].as_str().is_some_and(|hint| hint.contains("BASEURL")), hints, "{json}");
    }
    chat.end().with_code(1);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn error_within_stream_is_reported() {
    let stage = Stage::new(Script::always("unused"));
    let errors = [r#"{"error":{"message":"GPU fell over","code":"gpu"}}"#, r#"{"error":"GPU fell over"}"#];
    for (error, transport) in errors.into_iter().zip(["serve", "run"]) {
        let provider = Provider::bytes(with_length("text/event-stream", &format!("{HELLO}data: {error}\n\n")));
        fails(&stage, &provider, &["--transport", transport], "GPU fell over");
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn base_url_with_route_is_refused() {
    let stage = Stage::new(Script::always("unused"));
    stage.dot_env("MODEL_DEFAULT_BASEURL={url}/chat/completions\nMODEL_DEFAULT_MODEL=m\n");
    for arguments in [&["--config", ".env", "hello"][..], &["doctor", "--config", ".env"]] {
        let done = stage.run(arguments.iter().copied());
        assert_ne!(done.code, 0, "{}", done.stderr);
        let all = format!("{}{}", done.stdout, done.stderr);
        assert!(
            all.contains("MODEL_DEFAULT_BASEURL") && all.contains("/chat/completions, the path of a request"),
            "{all}"
        );
    }
    assert_eq!(stage.requests().len(), 0);
    stage.end();
}

/// Returns a provider that sends the same piece every half second.
fn trickle(piece: &'static str) -> Provider {
    Provider::start(move |stream, is_over| {
        stream.write_all(EVENTS.as_bytes())?;
        while !is_over.load(Ordering::Relaxed) {
            stream.write_all(chunk(piece).as_bytes())?;
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    })
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn liveness_does_not_delay_idle_limit() {
    let mixed = ": x\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}]}\n\n";
    let block = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
                 \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
                 event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
    // The gateway's own tests cover more of them.
    let cases = [(ProviderPackage::OPENAI_COMPATIBLE, mixed), (ProviderPackage::ANTHROPIC, block)];
    // Each test waits most of the time.
    std::thread::scope(|scope| cases.iter().for_each(|case| drop(scope.spawn(|| ends_as_idle(case.0, case.1)))));
}

/// Plays a turn on a provider that sends only liveness, and asserts that it reaches the idle limit.
#[tokio::main(flavor = "current_thread")]
async fn ends_as_idle(package: &str, piece: &'static str) {
    /// Long enough for a turn on a running server to begin. The turn takes three times as long, because liveness counts as progress for
    /// twice the limit.
    const IDLE: Duration = Duration::from_secs(4);
    let stage = Stage::new(Script::always("Ready."));
    let provider = trickle(piece);
    let ready = ModelConfig::new("m").base_url(stage.model.base_url());
    let idle = ModelConfig::new("m")
        .base_url(format!("http://{}/v1", provider.address))
        .provider(ProviderPackage::new(package));
    let sources = [(ModelSourceType::Default, ready), (ModelSourceType::Code, idle)].into_iter().collect();
    let runner = builder(&stage).model_source(sources).build().await.unwrap();
    // The start of opencode may take longer than the limit.
    let first = runner.run(Prompt::new("hello").idle_timeout(Limit::Off)).await.unwrap();
    assert_eq!(first.output(), "Ready.");
    let prompt = Prompt::new("hello").source_type(ModelSourceType::Code).idle_timeout(IDLE);
    runner.start(prompt).await.unwrap();
    let turn = runner.wait_timeout(LIMIT).await.unwrap().unwrap();
    assert_eq!(turn.failure.as_ref().map(TurnFailure::kind), Some(FailureKind::IdleTimeout), "{turn:?}");
    assert!(provider.requests() > 0 && turn.duration >= 2 * IDLE, "{turn:?}");
    runner.close().await.unwrap();
    stage.end();
}

/// The gateway ends the stream in the same way after an answer of 128 MiB, for which opencode takes a minute.
#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn endless_line_fails_after_one_request() {
    let stage = Stage::new(Script::always("unused"));
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"";
    for (first, transport) in [("data: ", "serve"), (text, "run")] {
        let provider = Provider::start(move |stream, is_over| {
            stream.write_all(format!("{EVENTS}{}", chunk(first)).as_bytes())?;
            let piece = chunk(&"x".repeat(64 * 1024));
            while !is_over.load(Ordering::Relaxed) {
                stream.write_all(piece.as_bytes())?;
            }
            Ok(())
        });
        let json = fails(&stage, &provider, &["--transport", transport], "an event exceeds the limit of 16 MiB");
        assert_eq!(provider.requests(), 1, "{json}");
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn echoed_key_reaches_no_output() {
    const KEY: &str = "sk-1234567890";
    let stage = Stage::new(Script::always("unused"));
    let (provider, current) = Provider::changing();
    source(&stage, &provider, "@ai-sdk/openai-compatible");
    let echo = |form: &str| {
        let body = format!("{{\"error\": {{\"message\": \"bad key {form}\"}}}}");
        let head = format!("HTTP/1.1 401 {form}\r\ncontent-type: application/json\r\nx-key: {form}\r\n");
        *current.lock().unwrap() = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    };
    let assert_hidden = |json: &Value, form: &str| {
        assert!(json["error"]["message"].as_str().unwrap().contains("bad key"), "{json}");
        let message = json.to_string();
        for hidden in [KEY, "234567890", form, &form[6..]] {
            assert!(!message.contains(hidden), "{hidden} in {json}");
        }
        let grep = |text: &str| {
            std::process::Command::new("grep").args(["-rlaF", text]).arg(stage.sandbox.root()).output().unwrap().stdout
        };
        let env_file = format!("{}\n", stage.sandbox.workspace().join(".env").display());
        assert_eq!(String::from_utf8(grep(KEY)).unwrap(), env_file);
        assert_eq!(String::from_utf8(grep(form)).unwrap(), "");
    };
    let mut chat = stage.chat([]);
    for form in ["sk\\u002D1234567890", "&#115;k&#x2D;1234567890", "dXNlcjpzay0xMjM0NTY3ODkw"] {
        echo(form);
        assert_hidden(&chat.next_turn("hello"), form);
    }
    let before = provider.requests();
    *current.lock().unwrap() =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: rot13\r\n\r\n{HELLO}{STOP}");
    let json = chat.next_turn("hello");
    assert_failure(&json, "content encoding");
    assert_eq!(provider.requests() - before, 1, "{json}");
    chat.end().with_code(1);
    let form = "sk%2d123456789%30";
    echo(form);
    assert_hidden(&fails(&stage, &provider, &["--transport", "run"], "bad key"), form);
    stage.end();
}
