//! Routes and their leases.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    AnswerFault, LeaseError, Redactor, Traffic, UsageBudget,
    fault_log::FaultLog,
    route_state::{LeaseEntry, LeaseState, Leases, PLACEHOLDER, RouteState},
    running::RunningGateway,
    upstream::Target,
};

/// A route to an upstream that exists as long as this guard.
///
/// It cannot be used until a lease is acquired. Dropping it closes the route: its requests are aborted, and later
/// ones get
/// 404. It keeps the gateway running.
pub struct Route {
    state: Arc<RouteState>,
    base_url: String,
    gateway: Arc<RunningGateway>,
}

/// The permission of a session, or of every client, to use a route on a budget.
///
/// Dropping it revokes the permission and aborts the requests that use it.
pub struct Lease {
    route: Arc<RouteState>,
    lease: Arc<LeaseState>,
}

impl Route {
    pub(crate) fn new(gateway: Arc<RunningGateway>, target: Target, redactor: Redactor) -> Self {
        // 122 random bits.
        let token = Uuid::new_v4().simple().to_string();
        let base_url = format!("http://{}/{token}", gateway.address);
        let closed = CancellationToken::new();
        let counter = Arc::default();
        let state = Arc::new(RouteState {
            token,
            target,
            redactor,
            counter,
            closed,
            leases: watch::Sender::new(Leases::default()),
        });
        gateway.shared.add(Arc::clone(&state));
        Self { state, base_url, gateway }
    }

    /// Returns the base URL for the client, `http://127.0.0.1:PORT/TOKEN`; the provider's own paths are below it.
    ///
    /// Anything that knows it can use the upstream in the name of a session with a lease.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns a placeholder for clients that require a key. It grants no access.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        PLACEHOLDER
    }

    /// Returns the traffic of the route, of all clients.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.state.counter.traffic()
    }

    /// Grants a session a lease of the route on a budget.
    ///
    /// It includes the session's sub-agents if the client names their parent, as opencode 1.18 does; others are
    /// added with [`Lease::include`]. opencode names its sessions in every version only if the provider's id
    /// begins with `opencode`; with another id it names none before 1.14.41, and only a lease for every client
    /// ([`lease_to_anyone`](Self::lease_to_anyone)) can be used.
    ///
    /// # Errors
    ///
    /// [`LeaseError::AlreadyLeased`] if the session already has a lease, [`LeaseError::NoPrices`] if the budget
    /// limits the cost and the upstream has no prices.
    pub fn lease(&self, session: impl Into<String>, budget: &UsageBudget) -> Result<Lease, LeaseError> {
        let lease = self.new_lease(budget)?;
        self.state.insert(session.into(), LeaseEntry { lease: Arc::clone(&lease), inherited: false })?;
        Ok(Lease { route: Arc::clone(&self.state), lease })
    }

    /// Grants a lease on a budget to all clients whose session has no lease of its own or that name no session.
    ///
    /// Intended for a route that was opened for one process.
    ///
    /// # Errors
    ///
    /// As [`lease`](Self::lease).
    pub fn lease_to_anyone(&self, budget: &UsageBudget) -> Result<Lease, LeaseError> {
        let lease = self.new_lease(budget)?;
        let mut taken = false;
        self.state.leases.send_modify(|leases| {
            taken = leases.anyone.is_some();
            leases.anyone.get_or_insert_with(|| Arc::clone(&lease));
        });
        if taken { Err(LeaseError::AlreadyLeased) } else { Ok(Lease { route: Arc::clone(&self.state), lease }) }
    }

    fn new_lease(&self, budget: &UsageBudget) -> Result<Arc<LeaseState>, LeaseError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if budget.limits().need_prices() && self.state.target.prices.is_none() {
            return Err(LeaseError::NoPrices);
        }
        Ok(Arc::new(LeaseState {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            budget: budget.clone(),
            counter: Arc::default(),
            faults: FaultLog::default(),
            closed: self.state.closed.child_token(),
            held: AtomicUsize::new(0),
        }))
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.gateway.shared.remove(&self.state.token);
        self.state.closed.cancel();
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token, which must stay secret.
        f.debug_struct("Route").field("target", &self.state.target).finish_non_exhaustive()
    }
}

impl Lease {
    /// Adds a sub-agent's session to this lease.
    ///
    /// # Errors
    ///
    /// [`LeaseError::AlreadyLeased`] if the session has its own lease.
    pub fn include(&self, session: impl Into<String>) -> Result<(), LeaseError> {
        self.route.insert(session.into(), LeaseEntry { lease: Arc::clone(&self.lease), inherited: true })
    }

    /// Returns the traffic of this lease.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.lease.counter.traffic()
    }

    /// Returns the fault of the provider's last answer; `None` if that answer was valid or had an error status.
    #[must_use]
    pub fn answer_fault(&self) -> Option<AnswerFault> {
        self.lease.faults.last()
    }

    /// Returns whether the upstream has a [`Throttle`](crate::Throttle), so that requests can be held.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.route.target.throttle.is_some()
    }

    /// Returns whether the throttle holds a request of this lease, or the upstream is paused: the lack of progress is then no
    /// fault of the client.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let paused = self.route.target.throttle.as_ref().and_then(crate::Throttle::paused_for);
        paused.is_some() || self.lease.held.load(Ordering::Relaxed) > 0
    }

    /// Returns the budget of the lease.
    #[must_use]
    pub fn budget(&self) -> &UsageBudget {
        &self.lease.budget
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let id = self.lease.id;
        self.route.leases.send_modify(|leases| {
            leases.sessions.retain(|_, entry| entry.lease.id != id);
            if leases.anyone.as_ref().is_some_and(|lease| lease.id == id) {
                leases.anyone = None;
            }
        });
        self.lease.closed.cancel();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &self.lease.id).finish_non_exhaustive()
    }
}
