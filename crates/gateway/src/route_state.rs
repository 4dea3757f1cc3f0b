//! The gateway's state of routes, and the leases of their clients.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Redactor, UsageBudget, counter::UsageCounter, fault_log::FaultLog, upstream::Target};

/// The placeholder key for opencode. It grants no access; the route's token does.
pub(crate) const PLACEHOLDER: &str = "the-gateway-holds-the-key";
/// The maximum number of sub-agents that a route remembers. Further ones can still get a lease by name.
const MAX_SUB_AGENTS: usize = 10_000;

/// The reason why a lease was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The session, or every client, already has a lease.
    #[error("the session already has a lease")]
    AlreadyLeased,
    /// The budget limits the cost, and the upstream's prices are unknown.
    #[error("a limit on the cost cannot be enforced: the model's prices are unknown")]
    NoPrices,
}

/// The server's state of a route.
pub(crate) struct RouteState {
    pub(crate) token: String,
    pub(crate) target: Target,
    pub(crate) redactor: Redactor,
    pub(crate) counter: Arc<UsageCounter>,
    pub(crate) closed: CancellationToken,
    pub(crate) leases: watch::Sender<Leases>,
}

/// The leases of a route.
#[derive(Default)]
pub(crate) struct Leases {
    pub(crate) anyone: Option<Arc<LeaseState>>,
    pub(crate) sessions: HashMap<String, LeaseEntry>,
}

pub(crate) struct LeaseEntry {
    pub(crate) lease: Arc<LeaseState>,
    /// Whether it was derived from the parent's lease; the sub-agent may still get its own.
    pub(crate) inherited: bool,
}

/// The state of a lease.
pub(crate) struct LeaseState {
    pub(crate) id: u64,
    pub(crate) budget: UsageBudget,
    pub(crate) counter: Arc<UsageCounter>,
    pub(crate) faults: FaultLog,
    pub(crate) closed: CancellationToken,
    /// The number of requests that the throttle holds.
    pub(crate) held: AtomicUsize,
}

/// A request of a lease that is held, until this is dropped.
pub(crate) struct Held<'a>(&'a AtomicUsize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LeaseState {
    /// Counts a request that is held.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.held.fetch_add(1, Ordering::Relaxed);
        Held(&self.held)
    }
}

impl RouteState {
    /// Returns the lease of a session, if it has one.
    pub(crate) fn lease_for(&self, session: Option<&str>, parent: Option<&str>) -> Option<Arc<LeaseState>> {
        let (lease, is_child) = self.leases.borrow().find(session, parent)?;
        if let (true, Some(session)) = (is_child, session) {
            // Its own sub-agents name it as their parent.
            self.leases.send_if_modified(|leases| {
                if leases.sessions.len() < MAX_SUB_AGENTS {
                    let entry = LeaseEntry { lease: Arc::clone(&lease), inherited: true };
                    leases.sessions.entry(session.to_owned()).or_insert(entry);
                }
                false
            });
        }
        Some(lease)
    }

    /// Waits until a session has a lease.
    pub(crate) async fn wait_for_lease(&self, session: Option<&str>, parent: Option<&str>) -> Option<Arc<LeaseState>> {
        let mut leases = self.leases.subscribe();
        let leases = leases.wait_for(|leases| leases.find(session, parent).is_some()).await.ok()?;
        drop(leases);
        self.lease_for(session, parent)
    }

    pub(crate) fn insert(&self, session: String, entry: LeaseEntry) -> Result<(), LeaseError> {
        let mut result = Ok(());
        self.leases.send_modify(|leases| match leases.sessions.get_mut(&session) {
            Some(taken) if !taken.inherited => result = Err(LeaseError::AlreadyLeased),
            Some(taken) => *taken = entry,
            None => {
                leases.sessions.insert(session, entry);
            }
        });
        result
    }
}

impl Leases {
    /// Returns the lease of a session, and whether it was derived from its parent's.
    fn find(&self, session: Option<&str>, parent: Option<&str>) -> Option<(Arc<LeaseState>, bool)> {
        let entry = |session: Option<&str>| session.and_then(|session| self.sessions.get(session));
        let own = entry(session).map(|entry| (&entry.lease, false));
        let parents = || entry(parent).map(|entry| (&entry.lease, true));
        let anyones = || self.anyone.as_ref().map(|lease| (lease, false));
        own.or_else(parents).or_else(anyones).map(|(lease, is_child)| (Arc::clone(lease), is_child))
    }
}
