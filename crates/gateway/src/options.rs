//! What a gateway may be told.

use std::{fmt, path::PathBuf, time::Duration};

/// What a gateway may be told besides its paths.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How an upstream is reached that is not on loopback; one on loopback is always reached directly.
    pub proxy: Proxy,
    /// A PEM file with certificates to trust beside the system's.
    ///
    /// The system's are those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where one of these is set. Those of
    /// `NODE_EXTRA_CA_CERTS`, which opencode itself would trust, are added.
    pub extra_certificates: Option<PathBuf>,
    /// The longest that a connection to an upstream may take, TLS included; 30 seconds unless set.
    pub connect_timeout: Duration,
    /// The longest that an upstream may be silent, before its answer and within it; 10 minutes unless set, since a model may
    /// think that long.
    pub silence_timeout: Duration,
    /// The longest that a client may be silent within a request's body, and that one may be connected which has named no
    /// live path; 30 seconds unless set.
    pub client_timeout: Duration,
    /// How long a request of an unknown session waits for the session's admission; 2 seconds unless set.
    ///
    /// opencode starts sub-agents by itself, and who admits them may learn of them a little later than they ask.
    pub admission_grace: Duration,
    /// The longest body of a request in bytes; 64 MiB unless set. A body is held in memory until it is complete.
    pub max_request_bytes: usize,
    /// The largest event of a stream in bytes; 16 MiB unless set.
    ///
    /// opencode keeps an event until its end and copies it with each piece that comes, so that one without an end takes all
    /// memory: 12 GB in 25 seconds. The largest real events are images, of a few MiB.
    pub max_event_bytes: u64,
    /// The longest answer in bytes; 128 MiB unless set.
    ///
    /// A model of today writes at most some 200,000 tokens into an answer, and the wordiest providers send half a kilobyte
    /// with each: 100 MB.
    pub max_answer_bytes: u64,
}

/// How upstreams are reached.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in capital letters or small ones.
    #[default]
    FromEnvironment,
    /// Directly.
    None,
    /// By this proxy: `http://`, `https://`, `socks5://` or `socks5h://`, with `USER:PASSWORD@` where it wants them.
    Fixed(String),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FromEnvironment => "FromEnvironment",
            Self::None => "None",
            // The URL may hold a password.
            Self::Fixed(_) => "Fixed(..)",
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            proxy: Proxy::default(),
            extra_certificates: None,
            connect_timeout: Duration::from_secs(30),
            silence_timeout: Duration::from_mins(10),
            client_timeout: Duration::from_secs(30),
            admission_grace: Duration::from_secs(2),
            max_request_bytes: 64 * 1024 * 1024,
            max_event_bytes: 16 * 1024 * 1024,
            max_answer_bytes: 128 * 1024 * 1024,
        }
    }
}
