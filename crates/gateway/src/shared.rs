//! The state that all requests of a gateway share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Once, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use crate::{
    GatewayOptions, OpenError,
    dial::{self, UpstreamClient},
    route_state::RouteState,
    tls,
};

/// The state shared by all requests.
pub(crate) struct GatewayState {
    pub(crate) options: GatewayOptions,
    pub(crate) proxies: Arc<Matcher>,
    pub(crate) paths: RwLock<HashMap<String, Arc<RouteState>>>,
    pub(crate) refused: AtomicU64,
    /// Logs the warning about unknown owners once.
    pub(crate) unknown_owners: Once,
    /// Logs the warning about connections of other users once.
    pub(crate) other_users: Once,
    /// The client for upstreams without TLS. It does not read the system's certificates, which takes some
    /// milliseconds.
    pub(crate) plain: UpstreamClient,
    /// The client for all other upstreams, created when the first of them is opened.
    pub(crate) secure: OnceLock<UpstreamClient>,
}

impl GatewayState {
    pub(crate) fn add(&self, path: Arc<RouteState>) {
        self.paths.write().unwrap_or_else(PoisonError::into_inner).insert(path.token.clone(), path);
    }

    pub(crate) fn remove(&self, token: &str) {
        self.paths.write().unwrap_or_else(PoisonError::into_inner).remove(token);
    }

    pub(crate) fn path(&self, token: &str) -> Option<Arc<RouteState>> {
        self.paths.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn client_for(&self, uri: &Uri) -> Result<&UpstreamClient, OpenError> {
        if dial::is_plain(&self.proxies, uri) { Ok(&self.plain) } else { self.open_secure() }
    }

    pub(crate) fn open_secure(&self) -> Result<&UpstreamClient, OpenError> {
        if let Some(client) = self.secure.get() {
            return Ok(client);
        }
        let trusted = tls::of_system(&self.options)?;
        Ok(self.secure.get_or_init(|| dial::client(&self.proxies, trusted, self.options.connect_timeout)))
    }
}
