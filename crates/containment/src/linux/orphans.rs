//! Orphans of killed supervisors that are reparented to this process, if it is a subreaper.
//!
//! A child that this process has not started is an orphan. Every start is recorded under a lock, which the scan for
//! orphans takes too: a child between its fork and its record never counts as an orphan.

use super::table::{Identity, identity, own_children, status};
use rustix::process::{Pid, Signal, WaitOptions, getpid, set_child_subreaper, waitpid};
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether orphans are adopted and killed. An embedding program may be a subreaper for its own reasons, such as the
/// first process of a container: its children are not touched.
static ADOPTS: AtomicBool = AtomicBool::new(false);
/// The children that this process has started.
static STARTED: Mutex<Option<HashSet<Identity>>> = Mutex::new(None);

/// Makes this process a subreaper, and treats every child that [`record_start`] has not started as an orphan of a run.
///
/// # Errors
///
/// If the system call fails.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    ADOPTS.store(true, Ordering::Relaxed);
    Ok(())
}

fn started() -> MutexGuard<'static, Option<HashSet<Identity>>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child and records it by its id.
///
/// # Errors
///
/// Those of `start`.
pub(crate) fn record_start<C>(
    start: impl FnOnce() -> io::Result<C>,
    id: impl FnOnce(&C) -> Option<u32>,
) -> io::Result<C> {
    if !ADOPTS.load(Ordering::Relaxed) {
        return start();
    }
    let mut started = started();
    let child = start()?;
    // The id cannot be reused until the owner of the child waits for it.
    started.get_or_insert_default().extend(id(&child).and_then(identity));
    Ok(child)
}

/// Returns the living orphans, and reaps those that have exited.
pub(super) fn found() -> Vec<Identity> {
    if !ADOPTS.load(Ordering::Relaxed) {
        return Vec::new();
    }
    let mut started = started();
    let started = started.get_or_insert_default();
    let children: Vec<_> = own_children().into_iter().filter_map(|id| status(id.as_raw_pid())).collect();
    started.retain(|child| children.iter().any(|status| status.identity == *child));
    let (ended, living): (Vec<_>, Vec<_>) =
        children.into_iter().filter(|child| !started.contains(&child.identity)).partition(|child| child.has_exited);
    for orphan in ended {
        if let Some(id) = Pid::from_raw(orphan.identity.id) {
            // Nothing else in this process waits for it.
            waitpid(Some(id), WaitOptions::NOHANG).ok();
        }
    }
    living.into_iter().map(|child| child.identity).collect()
}

/// Stops the living orphans.
pub(super) fn stop() {
    for orphan in found() {
        orphan.send(Signal::STOP);
    }
}
