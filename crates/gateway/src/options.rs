//! The options of a gateway.

use std::{fmt, path::PathBuf, time::Duration};

/// The options of a gateway, except its routes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayOptions {
    /// The proxy for upstreams that are not on loopback; those on loopback are always reached directly.
    pub proxy: Proxy,
    /// A PEM file with trusted certificates in addition to the system's.
    ///
    /// The system's are those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if one of these is set. Those of
    /// `NODE_EXTRA_CA_CERTS`, which opencode itself would trust, are added.
    pub extra_certificates: Option<PathBuf>,
    /// The timeout for a connection to an upstream, including TLS; 30 seconds by default.
    pub connect_timeout: Duration,
    /// The maximum time without data from an upstream, before and within its answer; 10 minutes by default, because
    /// a model may think that long.
    pub silence_timeout: Duration,
    /// The maximum time without data from a client within a request's body, and the maximum time for which a
    /// connection may exist without naming a route; 30 seconds by default.
    pub client_timeout: Duration,
    /// The maximum time for which a request of an unknown session waits for a lease; 2 seconds by default.
    ///
    /// opencode starts sub-agents itself, so their first request may arrive shortly before the program acquires a
    /// lease.
    pub lease_grace: Duration,
    /// The maximum size of a request's body in bytes; 64 MiB by default. A body is kept in memory until it is
    /// complete.
    pub max_request_bytes: usize,
    /// The maximum size of an event of a stream in bytes; 16 MiB by default.
    ///
    /// opencode buffers an event and copies it with each piece, so an endless event exhausts its memory: 12 GB in
    /// 25 seconds. The largest real events are images of a few MiB.
    pub max_event_bytes: u64,
    /// The maximum size of an answer in bytes; 128 MiB by default.
    ///
    /// Current models write at most about 200,000 tokens per answer, and the most verbose providers send half a
    /// kilobyte for each: 100 MB.
    pub max_answer_bytes: u64,
}

/// The connection to upstreams.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Proxy {
    /// Uses `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case.
    #[default]
    FromEnvironment,
    /// Connects directly.
    None,
    /// Uses this proxy: `http://`, `https://`, `socks5://` or `socks5h://`, with `USER:PASSWORD@` if required.
    Fixed(String),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FromEnvironment => "FromEnvironment",
            Self::None => "None",
            // The URL may contain a password.
            Self::Fixed(_) => "Fixed(..)",
        })
    }
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            proxy: Proxy::default(),
            extra_certificates: None,
            connect_timeout: Duration::from_secs(30),
            silence_timeout: Duration::from_mins(10),
            client_timeout: Duration::from_secs(30),
            lease_grace: Duration::from_secs(2),
            max_request_bytes: 64 * 1024 * 1024,
            max_event_bytes: 16 * 1024 * 1024,
            max_answer_bytes: 128 * 1024 * 1024,
        }
    }
}
