//! Leases that limit how many servers are alive at a time.

use futures_util::FutureExt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The leases of an executor's servers.
#[derive(Debug)]
pub(crate) struct ServerLeases {
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// A server may have become idle.
    idle: Notify,
    /// The number of calls that wait for a lease.
    waiting: AtomicUsize,
    /// The number of servers that are being ended for these calls.
    ending: AtomicUsize,
}

/// A server's lease. It is released when the server's process is gone, even if turns still hold the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerLease {
    permit: Arc<Mutex<Option<Permit>>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Permit {
    ending: Option<Counted>,
    _permit: OwnedSemaphorePermit,
}

impl ServerLeases {
    pub(crate) fn new(max_servers: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max_servers)), shared: Arc::default() }
    }

    /// Returns a lease as soon as one is free. If fewer servers are ending than calls are waiting, calls `evict`, now
    /// and whenever a server may have become idle.
    pub(crate) async fn acquire(&self, evict: impl Fn()) -> ServerLease {
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        let _waiting = Counted::new(&self.shared, |shared| &shared.waiting);
        loop {
            let mut idle = pin!(self.shared.idle.notified());
            idle.as_mut().enable();
            let permit = if let Some(permit) = permit.as_mut().now_or_never() {
                permit
            } else {
                if self.shared.waiting.load(Ordering::Relaxed) > self.shared.ending.load(Ordering::Relaxed) {
                    evict();
                }
                tokio::select! {
                    permit = permit.as_mut() => permit,
                    () = idle => continue,
                }
            };
            // The semaphore is never closed.
            let permit = permit.ok().map(|permit| Permit { ending: None, _permit: permit });
            return ServerLease { permit: Arc::new(Mutex::new(permit)), shared: Arc::clone(&self.shared) };
        }
    }

    /// Wakes the calls that wait for an idle server.
    pub(crate) fn announce_idle(&self) {
        self.shared.idle.notify_waiters();
    }
}

impl ServerLease {
    /// Wakes the calls that wait for an idle server.
    pub(crate) fn announce_idle(&self) {
        self.shared.idle.notify_waiters();
    }

    /// Records that the server is being ended, so that no second one is ended for the same call.
    pub(crate) fn will_be_released(&self) {
        if let Some(permit) = &mut *self.permit.lock().unwrap_or_else(PoisonError::into_inner) {
            permit.ending.get_or_insert_with(|| Counted::new(&self.shared, |shared| &shared.ending));
        }
    }

    /// Moves the permit to another server's lease; this lease has none from then on.
    pub(crate) fn move_to(&self, other: &Self) {
        let permit = self.take();
        *other.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    /// Releases the lease.
    pub(crate) fn release(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Permit> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Keeps a count incremented until it is dropped.
#[derive(Debug)]
struct Counted {
    shared: Arc<Shared>,
    count: fn(&Shared) -> &AtomicUsize,
}

impl Counted {
    fn new(shared: &Arc<Shared>, count: fn(&Shared) -> &AtomicUsize) -> Self {
        count(shared).fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), count }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.count)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::time::Duration;

    async fn is_pending(future: impl Future<Output = ServerLease>) -> bool {
        tokio::time::timeout(Duration::from_secs(1), future).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn server_is_not_evicted_if_a_lease_is_free() {
        let leases = ServerLeases::new(1);
        let lease = leases.acquire(|| panic!("there is one")).await;
        assert!(is_pending(leases.acquire(|| ())).await);
        lease.release();
        leases.acquire(|| panic!("there is one")).await;
    }

    /// The first waiting call may get the lease of a server that another call has ended.
    #[tokio::test(start_paused = true)]
    async fn every_waiter_gets_an_evicted_lease() {
        let leases = ServerLeases::new(2);
        let idle = RefCell::new(Vec::new());
        let evicted = RefCell::new(0);
        let ending = RefCell::new(Vec::new());
        let evict = || {
            if let Some(lease) = idle.borrow_mut().pop() {
                ServerLease::will_be_released(&lease);
                ending.borrow_mut().push(lease);
                *evicted.borrow_mut() += 1;
            }
        };
        let turn = async || {
            let lease = leases.acquire(evict).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            idle.borrow_mut().push(lease);
            leases.announce_idle();
        };
        let server_ends = async {
            loop {
                tokio::time::sleep(Duration::from_millis(3)).await;
                ending.borrow_mut().clear();
            }
        };
        let turns = futures_util::future::join_all((0..20).map(|_| turn()));
        tokio::select! {
            _ = tokio::time::timeout(Duration::from_mins(1), turns) => {}
            () = server_ends => {}
        }
        assert_eq!((*evicted.borrow(), idle.borrow().len()), (18, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn moved_lease_is_released_by_new_owner() {
        let leases = ServerLeases::new(1);
        let old = leases.acquire(|| ()).await;
        let successor = ServerLease::default();
        old.move_to(&successor);
        old.release();
        assert!(is_pending(leases.acquire(|| ())).await);
        successor.release();
        leases.acquire(|| ()).await;
    }
}
