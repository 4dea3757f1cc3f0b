//! Fallback for systems without `/proc`: kills the leader and its process group.

use crate::environment_tag::EnvironmentTag;
use crate::start_time::StartTime;
use crate::stop_signal::StopSignal;
use crate::tool_process::ToolProcess;

/// The process group of one run, if the system has groups.
#[derive(Debug)]
pub(crate) struct KnownProcesses {
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
}

/// Returns `None`: the memory is unknown here.
pub(crate) fn memory(_: u32) -> Option<u64> {
    None
}

/// The server's own processes, which are not tracked here.
#[derive(Debug, Clone, Default)]
pub struct OwnProcesses;

impl OwnProcesses {
    pub(crate) fn of(_: u32) -> Self {
        Self
    }
}

/// The tool processes of a server, which are unknown here.
#[derive(Debug)]
pub(crate) struct ToolProcesses;

impl ToolProcesses {
    pub(crate) fn new(_: EnvironmentTag, _: OwnProcesses, _: StartTime) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn kill_all(&self, _: impl Fn(&[ToolProcess]) -> Vec<bool>) -> usize {
        0
    }
}

/// Does nothing: only the system's first process adopts orphans here.
pub(crate) fn adopt_orphans() -> std::io::Result<()> {
    Ok(())
}

pub(crate) fn record_start<C>(
    start: impl FnOnce() -> std::io::Result<C>,
    _: impl FnOnce(&C) -> Option<u32>,
) -> std::io::Result<C> {
    start()
}

impl KnownProcesses {
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn request_kill(&self) {}

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn resume_supervisor(&self) {}

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn leader_lives(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn record_descendants(&mut self, _: &EnvironmentTag) {}
}

#[cfg(unix)]
impl KnownProcesses {
    pub(crate) fn new(leader: u32) -> Self {
        Self { group: i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw) }
    }

    pub(crate) fn signal_leader(&self, signal: StopSignal) {
        if let Some(group) = self.group {
            rustix::process::kill_process_group(group, signal.of_system()).ok();
        }
    }

    pub(crate) fn kill_all(&mut self, _: &EnvironmentTag) -> usize {
        let Some(group) = self.group else { return 0 };
        usize::from(rustix::process::kill_process_group(group, rustix::process::Signal::KILL).is_ok())
    }
}

#[cfg(not(unix))]
impl KnownProcesses {
    pub(crate) fn new(_: u32) -> Self {
        Self {}
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn signal_leader(&self, _: StopSignal) {}

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn kill_all(&mut self, _: &EnvironmentTag) -> usize {
        0
    }
}
