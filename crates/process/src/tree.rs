//! All processes of a run: found by the marker that they inherit and by descent, and ended until none is left.
//!
//! opencode's tools call `setsid`, so that neither opencode's end nor a signal to its process group reaches them. What
//! they all share is the environment that they inherit.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
use elsewhere as system;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "linux")]
pub(crate) use linux::kill_descendants;

#[cfg(unix)]
use crate::guard::Guard;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long it is tried to end what is left. Ending a process takes milliseconds; a storm of them takes a few rounds.
pub(crate) const SWEEP_LIMIT: Duration = Duration::from_secs(3);
/// How much of that a watcher may take, which takes milliseconds, before its work is done without it.
const WATCHER_LIMIT: Duration = Duration::from_secs(2);
/// How long is waited between two looks at what is left.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);

/// A name that all processes of one run bear in their environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker(String);

impl Marker {
    /// The variable that holds it.
    pub(crate) const VARIABLE: &'static str = "OPENCODE_RUN_MARKER";

    /// Makes a marker that nobody else bears.
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    /// Returns the variable's value for a run within the runs that are marked already.
    pub(crate) fn nested_in(&self, outer: Option<&OsStr>) -> OsString {
        match outer {
            Some(outer) if !outer.is_empty() => {
                let mut value = outer.to_owned();
                value.push(":");
                value.push(&self.0);
                value
            }
            _ => self.0.clone().into(),
        }
    }

    /// Returns whether an environment's entry, `NAME=value`, holds the marker.
    #[cfg(any(target_os = "linux", test))]
    pub(crate) fn is_borne_by(&self, entry: &[u8]) -> bool {
        let Some(value) = entry.strip_prefix(Self::VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else {
            return false;
        };
        value.split(|byte| *byte == b':').any(|marker| marker == self.0.as_bytes())
    }
}

/// The processes of one run.
///
/// Dropping it ends them all, within [`SWEEP_LIMIT`], unless [`sweep`](Self::sweep) has done so already.
#[derive(Debug)]
pub(crate) struct Tree {
    marker: Marker,
    system: system::Tree,
    /// Whether the leader is a watcher.
    watched: bool,
    swept: bool,
    /// Ends the leader's process group with this process. Dropped last.
    #[cfg(unix)]
    guard: Option<Guard>,
}

impl Tree {
    /// Takes the process that all others of the run descend from, right after it was started.
    pub(crate) fn new(marker: Marker, leader: u32) -> Self {
        Self {
            system: system::Tree::new(leader),
            marker,
            watched: false,
            swept: false,
            #[cfg(unix)]
            guard: None,
        }
    }

    /// Takes a leader of a process group, and has the group end with this process.
    pub(crate) fn guarded(marker: Marker, leader: u32) -> Self {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "guards are shells"))]
        let mut tree = Self::new(marker, leader);
        #[cfg(unix)]
        {
            tree.guard = Guard::start(&tree.marker, leader);
        }
        tree
    }

    /// Takes a leader that is a [watcher](crate::Watcher): it is asked to end all, since it sees whom no look from outside
    /// finds.
    pub(crate) fn watched(marker: Marker, leader: u32) -> Self {
        let mut tree = Self::new(marker, leader);
        tree.watched = true;
        tree
    }

    /// Sends a signal to the leader, if it is still the process that was started.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        self.system.signal_leader(signal);
    }

    /// Remembers who is there now: who descends from the leader is found again when the parents in between are gone.
    pub(crate) fn remember(&mut self) {
        self.system.remember(&self.marker);
    }

    /// Ends all processes of the run, the leader included, and returns how many are left after [`SWEEP_LIMIT`]: none,
    /// but for processes that the system does not let go of.
    pub(crate) async fn sweep(&mut self) -> usize {
        let mut sweep = Sweep::begin(self);
        while sweep.goes_on() {
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
        sweep.left
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.swept {
            return;
        }
        // Here nobody can be waited for: the runtime may be on its way out.
        let mut sweep = Sweep::begin(self);
        while sweep.goes_on() {
            std::thread::sleep(SWEEP_PAUSE);
        }
    }
}

/// The ending of a tree, in steps with pauses between them.
struct Sweep<'tree> {
    tree: &'tree mut Tree,
    began: Instant,
    left: usize,
}

impl<'tree> Sweep<'tree> {
    fn begin(tree: &'tree mut Tree) -> Self {
        if tree.watched {
            tree.system.ask_watcher();
        }
        Self { tree, began: Instant::now(), left: 0 }
    }

    /// Ends what is there, and returns whether there may be more.
    fn goes_on(&mut self) -> bool {
        let elapsed = self.began.elapsed();
        if self.tree.watched && elapsed < WATCHER_LIMIT && self.tree.system.leader_lives() {
            return true;
        }
        self.left = self.tree.system.kill_all(&self.tree.marker);
        let over = self.left == 0 || elapsed >= SWEEP_LIMIT;
        self.tree.swept |= over;
        !over
    }
}

/// The process that a server was started as, which is told from any that has its id later.
pub(crate) use system::Leader;

/// Ends the processes of a server's run that work in some directories, but not the server's own: its leader and that one's
/// process group.
///
/// It is how the end of one task on a shared server is told from that of another: a tool's process does not say which
/// session it belongs to, but it works in the session's directory.
pub(crate) async fn sweep_directories(marker: &Marker, server: Leader, directories: Vec<PathBuf>) {
    let part = system::Part::new(server, directories);
    let deadline = Instant::now() + SWEEP_LIMIT;
    while part.kill_all(marker) > 0 && Instant::now() < deadline {
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}

/// Returns how much memory the process that a server was started as takes, together with those of its process group, in
/// bytes, where the system says so. A watcher is small, and tools have groups of their own.
pub(crate) fn memory(leader: u32) -> Option<u64> {
    system::memory(leader)
}

/// A signal that a run is ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_in_its_variable_alone() {
        let marker = Marker::new();
        let entry = |name: &str, value: &str| format!("{name}={value}").into_bytes();
        assert!(marker.is_borne_by(&entry(Marker::VARIABLE, &marker.0)));
        assert!(marker.is_borne_by(&entry(Marker::VARIABLE, &format!("other:{}", marker.0))));
        assert!(!marker.is_borne_by(&entry("OTHER", &marker.0)));
        assert!(!marker.is_borne_by(&entry(Marker::VARIABLE, &format!("{}0", marker.0))));
        assert!(!marker.is_borne_by(Marker::VARIABLE.as_bytes()));
    }
}
