//! The server: its thread, its address and its recorded requests.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axum::{Router, serve::ListenerExt};
use futures_util::future::{Either, select};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::{
    DEFAULT_KEPT_REQUESTS, RecordedRequest, Script, ScriptError,
    handler::{ServerState, handle},
    ledger::{Counts, RequestLedger},
    log::Log,
    rulebook::Rulebook,
};

/// The options of a server besides its script.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The port on 127.0.0.1; 0, the default, selects a free one.
    pub port: u16,
    /// The number of requests that are kept, [`DEFAULT_KEPT_REQUESTS`] by default. All requests are counted.
    pub kept_requests: usize,
    /// A file to which each request is appended as a line of JSON, including the client's key.
    pub log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 0, kept_requests: DEFAULT_KEPT_REQUESTS, log: None }
    }
}

impl Options {
    /// Sets the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the number of requests that are kept.
    #[must_use]
    pub fn kept_requests(mut self, requests: usize) -> Self {
        self.kept_requests = requests;
        self
    }

    /// Sets the file to which requests are appended.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }
}

/// The reason why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelStartError {
    /// The script contains a reply that cannot be sent.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The address is in use or not permitted.
    #[error("listen on {address}")]
    Bind {
        /// The address; port 0 means any.
        address: SocketAddr,
        /// The I/O error.
        source: io::Error,
    },
    /// The log file cannot be opened.
    #[error("open the log {}", path.display())]
    Log {
        /// The path of the log file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The system could not create the thread or its event queue.
    #[error("start the server's thread")]
    Thread(#[source] io::Error),
}

/// A wait timed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("timed out after {timeout:?}: {seen} of {wanted} {what}")]
#[non_exhaustive]
pub struct WaitError {
    /// The kind of the awaited events: `requests` or `disconnects`.
    pub what: &'static str,
    /// The awaited number of events.
    pub wanted: usize,
    /// The number of events that occurred before the timeout.
    pub seen: usize,
    /// The timeout that has passed.
    pub timeout: Duration,
}

/// A running model server on 127.0.0.1.
///
/// Dropping it stops it immediately: when the drop returns, its thread has ended, its port is closed, and unfinished
/// answers are aborted.
#[derive(Debug)]
pub struct ScriptedModel {
    address: SocketAddr,
    stage: Arc<ServerState>,
    clock: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedModel {
    /// Starts a server on a free port; it accepts connections when this returns.
    ///
    /// # Errors
    ///
    /// See [`ModelStartError`].
    pub fn start(script: Script) -> Result<Self, ModelStartError> {
        Self::start_with(script, &Options::default())
    }

    /// Starts a server with options.
    ///
    /// # Errors
    ///
    /// See [`ModelStartError`].
    pub fn start_with(script: Script, options: &Options) -> Result<Self, ModelStartError> {
        script.check()?;
        let log = options
            .log
            .as_ref()
            .map(|path| Log::open(path).map_err(|source| ModelStartError::Log { path: path.clone(), source }));
        let stage = Arc::new(ServerState {
            rulebook: Rulebook::new(script),
            ledger: Arc::new(RequestLedger::new(options.kept_requests)),
            stopping: Arc::new(AtomicBool::new(false)),
            log: log.transpose()?,
            started: Instant::now(),
            answers: AtomicU64::new(0),
        });
        let (listener, address) = listen(options.port)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ModelStartError::Thread)?;
        let clock = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let app = Router::new().fallback(handle).with_state(Arc::clone(&stage));
        let serve = async move {
            // Disables Nagle's algorithm: a small frame must not wait for the acknowledgement of the previous one.
            let listener = TcpListener::from_std(listener)?.tap_io(|stream| {
                stream.set_nodelay(true).ok();
            });
            axum::serve(listener, app).await
        };
        // Leaving the block drops the runtime and all connections.
        let run = move || {
            runtime.block_on(select(Box::pin(serve), stopped));
        };
        let thread =
            thread::Builder::new().name("scripted-model".to_owned()).spawn(run).map_err(ModelStartError::Thread)?;
        Ok(Self { address, stage, clock, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URL for OpenAI-compatible and Anthropic clients, `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns the base URL for Google clients, `http://127.0.0.1:PORT/v1beta`.
    #[must_use]
    pub fn google_base_url(&self) -> String {
        format!("http://{}/v1beta", self.address)
    }

    /// Returns the recorded requests, oldest first, at most [`Options::kept_requests`].
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.stage.ledger.requests()
    }

    /// Returns the number of all requests, including those that are no longer kept.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.stage.ledger.counts().requests
    }

    /// Returns the number of answers whose client disconnected before their end.
    ///
    /// Answers that were cut by the script or by the end of the server do not count.
    #[must_use]
    pub fn disconnects(&self) -> usize {
        self.stage.ledger.counts().disconnects
    }

    /// Waits until there were `count` requests in total, and returns those that are kept.
    ///
    /// The timeout uses real time, even if the caller's runtime has a paused clock. Works with any runtime.
    ///
    /// # Errors
    ///
    /// [`WaitError`] if there were fewer within `timeout`.
    pub async fn wait_for_requests(
        &self,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Arc<RecordedRequest>>, WaitError> {
        self.wait("requests", count, timeout, |counts| counts.requests).await?;
        Ok(self.requests())
    }

    /// Waits until the clients of `count` answers in total have disconnected.
    ///
    /// # Errors
    ///
    /// [`WaitError`] if there were fewer within `timeout`.
    pub async fn wait_for_disconnects(&self, count: usize, timeout: Duration) -> Result<(), WaitError> {
        self.wait("disconnects", count, timeout, |counts| counts.disconnects).await
    }

    async fn wait(
        &self,
        what: &'static str,
        wanted: usize,
        timeout: Duration,
        count: impl Fn(&Counts) -> usize,
    ) -> Result<(), WaitError> {
        let mut counts = self.stage.ledger.watch();
        let reached = Box::pin(counts.wait_for(|counts| count(counts) >= wanted));
        let timer = self.clock.spawn(async move { tokio::time::sleep(timeout).await });
        let stop_timer = timer.abort_handle();
        match select(reached, timer).await {
            Either::Left(_) => {
                stop_timer.abort();
                Ok(())
            }
            Either::Right(_) => Err(WaitError { what, wanted, seen: count(&self.stage.ledger.counts()), timeout }),
        }
    }

    /// Stops the server, like dropping it.
    pub fn shutdown(self) {
        drop(self);
    }

    /// Serves until the process is ended.
    pub fn serve_forever(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.stage.stopping.store(true, Ordering::Relaxed);
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Binds the port before the thread starts, so that the caller gets the error.
fn listen(port: u16) -> Result<(std::net::TcpListener, SocketAddr), ModelStartError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind().map_err(|source| ModelStartError::Bind { address, source })
}
