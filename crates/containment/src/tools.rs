//! Kills the processes that one client of a server has left, while other clients continue.

use crate::background;
use crate::environment_tag::EnvironmentTag;
use crate::start_time::StartTime;
use crate::system::{self, OwnProcesses, ToolProcesses};
use crate::tool_process::ToolProcess;
use crate::tree::{KILL_INTERVAL, KILL_TIMEOUT};
use std::time::Instant;

/// Kills the tool processes of a server's run, with their descendants, that are not older than `since` and for which
/// `is_leftover` returns true. It is called for all processes that one scan has found.
///
/// The server's own processes are those of its process group, such as helpers, and their descendants. The server must
/// start each tool in a session of its own, as opencode does: no process can leave its session for the server's group.
///
/// Does nothing except on Linux.
pub async fn kill_tools(
    tag: &EnvironmentTag,
    own_processes: OwnProcesses,
    since: StartTime,
    is_leftover: impl Fn(&[ToolProcess]) -> Vec<bool> + Send + 'static,
) {
    let tools = ToolProcesses::new(tag.clone(), own_processes, since);
    let kill_all = move || {
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            let left = tools.kill_all(&is_leftover);
            if left == 0 || Instant::now() >= deadline {
                return left;
            }
            std::thread::sleep(KILL_INTERVAL);
        }
    };
    let left = background::run(kill_all).await.unwrap_or_default();
    if left > 0 {
        tracing::error!(left, "processes that a client of the server left could not be killed");
    }
}

/// Returns the own processes of a server that has just started to listen: it has started no helpers yet.
pub async fn own_processes(leader: u32) -> OwnProcesses {
    background::run(move || OwnProcesses::of(leader)).await.unwrap_or_default()
}

/// Returns the memory of a server's process group, in bytes, if it is known. It contains a small supervisor but no
/// tools, which have groups of their own.
pub async fn memory(leader: u32) -> Option<u64> {
    background::run(move || system::memory(leader)).await.ok().flatten()
}
