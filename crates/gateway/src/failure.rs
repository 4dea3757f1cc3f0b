//! The reason why an upstream did not answer, derived from the HTTP client's error.

use std::{error::Error, io};

use hyper_util::client::legacy;

/// The reason why an upstream did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The upstream's certificate is not trusted, for this reason.
    Certificate(&'static str),
    /// The connection was refused.
    Refused,
    /// The connection failed for another reason.
    NoConnection,
    /// The upstream closed the connection before it answered, or did not speak HTTP.
    Broken,
    /// The upstream did not accept the connection in time.
    TimedOut,
}

impl Failure {
    pub(crate) fn of(error: &legacy::Error) -> Self {
        tracing::debug!(error = error as &dyn Error, "the upstream gave no answer");
        let causes = causes(error);
        if let Some(tls) = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return match tls {
                rustls::Error::InvalidCertificate(wrong) => Self::Certificate(wrong_certificate(wrong)),
                _ => Self::NoConnection,
            };
        }
        let is = |kind| {
            let io = |cause: &&(dyn Error + 'static)| {
                cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind)
            };
            causes.iter().any(io)
        };
        if is(io::ErrorKind::TimedOut) {
            Self::TimedOut
        } else if !error.is_connect() {
            Self::Broken
        } else if is(io::ErrorKind::ConnectionRefused) {
            Self::Refused
        } else {
            Self::NoConnection
        }
    }
}

/// Returns an error and its sources, including those hidden by `io::Error`.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> Vec<&'e (dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        causes.push(error);
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = hidden.map(|hidden| hidden as &(dyn Error + 'static)).or_else(|| error.source());
    }
    causes
}

fn wrong_certificate(wrong: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as Wrong;
    match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => "it has expired",
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "it is not valid yet",
        Wrong::Revoked => "it was revoked",
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => "it is for another host",
        Wrong::UnknownIssuer => "it was issued by none of the authorities that this system trusts",
        _ => "it is invalid",
    }
}
