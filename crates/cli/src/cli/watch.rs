//! The command as the supervisor of what it starts.

use crate::Watcher;
use opencode_run_process::supervisor;

/// Returns the supervisor that opencode is started under. Only Linux has one.
pub(crate) fn watcher() -> Option<Watcher> {
    supervisor::current()
}
