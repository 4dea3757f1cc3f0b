//! Upstreams with TLS.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opencode_run_gateway::{Gateway, GatewayOptions, OpenError, ProbeError, Protocol, probe};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
    server::TlsStream,
};

use crate::support::{KEY, Server, Setup, read_request, upstream};

/// A certificate authority that is trusted only by clients with its certificate.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Authorities with the same name could not be distinguished when looking for the issuer.
        params.distinguished_name.push(DnType::CommonName, COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// Serves requests over TLS with a certificate for this host.
    async fn serve(&self, host: &str, expired: bool) -> Server {
        self.handle(host, expired, |mut stream| async move {
            let head = read_request(&mut stream).await;
            let body = if head.contains(&format!("Bearer {KEY}")) { "the key is here" } else { "no key" };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.ok();
        })
        .await
    }

    /// Handles each connection with a function, over TLS with a certificate for this host.
    pub(crate) async fn handle<F, R>(&self, host: &str, expired: bool, handle: F) -> Server
    where
        F: Fn(TlsStream<TcpStream>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server::tcp(move |stream| {
            let acceptor = acceptor.clone();
            let handle = handle.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                handle(stream).await;
            }
        })
        .await
    }
}

pub(crate) fn trusting(authority: &Authority) -> GatewayOptions {
    let mut options = GatewayOptions::default();
    options.extra_certificates = Some(authority.file.path().to_owned());
    options
}

fn setup(options: GatewayOptions, server: &Server) -> Setup {
    let url = format!("https://localhost:{}/v1", server.address.port());
    Setup::with(options, &upstream(&url, Protocol::OpenAiCompatible))
}

#[tokio::test]
async fn extra_certificate_is_trusted() {
    let authority = Authority::new();
    let server = authority.serve("localhost", false).await;
    let answer = setup(trusting(&authority), &server).chat().await;
    assert_eq!((answer.status, answer.text()), (200, "the key is here"));
}

#[tokio::test]
async fn invalid_certificate_gets_no_key() {
    let known = Authority::new();
    let unknown = Authority::new();
    for (server, reason) in [
        (unknown.serve("localhost", false).await, "none of the authorities"),
        (known.serve("elsewhere.example", false).await, "another host"),
        (known.serve("localhost", true).await, "expired"),
    ] {
        let setup = setup(trusting(&known), &server);
        let answer = setup.chat().await;
        answer.assert_fault(421, "gateway_certificate");
        assert!(answer.text().contains(reason), "{}", answer.text());
        assert_eq!(setup.path.traffic().failed, 1);

        let url = format!("https://localhost:{}/v1", server.address.port());
        let upstream = upstream(&url, Protocol::OpenAiCompatible);
        let error = probe(&upstream, &trusting(&known), crate::support::LIMIT).await.unwrap_err();
        assert!(matches!(error, ProbeError::Certificate(why) if why.contains(reason)), "{error}");
    }
}

#[tokio::test]
async fn non_tls_upstream_is_unreachable() {
    let server = Server::tcp(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        crate::support::read_to_end(&mut stream).await.ok();
    })
    .await;
    let authority = Authority::new();
    setup(trusting(&authority), &server).chat().await.assert_fault(502, "gateway_unreachable");
}

#[tokio::test]
async fn stalled_handshake_times_out() {
    let server = Server::tcp(|mut stream| async move {
        crate::support::read_to_end(&mut stream).await.ok();
    })
    .await;
    let authority = Authority::new();
    let mut options = trusting(&authority);
    options.connect_timeout = Duration::from_millis(300);
    setup(options, &server).chat().await.assert_fault(504, "gateway_timeout");
}

#[test]
fn unreadable_certificates_fail_open() {
    for content in
        [None, Some("no certificate"), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => drop(file),
        }
        let mut options = GatewayOptions::default();
        options.extra_certificates = Some(path);
        let gateway = Gateway::start_with(options).unwrap();
        let error = gateway.open(&upstream("https://localhost/v1", Protocol::OpenAiCompatible)).unwrap_err();
        assert!(matches!(error, OpenError::Certificates(_)), "{error}");
        assert!(gateway.open(&upstream("http://localhost/v1", Protocol::OpenAiCompatible)).is_ok(), "it needs none");
    }
}
