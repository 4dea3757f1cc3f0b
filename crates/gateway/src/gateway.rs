//! The server: its thread, its address, its live paths.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Once, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use http::Uri;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    client::proxy::matcher::Matcher,
    rt::{TokioIo, TokioTimer},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, oneshot},
};

use crate::{
    LivePath, OpenError, Options, Redactor, Upstream,
    dial::{self, UpstreamClient},
    forward,
    path::PathState,
    peer::{self, Peer},
    tls,
    upstream::Target,
};

/// The most connections of clients at a time; a further one waits. An agent cannot use up the files of its runner.
const MOST_CONNECTIONS: usize = 512;
/// The most connections whose owner is looked up, or that wait for a place, at a time.
const MAX_UNPLACED: usize = 16;
/// How often the owner of a connection is looked for: a list that changes while it is read can lack a row.
const OWNER_LOOKUPS: usize = 3;
/// The pause between two of these.
const LOOKUP_PAUSE: Duration = Duration::from_millis(5);
/// How long a client may keep a connection that it does not use. A tool may run for long between two requests, and a
/// connection that closes just as it is used again would cost a request: closing it is left to the client.
const IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// How long to wait when the system gives no connection, for want of files for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running gateway on 127.0.0.1: a cheap handle, whose clones are the same gateway.
///
/// When the last handle and the last [`LivePath`] are dropped it stops at once: its port is closed, and requests that are
/// under way are broken off.
#[derive(Clone)]
pub struct Gateway(Arc<Running>);

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No port on 127.0.0.1 could be had.
    #[error("listen on 127.0.0.1")]
    Listen(#[source] io::Error),
    /// The system gave no thread or no event queue.
    #[error("start the gateway's thread")]
    Thread(#[source] io::Error),
    /// The proxy of the options is none.
    #[error("use the proxy: it is no URL of a proxy that speaks HTTP or SOCKS 5")]
    Proxy,
}

struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) proxies: Arc<Matcher>,
    paths: RwLock<HashMap<String, Arc<PathState>>>,
    refused: AtomicU64,
    /// Warns once.
    unknown_owners: Once,
    /// Warns once of connections of other users.
    strangers: Once,
    /// The client of upstreams without TLS. Reading the system's certificates takes some milliseconds, so it does not.
    plain: UpstreamClient,
    /// The client of all others, made when the first of them is opened.
    secure: OnceLock<UpstreamClient>,
}

impl Gateway {
    /// Starts a gateway on a free port; it takes connections when this returns.
    ///
    /// It has a thread of its own, so it needs no runtime of the caller and does not stand still when the caller blocks.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start() -> Result<Self, StartError> {
        Self::start_with(Options::default())
    }

    /// Starts a gateway with options.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_with(options: Options) -> Result<Self, StartError> {
        let proxies = Arc::new(dial::matcher(&options.proxy).ok_or(StartError::Proxy)?);
        let nobody = tls::of_nobody().map_err(|error| StartError::Thread(io::Error::other(error)))?;
        let plain = dial::client(&proxies, nobody, options.connect_timeout);
        let shared = Arc::new(Shared {
            options,
            proxies,
            paths: RwLock::default(),
            refused: AtomicU64::new(0),
            unknown_owners: Once::new(),
            strangers: Once::new(),
            plain,
            secure: OnceLock::new(),
        });

        let (listener, address) = listen().map_err(StartError::Listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let run = move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, served) => {}
                }
            });
            // Ends all connections. A look-up of a name that hangs in the system is not waited for.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("gateway".to_owned()).spawn(run).map_err(StartError::Thread)?;
        Ok(Self(Arc::new(Running { address, shared, stop: Some(stop), thread: Some(thread) })))
    }

    /// Opens a path to an upstream. Nobody may use it until somebody is admitted.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(&self, upstream: &Upstream) -> Result<LivePath, OpenError> {
        let target = Target::new(upstream)?;
        if target.uri().is_some_and(|uri| !dial::is_plain(&self.0.shared.proxies, &uri)) {
            self.0.shared.open_secure()?;
        }
        let redactor = Redactor::new(upstream.credential.clone());
        Ok(LivePath::new(self.clone(), target, redactor))
    }

    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Returns the number of requests that were refused because they named no live path, were malformed, or came from another user.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.shared.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.0.address).finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            thread.join().ok();
        }
    }
}

