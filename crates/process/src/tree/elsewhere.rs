//! Where there is no `/proc`: the leader and its process group.

use super::{Marker, Signal};

/// The process group of one run, where the system has groups.
#[derive(Debug)]
pub(crate) struct Tree {
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
}

/// What a process takes of the memory is not known here.
pub(crate) fn memory(_: u32) -> Option<u64> {
    None
}

/// The process that a run was started as, which is not looked at here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leader;

impl Leader {
    pub(crate) fn new(_: u32) -> Self {
        Self
    }
}

/// The processes that work in some directories. Who does is not known here: it is nobody.
#[derive(Debug)]
pub(crate) struct Part;

impl Part {
    pub(crate) fn new(_: Leader, _: Vec<std::path::PathBuf>) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn kill_all(&self, _: &Marker) -> usize {
        0
    }
}

#[cfg(unix)]
impl Tree {
    pub(crate) fn new(leader: u32) -> Self {
        Self { group: i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw) }
    }

    pub(crate) fn signal_leader(&self, signal: Signal) {
        if let Some(leader) = self.group {
            let signal = match signal {
                Signal::Interrupt => rustix::process::Signal::INT,
                Signal::Terminate => rustix::process::Signal::TERM,
            };
            rustix::process::kill_process(leader, signal).ok();
        }
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn ask_watcher(&self) {}

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn leader_lives(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn remember(&mut self, _: &Marker) {}

    pub(crate) fn kill_all(&mut self, _: &Marker) -> usize {
        let Some(group) = self.group else { return 0 };
        usize::from(rustix::process::kill_process_group(group, rustix::process::Signal::KILL).is_ok())
    }
}

#[cfg(not(unix))]
impl Tree {
    pub(crate) fn new(_: u32) -> Self {
        Self {}
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn signal_leader(&self, _: Signal) {}

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn ask_watcher(&self) {}

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn leader_lives(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn remember(&mut self, _: &Marker) {}

    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn kill_all(&mut self, _: &Marker) -> usize {
        0
    }
}
