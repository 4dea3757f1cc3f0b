//! The servers of an executor, by what is fixed when a server starts.

use super::server::Server;
use crate::Launch;
use crate::setup::Setup;
use opencode_run_core::{FailureKind, StartError};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a server is looked at that a turn has just left.
const MIN_IDLE_CHECK: Duration = Duration::from_millis(10);

type Slot = Arc<OnceCell<Arc<Server>>>;

/// What is started until all servers are ended; what comes after that is another era's.
#[derive(Debug, Clone, Default)]
struct Era {
    /// The servers are ended: one that is being started is given up.
    over: CancellationToken,
    /// What watches over a server's process until it is gone with all that it started.
    watches: TaskTracker,
}

/// Starts servers as they are needed and replaces those that have grown too large or have ended.
#[derive(Debug)]
pub(crate) struct Pool {
    launch: Launch,
    /// Where servers work that no turn has given a directory yet.
    home: PathBuf,
    /// How much memory a server may take before it is replaced, in bytes; what is usual unless said.
    memory_limit: Option<u64>,
    slots: Mutex<HashMap<Setup, Slot>>,
    /// The servers that get no further turns, as long as they have some.
    retired: Mutex<Vec<Weak<Server>>>,
    era: Mutex<Era>,
    /// The places of the servers that may be alive.
    leases: Arc<Semaphore>,
    /// How many turns wait for a place.
    waiting: AtomicUsize,
}

/// How long a turn waits for a place if as many servers are at work as may be alive. The turn's own limits hold as well.
const LEASE_TIMEOUT: Duration = Duration::from_mins(10);

impl Pool {
    pub(crate) fn new(launch: Launch, home: PathBuf, memory_limit: Option<u64>) -> Self {
        let leases = Arc::new(Semaphore::new(launch.server_limit()));
        Self {
            launch,
            home,
            memory_limit,
            slots: Mutex::default(),
            retired: Mutex::default(),
            era: Mutex::default(),
            leases,
            waiting: AtomicUsize::default(),
        }
    }

    /// Makes a pool that starts its servers as this one, and replaces them when they take so many bytes of memory.
    pub(crate) fn limited_to(&self, bytes: u64) -> Self {
        Self::new(self.launch.clone(), self.home.clone(), Some(bytes))
    }

    // The locks are held for plain look-ups and assignments only.
    fn era(&self) -> MutexGuard<'_, Era> {
        self.era.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Setup, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the server for a setup, started if there is none. Several that ask at once wait for the same start.
    pub(crate) async fn server(self: &Arc<Self>, setup: &Setup) -> Result<Arc<Server>, StartError> {
        // First, so that a server that is not ended with the others is given up.
        let era = self.era().clone();
        let slot = {
            let mut slots = self.slots();
            let ended = |slot: &Slot| slot.get().is_some_and(|server| server.exit().is_some());
            if slots.get(setup).is_some_and(ended) {
                slots.remove(setup);
            }
            Arc::clone(slots.entry(setup.clone()).or_default())
        };
        let start = || async {
            let server = Box::pin(async {
                let lease = self.lease().await?;
                let server = Server::start(&self.launch, setup, &self.home, &era.watches).await?;
                server.keep_lease(Some(lease));
                Ok(server)
            });
            let server = era.over.run_until_cancelled(server).await.unwrap_or_else(|| Err(given_up())).map(Arc::new)?;
            self.end_when_idle(&server);
            Ok(server)
        };
        let server = slot.get_or_try_init(start).await.map(Arc::clone)?;
        if era.over.is_cancelled() {
            // It was there too late to be ended with the others, or just in time.
            server.end().await;
            return Err(given_up());
        }
        Ok(server)
    }

    /// Returns a place for a further server. If there is none, the server that has been idle longest is ended for it.
    ///
    /// # Errors
    ///
    /// If all servers are at work for as long as it is waited.
    async fn lease(&self) -> Result<OwnedSemaphorePermit, StartError> {
        let waiting = Waiting::begin(&self.waiting);
        if self.leases.available_permits() == 0 {
            self.end_longest_idle();
        }
        let lease = tokio::time::timeout(LEASE_TIMEOUT, Arc::clone(&self.leases).acquire_owned()).await;
        drop(waiting);
        let max_servers = self.launch.server_limit();
        lease.ok().and_then(Result::ok).ok_or_else(|| {
            let message = format!("{max_servers} opencode servers are at work, and no more may be alive");
            StartError::new(FailureKind::Busy, message).hint("wait for other turns to end, or allow more servers")
        })
    }

    /// Ends the server that has been idle longest, if one is idle.
    fn end_longest_idle(&self) {
        let mut slots = self.slots();
        let idle = slots.iter().filter_map(|(setup, slot)| Some((slot.get()?.idle_since()?, setup.clone())));
        let longest = idle.min_by_key(|(since, _)| *since).map(|(_, setup)| setup);
        // Dropping the last handle of a server ends it.
        let ended = longest.and_then(|setup| slots.remove(&setup));
        drop(slots);
        drop(ended);
    }

