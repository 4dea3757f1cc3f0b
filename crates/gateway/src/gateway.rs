//! The server: its thread, its address and its routes.

use std::{
    convert::Infallible,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Once, OnceLock, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, oneshot},
};

use crate::{
    GatewayOptions, OpenError, Redactor, Route, Upstream, dial, forward,
    peer::{self, Peer},
    running::RunningGateway,
    shared::GatewayState,
    tls,
    upstream::Target,
};

/// The maximum number of client connections; others wait. So an agent cannot exhaust the file descriptors of its
/// runner.
const MAX_CONNECTIONS: usize = 512;
/// The maximum number of connections whose owner is being looked up at a time; others wait.
const MAX_PENDING_LOOKUPS: usize = 16;
/// The number of owner lookups for a connection: a list that changes while it is read can lack a row.
const OWNER_LOOKUPS: usize = 3;
/// The pause between two lookups.
const LOOKUP_PAUSE: Duration = Duration::from_millis(5);
/// The maximum time for which a client may keep an idle connection. A tool may run for long between two requests,
/// and a connection that closes just as it is reused would fail a request, so closing it is left to the client.
const IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// The pause after a failed `accept`, for example when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running gateway on 127.0.0.1: a cheap handle, whose clones share the same gateway.
///
/// When the last handle and the last [`Route`] are dropped, it stops immediately: its port is closed and running
/// requests are aborted.
#[derive(Clone)]
pub struct Gateway(Arc<RunningGateway>);

/// The reason why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayStartError {
    /// No port on 127.0.0.1 could be bound.
    #[error("listen on 127.0.0.1")]
    Listen(#[source] io::Error),
    /// The system could not create the thread or its event queue.
    #[error("start the gateway's thread")]
    Thread(#[source] io::Error),
    /// The proxy in the options is invalid.
    #[error("use the proxy: it is not the URL of an HTTP or SOCKS 5 proxy")]
    Proxy,
}

impl Gateway {
    /// Starts a gateway on a free port. It accepts connections when this returns.
    ///
    /// It has its own thread, so it needs no async runtime of the caller and keeps running while the caller blocks.
    ///
    /// # Errors
    ///
    /// See [`GatewayStartError`].
    pub fn start() -> Result<Self, GatewayStartError> {
        Self::start_with(GatewayOptions::default())
    }

    /// Starts a gateway with options.
    ///
    /// # Errors
    ///
    /// See [`GatewayStartError`].
    pub fn start_with(options: GatewayOptions) -> Result<Self, GatewayStartError> {
        let proxies = Arc::new(dial::matcher(&options.proxy).ok_or(GatewayStartError::Proxy)?);
        let nobody = tls::of_nobody().map_err(|error| GatewayStartError::Thread(io::Error::other(error)))?;
        let plain = dial::client(&proxies, nobody, options.connect_timeout);
        let shared = Arc::new(GatewayState {
            options,
            proxies,
            paths: RwLock::default(),
            refused: AtomicU64::new(0),
            unknown_owners: Once::new(),
            other_users: Once::new(),
            plain,
            secure: OnceLock::new(),
        });

        let (listener, address) = listen().map_err(GatewayStartError::Listen)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(GatewayStartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let run = move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, served) => {}
                }
            });
            // Closes all connections. Does not wait for a blocked name lookup.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("gateway".to_owned()).spawn(run).map_err(GatewayStartError::Thread)?;
        Ok(Self(Arc::new(RunningGateway { address, shared, stop: Some(stop), thread: Some(thread) })))
    }

    /// Opens a route to an upstream. It cannot be used until a lease is acquired.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(&self, upstream: &Upstream) -> Result<Route, OpenError> {
        let target = Target::new(upstream)?;
        if target.uri().is_some_and(|uri| !dial::is_plain(&self.0.shared.proxies, &uri)) {
            self.0.shared.open_secure()?;
        }
        let redactor = Redactor::new(upstream.credential.clone());
        Ok(Route::new(Arc::clone(&self.0), target, redactor))
    }

    /// Returns the address that the gateway listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Returns the number of requests that were rejected because they were malformed, named no route, or came from
    /// another user.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.shared.refused.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.0.address).finish_non_exhaustive()
    }
}

/// Binds the port before the thread starts, so that the caller gets the error.
fn listen() -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(listener: std::net::TcpListener, shared: Arc<GatewayState>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let unplaced = Arc::new(Semaphore::new(MAX_PENDING_LOOKUPS));
    loop {
        let Ok(waiting) = Arc::clone(&unplaced).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let shared = Arc::clone(&shared);
                let places = Arc::clone(&places);
                tokio::spawn(async move {
                    // Connections of other users occupy no slot, and their lookup waits for nothing that they
                    // control.
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
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns whether a connection comes from this user. If the system does not report that, every connection is
/// trusted.
async fn is_trusted(stream: &TcpStream, client: SocketAddr, shared: &GatewayState) -> bool {
    let Ok(gateway) = stream.local_addr() else { return false };
    for lookup in 1..=OWNER_LOOKUPS {
        // This takes some milliseconds, during which other connections are served.
        match tokio::task::spawn_blocking(move || peer::find(client, gateway)).await {
            Ok(Peer::Trusted) => return true,
            Ok(Peer::Unknown) => {
                shared.unknown_owners.call_once(|| {
                    tracing::warn!("other local users can connect to the gateway: this system does not report the owner of a connection");
                });
                return true;
            }
            Ok(Peer::OtherUser(user)) => {
                shared.refuse();
                // Once, because a user who connects repeatedly would flood the log or the terminal.
                shared.other_users.call_once(|| tracing::warn!(user, "refused a connection of another user"));
                return false;
            }
            Ok(Peer::Gone) if lookup < OWNER_LOOKUPS => tokio::time::sleep(LOOKUP_PAUSE).await,
            Ok(Peer::Gone) | Err(_) => {}
        }
    }
    tracing::debug!("refused a connection of an unknown owner");
    false
}

/// Serves a connection to its end. If the client disconnects, its requests are aborted.
async fn connection(stream: TcpStream, shared: Arc<GatewayState>) {
    // Disables Nagle's algorithm: a token must not wait for the acknowledgement of the previous one.
    stream.set_nodelay(true).ok();
    let names_a_route = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        let names_a_route = Arc::clone(&names_a_route);
        async move { Ok::<_, Infallible>(forward::answer(shared, request, &names_a_route).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let unused = async {
        if tokio::time::timeout(shared.options.client_timeout, names_a_route.notified()).await.is_ok() {
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
        () = unused => tracing::debug!("closed a connection that named no route"),
    }
}
