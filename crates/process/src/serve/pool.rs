//! The servers of an executor, by the settings that are fixed when a server starts.

use super::lease::{ServerLease, ServerLeases};
use super::server::Server;
use crate::Launch;
use crate::launch_key::LaunchKey;
use opencode_run_core::{FailureKind, StartError};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The shortest pause before an idle server is checked again.
const MIN_IDLE_CHECK: Duration = Duration::from_millis(10);

type Slot = Arc<OnceCell<Arc<Server>>>;

/// The period until all servers are ended together. Servers that are started later belong to the next epoch.
#[derive(Debug, Clone, Default)]
struct Epoch {
    /// Cancelled when the servers are ended; a server that is being started is abandoned then.
    over: CancellationToken,
    /// The tasks that monitor a server's process until its whole process tree is gone.
    monitors: TaskTracker,
}

/// Starts servers as they are needed, and recycles those that have grown too large or have ended.
#[derive(Debug)]
pub(crate) struct Pool {
    launch: Launch,
    /// The working directory of servers, before a turn names its own.
    home: PathBuf,
    /// The memory limit above which a server is recycled, in bytes; if it is `None`, derived from the server's usual
    /// memory.
    memory_limit: Option<u64>,
    slots: Mutex<HashMap<LaunchKey, Slot>>,
    /// Draining servers: they accept no new turns and exit after the last one.
    draining: Mutex<Vec<Weak<Server>>>,
    epoch: Mutex<Epoch>,
    /// The leases of the servers that may be alive. Draining servers have none: they end with their turns, and the turn
    /// that drains one may need another.
    leases: ServerLeases,
}

/// How long a turn waits for a lease if all are taken. The turn's own limits apply as well.
const LEASE_TIMEOUT: Duration = Duration::from_mins(10);

impl Pool {
    pub(crate) fn new(launch: Launch, home: PathBuf, memory_limit: Option<u64>) -> Self {
        let leases = ServerLeases::new(launch.server_limit());
        Self {
            launch,
            home,
            memory_limit,
            slots: Mutex::default(),
            draining: Mutex::default(),
            epoch: Mutex::default(),
            leases,
        }
    }

    /// Returns a pool that starts its servers like this one, and recycles them above this many bytes of memory.
    pub(crate) fn limited_to(&self, bytes: u64) -> Self {
        Self::new(self.launch.clone(), self.home.clone(), Some(bytes))
    }

    // The locks are held for plain look-ups and assignments only.
    fn epoch(&self) -> MutexGuard<'_, Epoch> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<LaunchKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the server for a launch key, and starts it if it is absent. Concurrent calls wait for the same start.
    pub(crate) async fn server(self: &Arc<Self>, launch_key: &LaunchKey) -> Result<Arc<Server>, StartError> {
        // Taken first, so that a server that misses the end of the epoch is abandoned.
        let epoch = self.epoch().clone();
        let slot = self.slot(launch_key);
        let start = || async {
            let server = Box::pin(async {
                let lease = self.lease().await?;
                Server::start(&self.launch, launch_key, &self.home, &epoch.monitors, &lease).await
            });
            let server =
                epoch.over.run_until_cancelled(server).await.unwrap_or_else(|| Err(err_given_up())).map(Arc::new)?;
            self.watch(&server);
            Ok(server)
        };
        let server = slot.slot.get_or_try_init(start).await.map(Arc::clone)?;
        // The caller may not begin a turn on it.
        self.leases.announce_idle();
        if epoch.over.is_cancelled() {
            // The epoch ended while it started.
            server.end().await;
            return Err(err_given_up());
        }
        Ok(server)
    }

    /// Returns the slot of a launch key, which holds its server or waits for one.
    fn slot<'p>(&'p self, launch_key: &'p LaunchKey) -> UsedSlot<'p> {
        let mut slots = self.slots();
        let ended = |slot: &Slot| slot.get().is_some_and(|server| server.exit().is_some());
        if slots.get(launch_key).is_some_and(ended) {
            slots.remove(launch_key);
        }
        UsedSlot { pool: self, launch_key, slot: Arc::clone(slots.entry(launch_key.clone()).or_default()) }
    }

    /// Returns a lease for a further server. If all are taken, ends the server that has been idle longest.
    ///
    /// # Errors
    ///
    /// If no server becomes idle within [`LEASE_TIMEOUT`].
    async fn lease(&self) -> Result<ServerLease, StartError> {
        let lease = self.leases.acquire(|| self.end_longest_idle());
        tokio::time::timeout(LEASE_TIMEOUT, lease).await.map_err(|_| {
            let max_servers = self.launch.server_limit();
            let message = format!("all {max_servers} opencode servers are busy");
            StartError::new(FailureKind::Busy, message).hint("wait for other turns to end, or allow more servers")
        })
    }

