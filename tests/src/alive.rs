//! Asserts that no process is left alive.

use crate::pids::{Pids, Spawned};
use crate::process_table::{ProcessId, with_variable};
use std::collections::HashSet;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The interval of checking for living processes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The maximum time in which killed processes disappear.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// The processes that a test may have started: by an environment marker, in pids files, or single ones.
#[derive(Debug, Clone, Default)]
pub struct Suspects {
    markers: Vec<(String, String)>,
    pids: Vec<Pids>,
    processes: Vec<Spawned>,
}

impl Suspects {
    /// Returns an empty set of suspects.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds every process with this environment variable and value.
    #[must_use]
    pub fn marker(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.markers.push((name.into(), value.into()));
        self
    }

    /// Adds every process that is recorded in this file of a fake.
    #[must_use]
    pub fn pids_file(mut self, path: impl AsRef<Path>) -> Self {
        self.pids.push(Pids::new(path.as_ref().to_path_buf()));
        self
    }

    /// Adds these processes.
    #[must_use]
    pub fn processes(mut self, processes: impl IntoIterator<Item = Spawned>) -> Self {
        self.processes.extend(processes);
        self
    }

    /// Returns the living suspects, each with its command line.
    #[must_use]
    pub fn alive(&self) -> Vec<(i32, String)> {
        self.living().into_iter().map(|process| (process.pid, process.command_line())).collect()
    }

    /// Waits until no suspect is alive.
    ///
    /// `limit` bounds the total wait, however many suspects there are.
    ///
    /// # Panics
    ///
    /// If one is alive after that: with the pids and command lines, after killing them.
    #[track_caller]
    pub fn assert_nothing_alive(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let living = self.living();
            if living.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                let named: Vec<String> =
                    living.iter().map(|process| format!("  {} {}", process.pid, process.command_line())).collect();
                self.kill_all();
                panic!("alive after {limit:?}, and killed now:\n{}", named.join("\n"));
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Kills all living suspects, until none is alive or a few seconds have passed.
    pub fn kill_all(&self) {
        let deadline = Instant::now() + KILL_LIMIT;
        while Instant::now() < deadline {
            let living = self.living();
            if living.is_empty() {
                return;
            }
            living.into_iter().for_each(ProcessId::kill);
            sleep(Duration::from_millis(5));
        }
    }

    fn living(&self) -> HashSet<ProcessId> {
        let marked = self.markers.iter().flat_map(|(name, value)| with_variable(name, value));
        let recorded = self.pids.iter().flat_map(|pids| pids.read().unwrap_or_default());
        let recorded = recorded.chain(self.processes.iter().cloned()).map(|spawned| spawned.id());
        marked.chain(recorded.filter(|process| process.is_alive())).collect()
    }
}

/// Waits until no process with this environment variable and value is alive; see [`Suspects::assert_nothing_alive`].
///
/// # Panics
///
/// If one is alive after the time limit.
#[track_caller]
pub fn assert_no_marker_alive(name: &str, value: &str, limit: Duration) {
    Suspects::new().marker(name, value).assert_nothing_alive(limit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const NAME: &str = "OPENCODE_RUN_TEST_ALIVE";

    fn sleeper(value: &str) -> std::process::Child {
        Command::new("sleep").arg("60").env(NAME, value).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn living_process_is_named_and_killed() {
        let value = format!("named-{}", std::process::id());
        let mut child = sleeper(&value);
        while !with_variable(NAME, &value).iter().any(|process| process.command_line().starts_with("sleep")) {
            sleep(Duration::from_millis(5));
        }
        let asked = value.clone();
        let panic = std::panic::catch_unwind(move || assert_no_marker_alive(NAME, &asked, Duration::from_millis(50)));
        let message = *panic.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains(&format!("{} sleep 60", child.id())), "{message}");
        // A zombie does not count as alive.
        assert_no_marker_alive(NAME, &value, Duration::from_secs(5));
        child.wait().unwrap();
    }

    #[test]
    fn other_value_is_ignored() {
        let value = format!("mine-{}", std::process::id());
        let mut child = sleeper(&format!("{value}-not"));
        assert_no_marker_alive(NAME, &value, Duration::ZERO);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
