//! The processes of the system as `/proc` lists them, and signals that reach exactly one of them.

use crate::environment_tag::EnvironmentTag;
use rustix::process::{self, Pid, PidfdFlags, Signal};
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The size of the first read buffer of an environment, in bytes.
const USUAL_ENVIRONMENT: usize = 16 << 10;
/// The maximum time for which a scan waits for processes that are in the middle of an `exec`. Each takes well below a
/// millisecond of processor time, but may get none for a while on a busy machine.
pub(super) const EXEC_TIMEOUT: Duration = Duration::from_millis(500);
/// The pause between two checks of such a process.
const EXEC_INTERVAL: Duration = Duration::from_micros(200);

/// The identity of one process: an id is reused, an id with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(super) id: i32,
    /// The start time in clock ticks since boot.
    pub(crate) started: u64,
}

/// A process as a scan has found it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessStatus {
    pub(super) identity: Identity,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// Whether it has exited and only waits to be reaped.
    pub(super) has_exited: bool,
}

impl Identity {
    /// Returns whether this very process still has the id, dead or alive.
    pub(super) fn is_there(self) -> bool {
        status(self.id).is_some_and(|status| status.identity == self)
    }

    /// Returns whether this very process is alive.
    pub(super) fn is_alive(self) -> bool {
        status(self.id).is_some_and(|status| status.identity == self && !status.has_exited)
    }

    /// Sends a signal to exactly this process: the pidfd is opened first, then its identity is checked.
    ///
    /// The membership in the run is not checked again: a process that was started with the tag, or descends from the
    /// run, belongs to the run for its whole life, whatever it does to its environment.
    pub(super) fn send(self, signal: Signal) {
        let Some(id) = Pid::from_raw(self.id) else { return };
        let Ok(handle) = process::pidfd_open(id, PidfdFlags::empty()) else { return };
        if self.is_there() {
            // A failure means that the process is gone or may not be signalled: the next scan shows which.
            process::pidfd_send_signal(&handle, signal).ok();
        }
    }

    /// Returns the working directory of the process.
    pub(super) fn directory(self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/cwd", self.id)).ok()
    }

    /// Returns whether the process has an environment tag.
    pub(super) fn has_tag(self, tag: &EnvironmentTag, deadline: Instant) -> bool {
        self.has_in_environment(deadline, |entry| tag.is_in_entry(entry))
    }

    /// Returns whether any entry of the process's environment, `NAME=value`, matches `wanted`.
    ///
    /// The environment of a process in the middle of an `exec` is empty for a moment, so it is read again until
    /// `deadline`.
    fn has_in_environment(self, deadline: Instant, mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
        loop {
            let Ok(environment) = read_at_once(&format!("/proc/{}/environ", self.id)) else { return false };
            if !environment.is_empty() {
                return environment.split(|byte| *byte == 0).any(&mut wanted);
            }
            if Instant::now() > deadline || self.has_no_environment() {
                return false;
            }
            std::thread::sleep(EXEC_INTERVAL);
        }
    }

    /// Returns whether the process has no environment at all, rather than a temporarily empty one: kernel threads have
    /// no memory for one, and a process that was started without one has an empty range for it.
    fn has_no_environment(self) -> bool {
        let Some(stat) = stat(self.id) else { return true };
        // Fields of the line: size of the memory 23, end of the code 27, start and end of the environment 50 and 51.
        let mut fields = stat.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
        let memory = fields.nth(20).flatten();
        let code_end = fields.nth(3).flatten();
        let place = (fields.nth(22).flatten(), fields.next().flatten());
        // During an `exec` the range of the environment is set before its content, and the code after both.
        memory == Some(0) || (place.0 == place.1 && place.1 != Some(0) && code_end != Some(0))
    }

