//! Live paths, and who may use them.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Account, AnswerFault, Gateway, Redactor, Traffic, fault_log::FaultLog, meter::Meter, upstream::Target};

/// What opencode is told in place of a key. It opens nothing: what does is the path.
pub(crate) const PLACEHOLDER: &str = "the-gateway-holds-the-key";

/// More sub-agents than one path remembers. A further one can still be admitted by name.
const MOST_CHILDREN: usize = 10_000;

/// A path that leads to an upstream, as long as this lives.
///
/// Nobody may use it until somebody is admitted. Dropping it closes it: its requests are ended, and from then on it is
/// answered with 404. It keeps the gateway running.
pub struct LivePath {
    state: Arc<PathState>,
    base_url: String,
    gateway: Gateway,
}

/// The right of a session, or of anyone, to use a path on an account.
///
/// Dropping it takes the right away, and ends the requests that were made by it.
pub struct Admission {
    path: Arc<PathState>,
    grant: Arc<Grant>,
}

/// Why nobody was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// The session, or anyone, is admitted already.
    #[error("the session is admitted already")]
    Taken,
    /// The account has a limit on the cost, and nobody knows what this upstream costs.
    #[error("a limit on the cost cannot be held: the model's prices are not known")]
    NoPrices,
}

/// What the server knows of a path.
pub(crate) struct PathState {
    pub(crate) token: String,
    pub(crate) target: Target,
    pub(crate) redactor: Redactor,
    pub(crate) meter: Arc<Meter>,
    pub(crate) closed: CancellationToken,
    seats: watch::Sender<Seats>,
}

/// Who may use a path.
#[derive(Default)]
struct Seats {
    anyone: Option<Arc<Grant>>,
    sessions: HashMap<String, Seat>,
}

struct Seat {
    grant: Arc<Grant>,
    /// Whether it was given to a sub-agent, which may be admitted by itself later.
    inherited: bool,
}

/// What an admission grants.
pub(crate) struct Grant {
    id: u64,
    pub(crate) account: Account,
    pub(crate) meter: Arc<Meter>,
    pub(crate) faults: FaultLog,
    pub(crate) closed: CancellationToken,
}

impl LivePath {
    pub(crate) fn new(gateway: Gateway, target: Target, redactor: Redactor) -> Self {
        // 122 random bits.
        let token = Uuid::new_v4().simple().to_string();
        let base_url = format!("http://{}/{token}", gateway.address());
        let closed = CancellationToken::new();
        let meter = Arc::default();
        let state =
            Arc::new(PathState { token, target, redactor, meter, closed, seats: watch::Sender::new(Seats::default()) });
        gateway.shared().add(Arc::clone(&state));
        Self { state, base_url, gateway }
    }

    /// Returns the base URL for the client, `http://127.0.0.1:PORT/PATH`: the provider's own paths are below it.
    ///
    /// Who knows it can use the upstream in the name of a session that is admitted.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns what the client can be given where it wants a key. It opens nothing.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        PLACEHOLDER
    }

    /// Returns what went through the path, whoever used it.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.state.meter.traffic()
    }

    /// Lets a session use the path on an account.
    ///
    /// So may its sub-agents, where the client says that they are its: opencode does in 1.18. Others are named with
    /// [`Admission::include`]. To name its sessions in every version, opencode needs a provider whose id begins with
    /// `opencode`; with another id it names none before 1.14.41, and only who uses the path as a whole can be admitted
    /// ([`admit_anyone`](Self::admit_anyone)).
    ///
    /// # Errors
    ///
    /// [`AdmitError::Taken`] if the session is admitted already, [`AdmitError::NoPrices`] if the account has a limit on the
    /// cost and the upstream has no prices.
    pub fn admit(&self, session: impl Into<String>, account: &Account) -> Result<Admission, AdmitError> {
        let grant = self.grant(account)?;
        self.state.seat(session.into(), Seat { grant: Arc::clone(&grant), inherited: false })?;
        Ok(Admission { path: Arc::clone(&self.state), grant })
    }

    /// Lets all use the path on an account: those who belong to no admitted session, and those who do not say whose they are.
    ///
    /// That is for a path that was made for one process.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    pub fn admit_anyone(&self, account: &Account) -> Result<Admission, AdmitError> {
        let grant = self.grant(account)?;
        let mut taken = false;
        self.state.seats.send_modify(|seats| {
            taken = seats.anyone.is_some();
            seats.anyone.get_or_insert_with(|| Arc::clone(&grant));
        });
        if taken { Err(AdmitError::Taken) } else { Ok(Admission { path: Arc::clone(&self.state), grant }) }
    }

    fn grant(&self, account: &Account) -> Result<Arc<Grant>, AdmitError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if account.limits().need_prices() && self.state.target.prices.is_none() {
            return Err(AdmitError::NoPrices);
        }
        Ok(Arc::new(Grant {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            account: account.clone(),
            meter: Arc::default(),
            faults: FaultLog::default(),
            closed: self.state.closed.child_token(),
        }))
    }
}

