//! Kills a process group when this process ends, for programs that are started without a supervisor.
//!
//! A program that ignores the end of its stdin outlives its parent. The watchdog is a shell in the program's group
//! that reads a pipe whose only write end is in this process. However this process ends, the kernel closes that end,
//! and the watchdog kills its group: the program and its helpers, but not tools that have sessions of their own.
//!
//! It is a sibling of the program, not its parent, so that its arguments, environment and exit code pass through no
//! shell. As a member of the group it keeps the group's id from being reused, so that it cannot kill another group.

use crate::child::start_child;
use crate::descriptors;
use crate::environment_tag::EnvironmentTag;
use rustix::process::Pid;
use std::process::{Child, Command, Stdio};

/// Uses only builtins of the shell. Signals to the group are meant for the program.
const SCRIPT: &str = "trap '' HUP INT QUIT TERM; read -r line; kill -s KILL 0";

/// The watchdog of one process group. Dropping it ends only the watchdog.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Starts the watchdog of a process that was just started as a group leader. Returns `None` if no shell can be
    /// started.
    pub(crate) fn start(tag: &EnvironmentTag, leader: u32) -> Option<Self> {
        let group = i32::try_from(leader).ok().and_then(Pid::from_raw)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "opencode-watchdog"]).current_dir("/");
        command.env_clear().env(EnvironmentTag::VARIABLE, tag.nested_in(None));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, group.as_raw_pid());
        descriptors::withhold_inherited(&mut command);
        match start_child(|| command.spawn()) {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                // The leader may have exited already. Otherwise it outlives this process if that is killed.
                tracing::debug!(%error, leader, "cannot start a watchdog");
                None
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed before its pipe is closed, which would look like the end of this process.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, kill_process_group};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::time::Duration;

    fn with_watchdog() -> (Child, Watchdog) {
        let script = "trap '' HUP INT QUIT TERM; sleep 60 & wait; sleep 60";
        let leader = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let watchdog = Watchdog::start(&EnvironmentTag::new(), leader.id()).unwrap();
        (leader, watchdog)
    }

    #[test]
    fn closed_pipe_kills_group_and_watchdog() {
        let (mut leader, mut watchdog) = with_watchdog();
        // Both have set their traps by then.
        std::thread::sleep(Duration::from_millis(500));
        for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
            kill_process_group(Pid::from_child(&leader), signal).unwrap();
        }
        assert!(leader.try_wait().unwrap().is_none() && watchdog.0.try_wait().unwrap().is_none());
        drop(watchdog.0.stdin.take());
        for child in [&mut leader, &mut watchdog.0] {
            assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        }
    }

    #[test]
    fn dropped_watchdog_spares_the_group() {
        let (mut leader, watchdog) = with_watchdog();
        drop(watchdog);
        std::thread::sleep(Duration::from_millis(100));
        assert!(leader.try_wait().unwrap().is_none());
        kill_process_group(Pid::from_child(&leader), Signal::KILL).unwrap();
        leader.wait().unwrap();
    }

    #[test]
    fn exited_leader_gets_no_watchdog() {
        let mut leader = Command::new("true").process_group(0).spawn().unwrap();
        leader.wait().unwrap();
        assert!(Watchdog::start(&EnvironmentTag::new(), leader.id()).is_none());
    }
}
