//! Measures the time that the gateway adds to the first byte: `cargo bench -p opencode-run-gateway`.
//!
//! A client sends requests to an upstream on loopback, alternately directly and through the gateway, on persistent
//! connections. It measures the time from the first byte of the request to the first byte of the answer. The
//! request has opencode's size and the answer is a stream; both ways do the same work, so the difference is the
//! gateway's overhead.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use opencode_run_gateway::{Gateway, Parameters, Protocol, Upstream, UsageBudget};

const ROUNDS: usize = 2000;
const WARM_UP: usize = 100;
/// The size of opencode's first request of a turn, including tools.
const BODY: usize = 35_000;
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
    26\r\ndata: {\"choices\":[],\"usage\":{\"x\":1}}\n\n\r\n0\r\n\r\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = serve()?;
    let gateway = Gateway::start()?;
    let path = gateway.open(&Upstream {
        credential: Some("sk-1234567890".into()),
        parameters: Parameters { temperature: Some(0.5), ..Parameters::default() },
        ..Upstream::new(format!("http://{provider}/v1"), Protocol::OpenAiCompatible)
    })?;
    let budget = UsageBudget::unlimited();
    let _lease = path.lease("ses_1", &budget)?;

    let token = path.base_url().rsplit('/').next().unwrap_or_default();
    let mut direct = Client::new(provider, "/v1/chat/completions")?;
    let mut by_gateway = Client::new(gateway.address(), &format!("/{token}/chat/completions"))?;
    let mut without = Vec::new();
    let mut with = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let times = (direct.ask()?, by_gateway.ask()?);
        if round >= WARM_UP {
            without.push(times.0);
            with.push(times.1);
        }
    }
    let without = Times::of(without);
    let with = Times::of(with);
    let mut out = io::stdout().lock();
    writeln!(out, "time to the first byte, {ROUNDS} requests of {BODY} bytes each way")?;
    writeln!(out, "            median       p95       p99")?;
    writeln!(out, "direct   {without}")?;
    writeln!(out, "gateway  {with}")?;
    writeln!(out, "added, median: {:.3} ms (target: less than 2 ms)", millis(with.median) - millis(without.median))?;
    Ok(())
}

/// Answers every request on every connection immediately.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_all(stream));
        }
    });
    Ok(address)
}

fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 1 << 17];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        // The end of the body: as the client wrote it, or with the parameter that the gateway set.
        if buffer[..filled].ends_with(b"!\"}") || buffer[..filled].ends_with(b"0.5}") {
            filled = 0;
            stream.write_all(ANSWER.as_bytes())?;
        }
    }
}

struct Client {
    stream: TcpStream,
    request: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr, target: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let body = format!("{{\"model\":\"m\",\"messages\":\"{}!\"}}", "x".repeat(BODY));
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nx-session-id: ses_1\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { stream, request: request.into_bytes() })
    }

    /// Returns the time to the first byte, then reads the rest.
    fn ask(&mut self) -> io::Result<Duration> {
        let asked = Instant::now();
        self.stream.write_all(&self.request)?;
        let mut buffer = [0; 4096];
        let mut filled = self.stream.read(&mut buffer)?;
        let time = asked.elapsed();
        while !buffer[..filled].ends_with(b"0\r\n\r\n") {
            let read = self.stream.read(&mut buffer[filled..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
        }
        Ok(time)
    }
}

struct Times {
    median: Duration,
    p95: Duration,
    p99: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        Self { median: at(50), p95: at(95), p99: at(99) }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, p95, p99] = [self.median, self.p95, self.p99].map(millis);
        write!(f, "{median:6.3} ms {p95:6.3} ms {p99:6.3} ms")
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