impl Shared {
    pub(crate) fn add(&self, path: Arc<PathState>) {
        self.paths.write().unwrap_or_else(PoisonError::into_inner).insert(path.token.clone(), path);
    }

    pub(crate) fn remove(&self, token: &str) {
        self.paths.write().unwrap_or_else(PoisonError::into_inner).remove(token);
    }

    pub(crate) fn path(&self, token: &str) -> Option<Arc<PathState>> {
        self.paths.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn client_for(&self, uri: &Uri) -> Result<&UpstreamClient, OpenError> {
        if dial::is_plain(&self.proxies, uri) { Ok(&self.plain) } else { self.open_secure() }
    }

    fn open_secure(&self) -> Result<&UpstreamClient, OpenError> {
        if let Some(client) = self.secure.get() {
            return Ok(client);
        }
        let trusted = tls::of_system(&self.options)?;
        Ok(self.secure.get_or_init(|| dial::client(&self.proxies, trusted, self.options.connect_timeout)))
    }
}

/// Binds the port before the thread is there, so that the caller learns of a failure.
fn listen() -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let unplaced = Arc::new(Semaphore::new(MAX_UNPLACED));
    loop {
        let Ok(waiting) = Arc::clone(&unplaced).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let (shared, places) = (Arc::clone(&shared), Arc::clone(&places));
                tokio::spawn(async move {
                    // Strangers take no place, and cannot make a lookup last: it waits for nothing of theirs.
                    if !is_trusted(&stream, client, &shared).await {
                        return;
                    }
                    let Ok(place) = places.acquire_owned().await else { return };
                    drop(waiting);
                    connection(stream, shared).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no connection could be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns whether a connection comes from this user. On a system that does not show that, every connection does.
async fn is_trusted(stream: &TcpStream, client: SocketAddr, shared: &Shared) -> bool {
    let Ok(gateway) = stream.local_addr() else { return false };
    for lookup in 1..=OWNER_LOOKUPS {
        // It takes some milliseconds, in which the other connections go on.
        match tokio::task::spawn_blocking(move || peer::find(client, gateway)).await {
            Ok(Peer::Trusted) => return true,
            Ok(Peer::Unknown) => {
                shared.unknown_owners.call_once(|| {
                    tracing::warn!("other local users are not kept from the gateway: this system does not show whose a connection is");
                });
                return true;
            }
            Ok(Peer::Stranger(user)) => {
                shared.refuse();
                // Once: a user who connects all the time would flood the log, or a terminal.
                shared.strangers.call_once(|| tracing::warn!(user, "refused a connection of another user"));
                return false;
            }
            Ok(Peer::Gone) if lookup < OWNER_LOOKUPS => tokio::time::sleep(LOOKUP_PAUSE).await,
            Ok(Peer::Gone) | Err(_) => {}
        }
    }
    tracing::debug!("refused a connection whose owner is not known");
    false
}

/// Serves a connection to its end. A client that goes away ends the requests that it made on it.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // A token of an answer must not wait for the acknowledgement of the one before it.
    stream.set_nodelay(true).ok();
    let knows_a_path = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let (shared, knows_a_path) = (Arc::clone(&shared), Arc::clone(&knows_a_path));
        async move { Ok::<_, Infallible>(forward::answer(shared, request, &knows_a_path).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let stranger = async {
        if tokio::time::timeout(shared.options.client_timeout, knows_a_path.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            if error.is_parse() {
                shared.refuse();
            }
            tracing::debug!(%error, "a client's connection ended early");
        },
        () = stranger => tracing::debug!("a client that knew no path was sent away"),
    }
}
