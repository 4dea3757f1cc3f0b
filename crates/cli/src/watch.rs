//! The command as the supervisor of what it starts.

use opencode_run_process::supervisor;
use opencode_runner::Supervisor;

/// Returns the supervisor that opencode is started under. Only Linux has one.
pub(crate) fn watcher() -> Option<Supervisor> {
    supervisor::current()
}
