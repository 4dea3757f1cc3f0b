//! A hostile server behind `--attach`.

use crate::support::{Ended, run_within};
use opencode_run_tests::{Sandbox, opencode_run_bin};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The head of a JSON answer of unknown length.
const ENDLESS_JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";

/// A server with arbitrary answers. Its threads end with their connections.
struct Hostile {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    /// Starts a server whose answers `answer` writes, given the request line.
    fn start(answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = Arc::clone(&answer);
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    let head = read_head(&stream);
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    seen.lock().unwrap().push(head);
                    // A closed connection ends the answer.
                    answer(&line, &mut { stream }).ok();
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Reads a request: its head, and its body if a length is given.
fn read_head(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok();
    head
}

fn json(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    write!(stream, "{ENDLESS_JSON}{body}")
}

/// Sends bytes until the client disconnects.
fn flood(stream: &mut TcpStream, head: &str, byte: u8) -> std::io::Result<()> {
    stream.write_all(head.as_bytes())?;
    let chunk = vec![byte; 1 << 20];
    loop {
        stream.write_all(&chunk)?;
    }
}

/// Sends a byte from time to time.
fn drip(stream: &mut TcpStream, head: &str) -> std::io::Result<()> {
    stream.write_all(head.as_bytes())?;
    loop {
        stream.write_all(b" ")?;
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a turn on the server, which must end within a minute.
fn attach(sandbox: &Sandbox, server: &Hostile, arguments: &[&str]) -> Ended {
    let mut command = sandbox.command(opencode_run_bin!());
    let output: &[_] = if arguments.contains(&"--output-format") { &[] } else { &["--output-format", "json"] };
    command.args(["--no-env", "--attach"]).arg(format!("http://{}", server.address));
    command.env("OPENCODE_SERVER_PASSWORD", "secret").args(output).args(arguments).arg("hello").stdin(Stdio::null());
    run_within(&mut command, Duration::from_mins(1))
}

/// Answers like a real server until a session is created.
fn until_session(line: &str, stream: &mut TcpStream) -> Option<std::io::Result<()>> {
    match line.split(' ').nth(1)?.split('?').next()? {
        "/global/health" => Some(json(stream, r#"{"version":"1.18.33"}"#)),
        "/global/event" => Some((|| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            stream.write_all(b"data: {\"payload\":{\"type\":\"server.connected\",\"properties\":{}}}\n\n")?;
            std::thread::sleep(Duration::from_secs(30));
            Ok(())
        })()),
        "/agent" => Some(json(stream, "[]")),
        "/config/providers" => Some(json(stream, r#"{"providers":[],"default":{}}"#)),
        _ => None,
    }
}

#[test]
fn endless_answer_ends_within_bounds() {
    let sandbox = Sandbox::new();
    for first in [true, false] {
        let server = Hostile::start(move |line, stream| match until_session(line, stream).filter(|_| !first) {
            Some(answered) => answered,
            None => flood(stream, ENDLESS_JSON, b' '),
        });
        let ended = attach(&sandbox, &server, &[]);
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(ended.peak_kib < 600 << 10, "first: {first}: {} KiB", ended.peak_kib);
    }
    sandbox.assert_nothing_alive();
}

#[test]
fn time_limit_includes_connecting() {
    let sandbox = Sandbox::new();
    let silent = Hostile::start(|_, _| {
        std::thread::sleep(Duration::from_mins(1));
        Ok(())
    });
    let dripping = Hostile::start(|_, stream| drip(stream, ENDLESS_JSON));
    let headers = Hostile::start(|_, stream| drip(stream, "HTTP/1.1 200 OK\r\nx:"));
    for server in [silent, dripping, headers] {
        let ended = attach(&sandbox, &server, &["--timeout", "2s"]);
        assert_eq!((ended.code, ended.json()["error"]["kind"].as_str()), (124, Some("timeout")), "{ended:?}");
        assert!(ended.elapsed < Duration::from_secs(20), "{ended:?}");
    }
    sandbox.assert_nothing_alive();
}

#[test]
fn endless_headers_end_the_turn() {
    let sandbox = Sandbox::new();
    let server = Hostile::start(|_, stream| flood(stream, "HTTP/1.1 200 OK\r\nx: ", b'x'));
    let ended = attach(&sandbox, &server, &[]);
    assert_ne!(ended.code, 0, "{ended:?}");
    assert!(ended.peak_kib < 200 << 10, "{} KiB", ended.peak_kib);
    sandbox.assert_nothing_alive();
}

#[test]
fn redirect_is_not_followed() {
    let sandbox = Sandbox::new();
    let other = Hostile::start(|_, stream| json(stream, r#"{"version":"1.18.33"}"#));
    let target = other.address;
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let server = Hostile::start(move |_, stream| {
            write!(stream, "HTTP/1.1 {status}\r\nlocation: http://{target}/global/health\r\ncontent-length: 0\r\n\r\n")
        });
        let ended = attach(&sandbox, &server, &[]);
        assert_eq!(ended.code, 4, "{status}: {ended:?}");
    }
    assert_eq!(other.heads(), Vec::<String>::new(), "the password went nowhere else");
    sandbox.assert_nothing_alive();
}

#[test]
fn ids_naming_routes_are_refused() {
    let sandbox = Sandbox::new();
    for id in ["ses_../../x", "../x", "ses_1/message", "ses_1?x=1", "ses_%2e%2e", "", "ses_\\u001b[2J"] {
        let body = format!(r#"{{"id":"{id}","directory":"/tmp"}}"#);
        let server = Hostile::start(move |line, stream| match until_session(line, stream) {
            Some(answered) => answered,
            None => json(stream, &body),
        });
        let ended = attach(&sandbox, &server, &["--idle-timeout", "10s"]);
        assert_ne!(ended.code, 0, "{id}: {ended:?}");
        let heads = server.heads();
        let routes: Vec<_> = heads.iter().filter_map(|head| head.split(' ').nth(1)).collect();
        assert!(routes.iter().all(|route| !route.contains("message") && !route.starts_with("/x")), "{id}: {routes:?}");
        assert!(routes.iter().any(|route| route.starts_with("/session")), "the session was asked for: {routes:?}");
        assert!(ended.json()["session_id"].is_null(), "{id}: {ended:?}");
    }
    sandbox.assert_nothing_alive();
}

/// Returns a server that has a session `ses_1`, and uses an invalid text as the id of others and of permission
/// requests.
fn naming(id: &str) -> Hostile {
    let ask = format!(r#"{{"sessionID":"ses_1","id":"{id}","permission":"bash","patterns":["*"],"questions":[]}}"#);
    let child = format!(r#"{{"sessionID":"{id}","info":{{"id":"{id}","parentID":"ses_1","directory":"/tmp"}}}}"#);
    let message = format!(r#"{{"sessionID":"ses_1","info":{{"id":"{id}","role":"assistant"}}}}"#);
    let kinds = [
        ("session.created", &child),
        ("session.status", &child),
        ("message.updated", &message),
        ("permission.asked", &ask),
        ("question.asked", &ask),
    ];
    let event = |(kind, properties)| format!(r#"data: {{"payload":{{"type":"{kind}","properties":{properties}}}}}"#);
    let events = kinds.map(event).join("\n\n") + "\n\n";
    let children = format!(r#"[{{"id":"{id}","directory":"/tmp"}}]"#);
    let streams = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Hostile::start(move |line, stream| match line.split([' ', '?']).nth(1).unwrap_or_default() {
        // The first stream breaks after the events, so that the lists are requested as well.
        "/global/event" if streams.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            stream.write_all(b"data: {\"payload\":{\"type\":\"server.connected\",\"properties\":{}}}\n\n")?;
            std::thread::sleep(Duration::from_millis(700));
            stream.write_all(events.as_bytes())
        }
        "/session" => json(stream, r#"{"id":"ses_1","directory":"/tmp"}"#),
        "/session/ses_1/children" => json(stream, &children),
        "/permission" | "/question" => json(stream, &format!("[{ask}]")),
        "/session/ses_1/message" if line.starts_with("POST") => {
            std::thread::sleep(Duration::from_secs(2));
            let info = r#"{"id":"msg_zzz","role":"assistant","finish":"stop","time":{"completed":1}}"#;
            json(stream, &format!(r#"{{"info":{info},"parts":[]}}"#))
        }
        "/session/ses_1/message" => json(stream, "[]"),
        _ => until_session(line, stream).unwrap_or_else(|| json(stream, "true")),
    })
}

#[test]
fn invalid_ids_are_ignored() {
    let sandbox = Sandbox::new();
    for id in ["ses_../../x", "\\u001b[2J"] {
        let server = naming(id);
        let ended = attach(&sandbox, &server, &["--output-format", "stream-json", "--idle-timeout", "20s"]);
        let heads = server.heads();
        let routes: Vec<_> = heads.iter().filter_map(|head| head.split(' ').nth(1)).collect();
        assert!(routes.iter().any(|route| route.contains("/children")), "the lists were asked for: {routes:?}");
        let usual = |route: &&&str| {
            let path = route.split('?').next().unwrap_or_default();
            !["x", "[2J", "..", "reply", "reject"].iter().any(|strange| path.contains(strange))
        };
        assert!(routes.iter().all(|route| usual(&route)), "{id}: {routes:?}");
        let lines: Vec<serde_json::Value> =
            ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &lines {
            assert!(!["permission", "question"].contains(&line["type"].as_str().unwrap()), "{id}: {line}");
            assert!(line["sub_agent"].is_null(), "{id}: {line}");
        }
        assert_eq!(lines.last().unwrap()["type"], "result", "{ended:?}");
    }
    sandbox.assert_nothing_alive();
}

/// The head of a stream of events, and its first event.
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
                      data: {\"payload\":{\"type\":\"server.connected\",\"properties\":{}}}\n\n";
/// The answer to the message of a completed turn.
const COMPLETED: &str =
    r#"{"info":{"id":"msg_zzz","role":"assistant","finish":"stop","time":{"completed":1}},"parts":[]}"#;

/// Answers a whole turn in the session `ses_1`, whose stream breaks before its answer arrives.
fn a_turn(line: &str, stream: &mut TcpStream) -> std::io::Result<()> {
    match line.split([' ', '?']).nth(1).unwrap_or_default() {
        "/global/event" => stream.write_all(STREAM.as_bytes()),
        "/session" => json(stream, r#"{"id":"ses_1","directory":"/tmp"}"#),
        "/session/ses_1/message" if line.starts_with("POST") => {
            std::thread::sleep(Duration::from_millis(500));
            json(stream, COMPLETED)
        }
        "/session/ses_1/message" | "/session/ses_1/children" | "/permission" | "/question" => json(stream, "[]"),
        _ => until_session(line, stream).unwrap_or_else(|| json(stream, "true")),
    }
}

#[test]
fn slow_answers_end_with_the_limit() {
    let sandbox = Sandbox::new();
    for slow in [
        "GET /agent",
        "GET /config/providers",
        "GET /global/event",
        "POST /session?",
        "POST /session/ses_1/message",
        "GET /session/ses_1/message",
        "POST /session/ses_1/abort",
        "POST /instance/dispose",
    ] {
        for silent in [false, true] {
            let server = Hostile::start(move |line, stream| {
                if !line.starts_with(slow) {
                    return a_turn(line, stream);
                }
                if silent {
                    std::thread::sleep(Duration::from_mins(1));
                }
                drip(stream, ENDLESS_JSON)
            });
            let ended = attach(&sandbox, &server, &["--timeout", "4s", "--agent", "build", "--model", "a/b"]);
            // The limit, and up to 5 s to release the directory.
            assert!(ended.elapsed < Duration::from_secs(20), "{slow}, silent: {silent}: {ended:?}");
            assert!(ended.json()["task_name"].is_string(), "{ended:?}");
        }
    }
    sandbox.assert_nothing_alive();
}

#[test]
fn endless_event_stream_is_bounded() {
    let sandbox = Sandbox::new();
    let text = r#"{"type":"message.part.updated","properties":{"part":{"id":"prt_1","sessionID":"ses_1","messageID":"msg_1","type":"text","text":"x"}}}"#;
    let own = format!("data: {{\"payload\":{text}}}\n\n").repeat(1000);
    let strange = own.replace("ses_1", "ses_2");
    let comments = ": hello\n\n".repeat(1000);
    for piece in [own, strange, comments, "x".repeat(1 << 16), "data: x\n".repeat(1 << 13)] {
        let name = piece.chars().take(120).collect::<String>();
        let server = Hostile::start(move |line, stream| {
            if line.starts_with("GET /global/event") {
                stream.write_all(STREAM.as_bytes())?;
                loop {
                    stream.write_all(piece.as_bytes())?;
                }
            }
            if line.starts_with("POST /session/ses_1/message") {
                std::thread::sleep(Duration::from_mins(1));
            }
            a_turn(line, stream)
        });
        let ended = attach(&sandbox, &server, &["--timeout", "2s"]);
        assert_eq!(ended.code, 124, "{name}: {ended:?}");
        assert!(ended.elapsed < Duration::from_secs(20), "{name}: {ended:?}");
        assert!(ended.peak_kib < 300 << 10, "{name}: {} KiB", ended.peak_kib);
    }
    sandbox.assert_nothing_alive();
}

#[test]
fn answer_of_another_type_is_not_success() {
    let sandbox = Sandbox::new();
    let page = "<html>\u{1b}]0;title\u{7}</html>";
    for strange in ["GET /global/health", "GET /global/event", "POST /session?", "POST /session/ses_1/message"] {
        for (type_, body) in [("text/html", page), ("application/json", "[[[["), ("application/octet-stream", "\0\0")] {
            let server = Hostile::start(move |line, stream| {
                if !line.starts_with(strange) {
                    return a_turn(line, stream);
                }
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: {type_}\r\nconnection: close\r\n\r\n{body}")
            });
            let ended = attach(&sandbox, &server, &["--timeout", "5s"]);
            assert_ne!(ended.code, 0, "{strange}, {type_}: {ended:?}");
            assert!(!ended.stdout.contains('\u{1b}'), "{ended:?}");
            assert!(ended.elapsed < Duration::from_secs(20), "{strange}, {type_}: {ended:?}");
        }
    }
    sandbox.assert_nothing_alive();
}
