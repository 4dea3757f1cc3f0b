//! The trusted certificates of TLS.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{GatewayOptions, OpenError};

/// The variable with additional trusted certificates, which opencode's runtime uses too.
const EXTRA_CERTIFICATES: &str = "NODE_EXTRA_CA_CERTS";
/// The variables that replace the system's certificates.
const REPLACING: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Returns a configuration without trusted certificates, for connections without TLS.
pub(crate) fn of_nobody() -> Result<ClientConfig, OpenError> {
    with_roots(RootCertStore::empty())
}

/// Returns a configuration that trusts the certificates of the system and the options.
pub(crate) fn of_system(options: &GatewayOptions) -> Result<ClientConfig, OpenError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // Certificates named by the user must be readable; broken certificates of the system are skipped.
    let named = REPLACING.iter().any(|name| std::env::var_os(name).is_some());
    if let (true, Some(error)) = (named, system.errors.first()) {
        return Err(OpenError::Certificates(error.to_string()));
    }
    roots.add_parsable_certificates(system.certs);
    let from_environment = std::env::var_os(EXTRA_CERTIFICATES).filter(|path| !path.is_empty());
    for path in from_environment.as_ref().map(Path::new).into_iter().chain(options.extra_certificates.as_deref()) {
        add_file(&mut roots, path)?;
    }
    if roots.is_empty() {
        return Err(OpenError::Certificates(
            "no trusted certificates found: install the system's, or set SSL_CERT_FILE".to_owned(),
        ));
    }
    with_roots(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), OpenError> {
    let wrong = |error: &dyn std::fmt::Display| OpenError::Certificates(format!("{}: {error}", path.display()));
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        count += 1;
    }
    if count == 0 { Err(wrong(&"it contains no certificate")) } else { Ok(()) }
}

fn with_roots(roots: RootCertStore) -> Result<ClientConfig, OpenError> {
    // Explicit, so that other uses of rustls in the process have no effect.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| OpenError::Certificates(error.to_string()))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
