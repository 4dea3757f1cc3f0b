//! A process of another local user that knows the gateway's route. It requests the model at the owner's cost, or fills
//! the gateway with connections.

use crate::faults_support::{HANG, wait_until};
use crate::users::as_plain_user;
use opencode_run_gateway::{Gateway, Protocol, Upstream, UsageBudget};
use rustix::process::geteuid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More connections than the gateway serves in parallel.
const CONNECTIONS: usize = 600;

/// A provider that lists its models, and counts the requests.
fn provider() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            counted.fetch_add(1, Ordering::Relaxed);
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n";
            write!(stream.get_mut(), "{head}{{\"data\":[]}}").unwrap();
        }
    });
    (address, requests)
}

/// Returns the status line of the answer to a request for the models.
fn status_of(gateway: SocketAddr, route: &str) -> String {
    let mut stream = BufReader::new(TcpStream::connect(gateway).unwrap());
    stream.get_ref().set_read_timeout(Some(HANG)).unwrap();
    write!(stream.get_mut(), "GET {route}/models HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line
}

#[test]
fn other_user_gets_no_answers() {
    if !geteuid().is_root() {
        writeln!(std::io::stderr(), "skipped: only root can play another user").ok();
        return;
    }
    let (provider, requests) = provider();
    let gateway = Gateway::start().unwrap();
    let path = gateway.open(&Upstream::new(format!("http://{provider}/v1"), Protocol::OpenAiCompatible)).unwrap();
    let _admission = path.lease_to_anyone(&UsageBudget::unlimited()).unwrap();
    let address = gateway.address();
    let route = path.base_url().splitn(4, '/').last().unwrap();
    assert!(status_of(address, &format!("/{route}")).contains("200"), "the owner uses it");

    let script = format!(
        "for n in $(seq {CONNECTIONS}); do exec {{fd}}<>/dev/tcp/127.0.0.1/{}; done\n\
         printf 'GET /{route}/models HTTP/1.1\\r\\nhost: localhost\\r\\n\\r\\n' >&$fd && cat <&$fd; echo done; read -r _",
        address.port()
    );
    let mut stranger = Command::new("bash");
    // Writing to a closed connection does not end the shell.
    stranger.args(["-c", &format!("trap '' PIPE; ulimit -n 1024; {script}")]).current_dir("/");
    stranger.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut stranger = as_plain_user(&mut stranger).spawn().unwrap();
    let mut said = String::new();
    let mut output = BufReader::new(stranger.stdout.take().unwrap());
    output.read_line(&mut said).unwrap();
    assert_eq!(said, "done\n", "no answer came");
    // The stranger's connections are still open.
    assert!(status_of(address, &format!("/{route}")).contains("200"), "the owner has a place");
    wait_until("all connections are refused", || gateway.refused() >= u64::try_from(CONNECTIONS).unwrap());
    assert_eq!(requests.load(Ordering::Relaxed), 2, "the owner's alone");
    drop(stranger.stdin.take());
    output.read_to_string(&mut said).unwrap();
    stranger.wait().unwrap();
}
