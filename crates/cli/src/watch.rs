//! The command as the supervisor of opencode.

use opencode_run_process::supervisor;
use opencode_runner::Supervisor;

/// Returns the supervisor for opencode; `None` except on Linux.
pub(crate) fn watcher() -> Option<Supervisor> {
    supervisor::current()
}