impl Drop for LivePath {
    fn drop(&mut self) {
        self.gateway.shared().remove(&self.state.token);
        self.state.closed.cancel();
    }
}

impl fmt::Debug for LivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the path itself, which must stay unknown.
        f.debug_struct("LivePath").field("target", &self.state.target).finish_non_exhaustive()
    }
}

impl Admission {
    /// Lets a sub-agent's session use the path as part of this admission.
    ///
    /// # Errors
    ///
    /// [`AdmitError::Taken`] if the session was admitted by itself.
    pub fn include(&self, session: impl Into<String>) -> Result<(), AdmitError> {
        self.path.seat(session.into(), Seat { grant: Arc::clone(&self.grant), inherited: true })
    }

    /// Returns what went through the path by this admission.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.grant.meter.traffic()
    }

    /// Returns what was wrong with the last answer of the provider, if HTTP alone does not show it: `None` if that answer was well,
    /// or had a status of failure.
    #[must_use]
    pub fn answer_fault(&self) -> Option<AnswerFault> {
        self.grant.faults.last()
    }

    /// Returns the account that it uses.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.grant.account
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let id = self.grant.id;
        self.path.seats.send_modify(|seats| {
            seats.sessions.retain(|_, seat| seat.grant.id != id);
            if seats.anyone.as_ref().is_some_and(|grant| grant.id == id) {
                seats.anyone = None;
            }
        });
        self.grant.closed.cancel();
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("id", &self.grant.id).finish_non_exhaustive()
    }
}

impl PathState {
    /// Returns what grants a session the use of the path, if anything does.
    pub(crate) fn grant_for(&self, session: Option<&str>, parent: Option<&str>) -> Option<Arc<Grant>> {
        let (grant, is_child) = self.seats.borrow().find(session, parent)?;
        if let (true, Some(session)) = (is_child, session) {
            // Its own children name it as their parent.
            self.seats.send_if_modified(|seats| {
                if seats.sessions.len() < MOST_CHILDREN {
                    let seat = Seat { grant: Arc::clone(&grant), inherited: true };
                    seats.sessions.entry(session.to_owned()).or_insert(seat);
                }
                false
            });
        }
        Some(grant)
    }

    /// Waits until something grants a session the use of the path.
    pub(crate) async fn wait_for_grant(&self, session: Option<&str>, parent: Option<&str>) -> Option<Arc<Grant>> {
        let mut seats = self.seats.subscribe();
        let seats = seats.wait_for(|seats| seats.find(session, parent).is_some()).await.ok()?;
        drop(seats);
        self.grant_for(session, parent)
    }

    fn seat(&self, session: String, seat: Seat) -> Result<(), AdmitError> {
        let mut result = Ok(());
        self.seats.send_modify(|seats| match seats.sessions.get_mut(&session) {
            Some(taken) if !taken.inherited => result = Err(AdmitError::Taken),
            Some(taken) => *taken = seat,
            None => {
                seats.sessions.insert(session, seat);
            }
        });
        result
    }
}

impl Seats {
    /// Returns what grants a session the use, and whether only its parent's does.
    fn find(&self, session: Option<&str>, parent: Option<&str>) -> Option<(Arc<Grant>, bool)> {
        let seat = |session: Option<&str>| session.and_then(|session| self.sessions.get(session));
        let own = seat(session).map(|seat| (&seat.grant, false));
        let parents = || seat(parent).map(|seat| (&seat.grant, true));
        let anyones = || self.anyone.as_ref().map(|grant| (grant, false));
        own.or_else(parents).or_else(anyones).map(|(grant, is_child)| (Arc::clone(grant), is_child))
    }
}
