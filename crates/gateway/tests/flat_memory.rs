//! An answer of 1 GB streams through the gateway in constant memory.
//!
//! In its own test binary, because it measures the memory of its whole process.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use opencode_run_gateway::{Gateway, GatewayOptions, Protocol, Upstream, UsageBudget};

const PIECE: usize = 1 << 20;
const PIECES: usize = 1024;
/// The memory that the gateway may use in addition: buffers of two connections, and slack for the allocator.
const ROOM_KIB: u64 = 32 * 1024;

/// Sends an answer that consists of one event with one string of 1 GB.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut request = [0; 4096];
    while !request.windows(2).any(|end| end == b"{}") {
        let read = stream.read(&mut request)?;
        assert!(read > 0);
    }
    let head = "data: {\"text\":\"";
    let tail = "\",\"usage\":{\"prompt_tokens\":7}}\n\n";
    let length = head.len() + PIECES * PIECE + tail.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{head}")?;
    let piece = vec![b'x'; PIECE];
    for _ in 0..PIECES {
        stream.write_all(&piece)?;
    }
    stream.write_all(tail.as_bytes())
}

/// Reads a field of the process's status, in KiB.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn gigabyte_answer_needs_constant_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let server = thread::spawn(move || serve(&listener).unwrap());

    let mut options = GatewayOptions::default();
    (options.max_event_bytes, options.max_answer_bytes) = (u64::MAX, u64::MAX);
    let gateway = Gateway::start_with(options).unwrap();
    let upstream =
        Upstream { credential: Some("sk-1234567890".into()), ..Upstream::new(url, Protocol::OpenAiCompatible) };
    let path = gateway.open(&upstream).unwrap();
    let budget = UsageBudget::unlimited();
    let _lease = path.lease_to_anyone(&budget).unwrap();

    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let token = path.base_url().rsplit('/').next().unwrap();
    write!(
        stream,
        "POST /{token}/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
    )
    .unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut received = stream.read(&mut buffer).unwrap();
    let before = memory("VmRSS");
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            read => received += read,
        }
    }
    server.join().unwrap();
    assert!(received > PIECES * PIECE, "{received}");
    assert_eq!(budget.traffic().tokens.input, 7);
    assert_eq!((budget.traffic().failed, budget.traffic().running), (0, 0));
    let grown = memory("VmHWM").saturating_sub(before);
    assert!(grown < ROOM_KIB, "{grown} KiB more");
}