    /// Ends the server that has been idle longest, if one is idle.
    fn end_longest_idle(&self) {
        let mut slots = self.slots();
        let idle = slots.iter().filter_map(|(launch_key, slot)| Some((slot.get()?.idle_since()?, launch_key.clone())));
        let longest = idle.min_by_key(|(since, _)| *since).map(|(_, launch_key)| launch_key);
        // Dropping the last handle of a server ends it.
        let ended = longest.and_then(|launch_key| slots.remove(&launch_key));
        drop(slots);
        if let Some(server) = ended.as_ref().and_then(|slot| slot.get()) {
            server.lease().will_be_released();
            self.draining().push(Arc::downgrade(server));
        }
    }

    /// Removes a server when it has exited, and ends one that has been idle for longer than allowed. One that is in use
    /// releases its abandoned directories: it may not become idle for hours.
    fn watch(self: &Arc<Self>, server: &Arc<Server>) {
        let limit = self.launch.idle_timeout();
        let mut exited = server.exit_watch();
        let pool = Arc::downgrade(self);
        let server = Arc::downgrade(server);
        let over = self.epoch().over.clone();
        tokio::spawn(async move {
            let mut pause = limit;
            loop {
                let has_exited = tokio::select! {
                    () = over.cancelled() => return,
                    _ = exited.wait_for(Option::is_some) => true,
                    () = sleep(pause) => false,
                };
                let (Some(pool), Some(server)) = (pool.upgrade(), server.upgrade()) else { return };
                if has_exited {
                    return pool.drain(&server);
                }
                let idle = server.idle_since().map(|since| since.elapsed());
                if idle.is_some_and(|idle| limit.is_some_and(|limit| idle >= limit)) {
                    tracing::info!("ending an opencode server that was idle for {limit:?}");
                    server.lease().will_be_released();
                    return pool.forget(&server);
                }
                drop(pool);
                if let Some(limit) = limit {
                    server.dispose_abandoned(limit).await;
                }
                pause = limit.map(|limit| limit.saturating_sub(idle.unwrap_or_default()).max(MIN_IDLE_CHECK));
            }
        });
    }

    /// Returns the launch settings of the servers.
    pub(crate) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Recycles a server after a turn if it has grown too large.
    ///
    /// If other turns are active, it would continue to grow, so it drains immediately. Otherwise it keeps accepting turns
    /// until its successor has started, so that the next turn need not wait for a start.
    pub(crate) async fn recycle_if_large(self: &Arc<Self>, server: &Arc<Server>) {
        let Some(memory) = server.memory().await else { return };
        if memory <= self.memory_limit.unwrap_or_else(|| server.baseline_limit(memory)) || !server.begin_recycling() {
            return;
        }
        tracing::info!(memory, "the opencode server has grown too large and is recycled");
        if server.is_active() {
            return self.drain(server);
        }
        let Some(launch_key) = self.key_of(server) else { return };
        let pool = Arc::downgrade(self);
        let old = Arc::downgrade(server);
        let launch = self.launch.clone();
        let home = self.home.clone();
        let epoch = self.epoch().clone();
        tokio::spawn(async move {
            // The successor gets the lease of the old server.
            let lease = ServerLease::default();
            let start = Server::start(&launch, &launch_key, &home, &epoch.monitors, &lease);
            // If the epoch is over, or the pool or the old server is gone, no successor is needed.
            if let Some(successor) = epoch.over.run_until_cancelled(start).await
                && let (Some(pool), Some(old)) = (pool.upgrade(), old.upgrade())
            {
                pool.replace(&launch_key, &old, successor);
            }
        });
    }

    fn key_of(&self, server: &Arc<Server>) -> Option<LaunchKey> {
        let slots = self.slots();
        slots.iter().find(|(_, slot)| holds(slot, server)).map(|(launch_key, _)| launch_key.clone())
    }