    /// Ends a server that has had no turn for as long as that is allowed.
    fn end_when_idle(self: &Arc<Self>, server: &Arc<Server>) {
        let Some(limit) = self.launch.idle_timeout() else { return };
        let (pool, server) = (Arc::downgrade(self), Arc::downgrade(server));
        let over = self.era().over.clone();
        tokio::spawn(async move {
            let mut pause = limit;
            while over.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
                let (Some(pool), Some(server)) = (pool.upgrade(), server.upgrade()) else { return };
                let idle = server.idle_since().map(|since| since.elapsed());
                if idle.is_some_and(|idle| idle >= limit) {
                    tracing::info!("an opencode server without a turn for {limit:?} is ended");
                    return pool.retire(&server);
                }
                pause = limit.saturating_sub(idle.unwrap_or_default()).max(MIN_IDLE_CHECK);
            }
        });
    }

    /// Returns how the servers are started.
    pub(crate) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Looks at a server after a turn: one that has grown too large is replaced.
    ///
    /// With further turns at work it goes on growing, so it is retired at once. Otherwise it waits for the next turn, which
    /// need not wait for the start of another.
    pub(crate) async fn look_after(self: &Arc<Self>, server: &Arc<Server>) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.end_longest_idle();
        }
        let Some(memory) = server.memory().await else { return };
        if memory <= self.memory_limit.unwrap_or_else(|| server.usual_limit(memory)) || !server.is_to_be_replaced() {
            return;
        }
        tracing::info!(memory, "the opencode server has grown too large and is replaced");
        if server.is_at_work() {
            return self.retire(server);
        }
        let Some(setup) = self.setup_of(server) else { return };
        let (pool, old) = (Arc::downgrade(self), Arc::downgrade(server));
        let (launch, home, era) = (self.launch.clone(), self.home.clone(), self.era().clone());
        tokio::spawn(async move {
            let start = Server::start(&launch, &setup, &home, &era.watches);
            // If the servers are ended or either is gone, nobody needs another.
            if let Some(fresh) = era.over.run_until_cancelled(start).await
                && let (Some(pool), Some(old)) = (pool.upgrade(), old.upgrade())
            {
                pool.replace(&setup, &old, fresh);
            }
        });
    }

    fn setup_of(&self, server: &Arc<Server>) -> Option<Setup> {
        let slots = self.slots();
        slots.iter().find(|(_, slot)| holds(slot, server)).map(|(setup, _)| setup.clone())
    }

    fn replace(self: &Arc<Self>, setup: &Setup, old: &Arc<Server>, fresh: Result<Server, StartError>) {
        match fresh {
            Ok(fresh) => {
                let mut slots = self.slots();
                // The old one may have ended meanwhile, with all others or by itself.
                if let Some(slot) = slots.get_mut(setup).filter(|slot| holds(slot, old)) {
                    fresh.keep_lease(old.take_lease());
                    let fresh = Arc::new(fresh);
                    self.end_when_idle(&fresh);
                    *slot = Arc::new(OnceCell::new_with(Some(fresh)));
                    self.retired().push(Arc::downgrade(old));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "an opencode server that has grown too large could not be replaced");
                old.is_not_replaced();
            }
        }
    }

    /// Gives a server no further turns. It ends when the last of those that it has lets go of it.
    pub(crate) fn retire(&self, server: &Arc<Server>) {
        let mut slots = self.slots();
        let before = slots.len();
        slots.retain(|_, slot| !holds(slot, server));
        if slots.len() < before {
            self.retired().push(Arc::downgrade(server));
        }
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Weak<Server>>> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|server| server.strong_count() > 0);
        retired
    }

    /// Ends all servers, those included that still have turns, that are being started and that are about to end by themselves.
    /// When it returns, nothing of them is left.
    pub(crate) async fn end(&self) {
        let era = std::mem::take(&mut *self.era());
        era.over.cancel();
        let servers = self.servers();
        self.slots().clear();
        futures_util::future::join_all(servers.iter().map(|server| server.end())).await;
        // One that was given up, that came too late or whose last turn let go of it ends in the background.
        era.watches.close();
        era.watches.wait().await;
    }

    /// Returns the servers that there are.
    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        let mut servers: Vec<_> = self.slots().values().filter_map(|slot| slot.get().cloned()).collect();
        servers.extend(self.retired().iter().filter_map(Weak::upgrade));
        servers
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // What is being started is nobody's any more.
        self.era().over.cancel();
    }
}

/// A turn that waits for a place.
struct Waiting<'p>(&'p AtomicUsize);

impl<'p> Waiting<'p> {
    fn begin(count: &'p AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn given_up() -> StartError {
    StartError::new(FailureKind::Opencode, "the opencode servers were ended while this one was started")
        .hint("start the turn again")
}

fn holds(slot: &Slot, server: &Arc<Server>) -> bool {
    slot.get().is_some_and(|known| Arc::ptr_eq(known, server))
}
