//! Orphans that fall to this process, if it is a subreaper: their own supervisor was killed.
//!
//! A child of this process that it has not started itself is an orphan. So all starts are noted under a lock, and a scan for
//! orphans takes the same lock: a child between its fork and its note is never taken for one.

use super::table::{Identity, own_children, status};
use crate::tree::Child;
use rustix::process::{Pid, Signal, WaitOptions, getpid, set_child_subreaper, waitpid};
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether orphans fall to this process and are its to end. A host of the library may be a subreaper for reasons of its own, such
/// as the first process of a container: its children are its own.
static ADOPTS: AtomicBool = AtomicBool::new(false);
/// The children that this process has started.
static STARTED: Mutex<Option<HashSet<Identity>>> = Mutex::new(None);

/// Makes this process a subreaper, and takes every child that [`start_child`] has not started for an orphan of a run.
///
/// # Errors
///
/// If the system refuses.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    ADOPTS.store(true, Ordering::Relaxed);
    Ok(())
}

fn started() -> MutexGuard<'static, Option<HashSet<Identity>>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child and notes it.
///
/// # Errors
///
/// Those of `start`.
pub(crate) fn start_child<C: Child>(start: impl FnOnce() -> io::Result<C>) -> io::Result<C> {
    if !ADOPTS.load(Ordering::Relaxed) {
        return start();
    }
    let mut started = started();
    let child = start()?;
    // Until it is waited for, which only its owner does, the id is its own.
    started.get_or_insert_default().extend(child.id().and_then(super::identity));
    Ok(child)
}

/// Returns the orphans that live, and takes note of the end of those that do not.
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

/// Stops the orphans that there are now.
pub(super) fn stop() {
    for orphan in found() {
        orphan.send(Signal::STOP);
    }
}
