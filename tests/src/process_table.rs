//! The processes of this machine, from `/proc`.

use std::fs;

/// The identity of a process; the start time distinguishes it from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// In clock ticks since boot.
    pub(crate) start: u64,
}

impl ProcessId {
    /// Returns the living process with this pid; a zombie is not alive.
    pub(crate) fn of_living(pid: i32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain blanks and parentheses: the fields begin after the last one.
        let mut fields = line.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        // The state is field 3, the start time field 22.
        let start = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X" | "x")).then_some(Self { pid, start })
    }

    /// Returns whether this very process is alive.
    pub(crate) fn is_alive(self) -> bool {
        Self::of_living(self.pid) == Some(self)
    }

    /// Returns the command line, cut to a readable length.
    pub(crate) fn command_line(self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ").chars().take(160).collect()
    }

    /// Kills the process, if its pid was not reused.
    pub(crate) fn kill(self) {
        if let (true, Some(pid)) = (self.is_alive(), rustix::process::Pid::from_raw(self.pid)) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

/// Returns the living processes, other than this one, whose environment has the variable with this value.
pub(crate) fn with_variable(name: &str, value: &str) -> Vec<ProcessId> {
    let wanted = format!("{name}={value}").into_bytes();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own)
        .filter_map(|pid| {
            // The identity is read first: an environment that is read later belongs to that process or is gone.
            let process = ProcessId::of_living(pid)?;
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let has = environment.split(|&byte| byte == 0).any(|variable| variable == wanted);
            (has && process.is_alive()).then_some(process)
        })
        .collect()
}
