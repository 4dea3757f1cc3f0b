//! The log reports every request but contains no key, token, header or body.
//!
//! In its own test binary, because the gateway's thread logs to the subscriber of the whole process.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use opencode_run_gateway::{Gateway, Protocol, Upstream, UsageBudget, UsageLimits};

const KEY: &str = "sk-the-real-key-1234567890";
const SECRETS: [&str; 4] = [KEY, "the-question", "the-answer", "the-header"];

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers one request with these bytes, and closes.
fn upstream(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"the-question") && matches!(stream.read(&mut byte), Ok(1)) {
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    url
}

fn ask(base_url: &str) -> String {
    let (address, token) = base_url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    write!(
        stream,
        "POST /{token}/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: the-header\r\nconnection: close\r\n\
         content-length: 12\r\n\r\nthe-question"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

#[test]
fn secrets_are_never_logged() {
    let log = Log::default();
    let into = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || into.clone())
        .init();

    let gateway = Gateway::start().unwrap();
    let mut secrets: Vec<String> = SECRETS.map(str::to_owned).to_vec();
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, status) in [
        (upstream(format!("HTTP/1.1 200 OK\r\nx-echo: {KEY}\r\ncontent-length: 10\r\n\r\nthe-answer")), "200"),
        (upstream(format!("HTTP/1.1 401 X\r\ncontent-length: {}\r\n\r\n{KEY}", KEY.len())), "401"),
        (upstream(format!("HTTP/1.1 307 X\r\nlocation: http://x/?key={KEY}\r\ncontent-length: 0\r\n\r\n")), "421"),
        (upstream(format!("{KEY} the-answer\r\n\r\n")), "502"),
        (upstream("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nthe-answer".to_owned()), "200"),
        (format!("http://{down}/v1"), "502"),
    ] {
        let source = Upstream { credential: Some(KEY.into()), ..Upstream::new(url, Protocol::OpenAiCompatible) };
        let path = gateway.open(&source).unwrap();
        secrets.push(path.base_url().rsplit('/').next().unwrap().to_owned());
        let budget = UsageBudget::new(UsageLimits { max_requests: Some(1), ..UsageLimits::default() }).unwrap();
        let lease = path.lease_to_anyone(&budget).unwrap();
        for status in [status, "403"] {
            let answer = ask(path.base_url());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
            assert!(!answer.contains(KEY), "{answer}");
        }
        drop(lease);
        assert!(ask(&format!("http://{}/the-answer", gateway.address())).starts_with("HTTP/1.1 404 "));
    }
    drop(gateway);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("Redirect") && log.contains("Limit"), "nothing is logged: {log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} in the log:\n{log}");
    }
}