    /// Returns the resident memory of the process in bytes.
    fn memory(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

/// Returns every process, zombies included.
pub(super) fn all_processes() -> Vec<ProcessStatus> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(status).collect()
}

/// Returns the living members of `all` that are roots or their descendants, without this process itself. A root that is
/// not in `all` is gone and has no children: its id may have been reused.
pub(super) fn subtree(roots: &HashSet<Identity>, all: &[ProcessStatus]) -> Vec<Identity> {
    let own = own_id();
    let there = all.iter().map(|status| status.identity).filter(|process| roots.contains(process));
    let mut ids: HashSet<i32> = there.map(|root| root.id).collect();
    loop {
        let before = ids.len();
        let children = all.iter().filter(|status| ids.contains(&status.parent) && status.identity.id != own);
        let children: Vec<i32> = children.map(|status| status.identity.id).collect();
        ids.extend(children);
        if ids.len() == before {
            break;
        }
    }
    let members = all.iter().filter(|status| ids.contains(&status.identity.id) && !status.has_exited);
    members.map(|status| status.identity).filter(|process| process.id != own).collect()
}

/// Returns the id of this process.
pub(super) fn own_id() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}

/// Returns the process that has this id now.
pub(crate) fn identity(id: u32) -> Option<Identity> {
    i32::try_from(id).ok().and_then(status).map(|status| status.identity)
}

/// Returns the current status of the process with this id.
pub(super) fn status(id: i32) -> Option<ProcessStatus> {
    read_status(id, &stat(id)?)
}

fn read_status(id: i32, stat: &str) -> Option<ProcessStatus> {
    let mut fields = stat.split_ascii_whitespace();
    let state = fields.next()?;
    // Fields of the line: parent 4, group 5, number of threads 20, start time 22.
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(14)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    // The main thread may exit before the others: the process looks like a zombie and is still running.
    let has_exited = state == "X" || (state == "Z" && threads <= 1);
    Some(ProcessStatus { identity: Identity { id, started }, parent, group, has_exited })
}

/// Reads `/proc/ID/stat` from the third field on. The name in parentheses before it may contain anything; the fields
/// after the last `)` are numbers.
fn stat(id: i32) -> Option<String> {
    let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    Some(stat.get(stat.rfind(')')? + 1..)?.to_owned())
}

/// Reads a file of `/proc` with one call, so that its content is consistent: between two calls the process may `exec`,
/// and the second call returns nothing.
fn read_at_once(path: &str) -> io::Result<Vec<u8>> {
    let mut space = USUAL_ENVIRONMENT;
    loop {
        let mut text = vec![0; space];
        let length = fs::File::open(path)?.read(&mut text)?;
        if length < space {
            text.truncate(length);
            return Ok(text);
        }
        space *= 2;
    }
}

/// Returns the children of this process. Their ids cannot be reused before this process reaps them.
pub(super) fn own_children() -> Vec<Pid> {
    children_of(own_id())
}

/// Returns the children of a process, without a scan of all processes.
///
/// Each thread has its own list, of the children that it started and of adopted orphans.
pub(super) fn children_of(id: i32) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<String> = lists.collect();
    let ids = children.iter().flat_map(|list| list.split_whitespace());
    ids.filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}

/// Returns the memory of the process group that a process leads, in bytes, or `None` if there is no such group.
pub(crate) fn memory(leader: u32) -> Option<u64> {
    let group = i32::try_from(leader).ok()?;
    let members = all_processes().into_iter().filter(|status| status.group == group);
    members.filter_map(|status| status.identity.memory()).reduce(|sum, memory| sum + memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_outlives_its_main_thread() {
        let stat = |state: &str, threads: u32| {
            let rest = format!("{state} 1 7 7 0 -1 4194368 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711 0 0");
            read_status(9, &rest).unwrap()
        };
        assert_eq!((stat("S", 1).identity.started, stat("S", 1).parent, stat("S", 1).group), (4711, 1, 7));
        assert!(stat("Z", 1).has_exited && stat("X", 2).has_exited);
        assert!(!stat("Z", 2).has_exited && !stat("S", 1).has_exited);
    }
}
