//! Connections to upstreams, direct or through a proxy.

use std::{
    error::Error,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Uri, uri::Scheme};
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{
                Connected, Connection, HttpConnector,
                proxy::{SocksV5, Tunnel},
            },
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tower_service::Service;

use crate::Proxy;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
/// The HTTP client for upstreams.
pub(crate) type UpstreamClient = Client<Timed<HttpsConnector<Dial>>, Full<Bytes>>;

/// The idle timeout of a pooled connection. Servers close theirs after about a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// Returns a client that uses these proxies.
pub(crate) fn client(proxies: &Arc<Matcher>, tls: ClientConfig, connect_timeout: Duration) -> UpstreamClient {
    let tls = Arc::new(tls);
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.enforce_http(false);
    http.set_connect_timeout(Some(connect_timeout));
    let dial = Dial { http, tls: Arc::clone(&tls), proxies: Arc::clone(proxies) };
    let connector = Timed { inner: HttpsConnector::from((dial, tls)), timeout: connect_timeout };
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector)
}

/// Returns the proxy configuration; `None` if the given proxy is invalid.
pub(crate) fn matcher(proxy: &Proxy) -> Option<Matcher> {
    match proxy {
        Proxy::FromEnvironment => Some(Matcher::from_env()),
        Proxy::None => Some(Matcher::builder().build()),
        Proxy::Fixed(url) => {
            let matcher = Matcher::builder().all(url.as_str()).build();
            let probe = matcher.intercept(&Uri::from_static("https://192.0.2.1/"))?;
            scheme(&probe)?;
            Some(matcher)
        }
    }
}

/// Returns the proxy for an upstream; `None` for loopback.
pub(crate) fn proxy_for(proxies: &Matcher, uri: &Uri) -> Option<Intercept> {
    if is_loopback(uri) { None } else { proxies.intercept(uri) }
}

/// Returns whether the connection to an upstream uses no TLS.
pub(crate) fn is_plain(proxies: &Matcher, uri: &Uri) -> bool {
    let proxy_speaks_tls = || proxy_for(proxies, uri).is_some_and(|proxy| proxy.uri().scheme() == Some(&Scheme::HTTPS));
    uri.scheme() == Some(&Scheme::HTTP) && !proxy_speaks_tls()
}

/// Returns the proxy's authorization header for a request that passes it unencrypted.
pub(crate) fn proxy_authorization(proxies: &Matcher, uri: &Uri) -> Option<HeaderValue> {
    if uri.scheme() != Some(&Scheme::HTTP) {
        return None;
    }
    let proxy = proxy_for(proxies, uri)?;
    matches!(scheme(&proxy)?, ProxyScheme::Http).then(|| proxy.basic_auth().cloned()).flatten()
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[derive(Debug, Clone, Copy)]
enum ProxyScheme {
    /// `http://` and `https://`.
    Http,
    /// `socks5://` and `socks5h://`; whether the proxy resolves names.
    Socks { remote_names: bool },
}

fn scheme(proxy: &Intercept) -> Option<ProxyScheme> {
    match proxy.uri().scheme_str()? {
        "http" | "https" => Some(ProxyScheme::Http),
        "socks5" => Some(ProxyScheme::Socks { remote_names: false }),
        "socks5h" => Some(ProxyScheme::Socks { remote_names: true }),
        _ => None,
    }
}

/// Opens connections below TLS.
#[derive(Clone)]
pub(crate) struct Dial {
    http: HttpConnector,
    tls: Arc<ClientConfig>,
    proxies: Arc<Matcher>,
}

impl Dial {
    async fn dial(mut self, to: Uri) -> Result<Stream, BoxError> {
        let Some(proxy) = proxy_for(&self.proxies, &to) else {
            return Ok(Stream::new(self.http.call(to).await?, false));
        };
        let Some(scheme) = scheme(&proxy) else {
            return Err(io::Error::other("the proxy is neither an HTTP nor a SOCKS 5 proxy").into());
        };
        match scheme {
            ProxyScheme::Http if to.scheme() == Some(&Scheme::HTTP) => {
                let stream = HttpsConnector::from((self.http, self.tls)).call(proxy.uri().clone()).await?;
                Ok(Stream::new(stream, true))
            }
            ProxyScheme::Http => {
                let connector = HttpsConnector::from((self.http, self.tls));
                let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                Ok(Stream::new(tunnel.call(to).await?, false))
            }
            ProxyScheme::Socks { remote_names } => {
                let mut socks = SocksV5::new(proxy.uri().clone(), self.http).local_dns(!remote_names);
                if let Some((user, password)) = proxy.raw_auth() {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                Ok(Stream::new(socks.call(to).await?, false))
            }
        }
    }
}

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(self.clone().dial(to))
    }
}

/// A connection of any kind.
pub(crate) struct Stream {
    inner: Pin<Box<dyn Io>>,
    /// Whether requests must contain the whole URL, because an HTTP proxy reads them.
    to_proxy: bool,
}

trait Io: Read + Write + Send {}

impl<T: Read + Write + Send> Io for T {}

impl Stream {
    fn new(inner: impl Io + 'static, to_proxy: bool) -> Self {
        Self { inner: Box::pin(inner), to_proxy }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.to_proxy)
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.inner.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner.as_mut().poll_write_vectored(cx, bufs)
    }
}

/// Applies a timeout to connecting, including TLS and proxies.
#[derive(Clone)]
pub(crate) struct Timed<C> {
    inner: C,
    timeout: Duration,
}

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.inner.call(to));
        Box::pin(async { connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_bypasses_proxy() {
        let proxies = matcher(&Proxy::Fixed("http://u:p@proxy.example:3128".to_owned())).unwrap();
        for direct in [
            "http://127.0.0.1:1/",
            "https://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://[::1]:1/",
            "http://[::ffff:127.0.0.1]/",
            "http://127.9.9.9/",
        ] {
            assert!(proxy_for(&proxies, &uri(direct)).is_none(), "{direct}");
        }
        for far in ["http://api.example/", "https://10.0.0.1/", "https://localhost.example/"] {
            assert!(proxy_for(&proxies, &uri(far)).is_some(), "{far}");
        }
        assert!(proxy_authorization(&proxies, &uri("http://api.example/")).is_some());
        assert!(proxy_authorization(&proxies, &uri("https://api.example/")).is_none(), "it goes into the tunnel's own");
    }

    #[test]
    fn unsupported_proxy_is_rejected() {
        for url in ["http://x:1", "https://x:1", "socks5://x:1", "socks5h://x:1", "x:3128"] {
            assert!(matcher(&Proxy::Fixed(url.to_owned())).is_some(), "{url}");
        }
        for url in ["", "socks4://x:1", "ftp://x", "http://"] {
            assert!(matcher(&Proxy::Fixed(url.to_owned())).is_none(), "{url}");
        }
        assert!(proxy_for(&matcher(&Proxy::None).unwrap(), &uri("https://x/")).is_none());
    }
}
