//! Children of this process, which do not count as orphans of a run.

use crate::system;
use std::io;

/// A child of this process.
pub trait ChildProcess {
    /// Returns the child's id, or `None` if the child was already waited for.
    fn process_id(&self) -> Option<u32>;
}

impl ChildProcess for tokio::process::Child {
    fn process_id(&self) -> Option<u32> {
        self.id()
    }
}

impl ChildProcess for std::process::Child {
    fn process_id(&self) -> Option<u32> {
        Some(self.id())
    }
}

/// Starts a child of this process by `start`. A program that has called
/// [`adopt_orphans`](crate::supervisor::adopt_orphans) must start every child by this function, so that it does not
/// count as an orphan.
///
/// # Errors
///
/// Those of `start`.
pub fn start_child<C: ChildProcess>(start: impl FnOnce() -> io::Result<C>) -> io::Result<C> {
    system::record_start(start, ChildProcess::process_id)
}