    fn replace(self: &Arc<Self>, launch_key: &LaunchKey, old: &Arc<Server>, successor: Result<Server, StartError>) {
        match successor {
            Ok(successor) => {
                let mut slots = self.slots();
                // The old server may have ended meanwhile.
                if let Some(slot) = slots.get_mut(launch_key).filter(|slot| holds(slot, old)) {
                    old.lease().move_to(successor.lease());
                    let successor = Arc::new(successor);
                    self.watch(&successor);
                    *slot = Arc::new(OnceCell::new_with(Some(successor)));
                    self.draining().push(Arc::downgrade(old));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "an opencode server that has grown too large could not be recycled");
                old.cancel_recycling();
            }
        }
    }

    /// Gives a server no further turns. It ends when its last turn releases it, and needs no lease until then.
    pub(crate) fn drain(&self, server: &Arc<Server>) {
        self.forget(server);
        server.lease().release();
    }

    /// Gives a server no further turns, without releasing its lease.
    fn forget(&self, server: &Arc<Server>) {
        let mut slots = self.slots();
        let before = slots.len();
        slots.retain(|_, slot| !holds(slot, server));
        if slots.len() < before {
            self.draining().push(Arc::downgrade(server));
        }
    }

    fn draining(&self) -> MutexGuard<'_, Vec<Weak<Server>>> {
        let mut draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        draining.retain(|server| server.strong_count() > 0);
        draining
    }

    /// Ends all servers, including those that have turns, are being started or are draining. Returns when no process of
    /// them is left.
    pub(crate) async fn end(&self) {
        let epoch = std::mem::take(&mut *self.epoch());
        epoch.over.cancel();
        let servers = self.servers();
        self.slots().clear();
        futures_util::future::join_all(servers.iter().map(|server| server.end())).await;
        // Abandoned and draining servers end in the background.
        epoch.monitors.close();
        epoch.monitors.wait().await;
    }

    /// Returns all servers, draining ones included.
    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        let mut servers: Vec<_> = self.slots().values().filter_map(|slot| slot.get().cloned()).collect();
        servers.extend(self.draining().iter().filter_map(Weak::upgrade));
        servers
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A server that is being started no longer has an owner.
        self.epoch().over.cancel();
    }
}

/// A slot in use. If its server was not started, because the start failed or was cancelled, the last user removes it:
/// the slot would keep the key of the model source.
struct UsedSlot<'p> {
    pool: &'p Pool,
    launch_key: &'p LaunchKey,
    slot: Slot,
}

impl Drop for UsedSlot<'_> {
    fn drop(&mut self) {
        let mut slots = self.pool.slots();
        // The map holds one reference and this value another; the lock prevents a third.
        let is_last = Arc::strong_count(&self.slot) <= 2 && !self.slot.initialized();
        if is_last && slots.get(self.launch_key).is_some_and(|slot| Arc::ptr_eq(slot, &self.slot)) {
            slots.remove(self.launch_key);
        }
        // Released under the lock, so that one of two last users sees that it is the last.
        self.slot = Slot::default();
    }
}

/// Waits for this time, or forever.
async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn err_given_up() -> StartError {
    StartError::new(FailureKind::Opencode, "the opencode servers were ended while this one was started")
        .hint("retry the turn")
}

fn holds(slot: &Slot, server: &Arc<Server>) -> bool {
    slot.get().is_some_and(|known| Arc::ptr_eq(known, server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Opencode;
    use crate::shared_sources::SharedSources;
    use futures_util::FutureExt;

    /// Returns a pool whose servers exit immediately, and a launch key.
    fn failing(max_servers: usize) -> (Arc<Pool>, LaunchKey) {
        let opencode = Opencode::known("/bin/false".into(), "1.18.33".parse().unwrap()).unwrap();
        let launch = Launch::new(opencode, []).max_servers(max_servers);
        let (launch_key, _) = LaunchKey::for_server(&launch, &SharedSources::default(), None, None).unwrap();
        (Arc::new(Pool::new(launch, "/".into(), None)), launch_key)
    }

    #[tokio::test]
    async fn failed_start_leaves_no_slot_and_no_lease() {
        let (pool, launch_key) = failing(1);
        for _ in 0..3 {
            pool.server(&launch_key).await.unwrap_err();
            assert!(pool.slots().is_empty());
        }
    }

    #[tokio::test]
    async fn cancelled_start_leaves_no_slot() {
        let (pool, launch_key) = failing(1);
        let lease = pool.lease().await.unwrap();
        {
            let mut waiting = [0; 2].map(|_| Box::pin(pool.server(&launch_key)));
            assert!(waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
            assert_eq!(pool.slots().len(), 1);
        }
        assert!(pool.slots().is_empty());
        lease.release();
        pool.server(&launch_key).await.unwrap_err();
    }
}
