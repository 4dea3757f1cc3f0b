//! The program that opencode is started under, where the caller has one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// What a watcher is sent by the one who started it, to end all that descends from it, and itself.
///
/// It is none that a terminal or a group is sent. Where it comes before the watcher knows it, it ends the watcher, which
/// has started nothing by then.
#[cfg(target_os = "linux")]
pub(crate) const KILL_REQUEST: rustix::process::Signal = rustix::process::Signal::USR1;

/// A program that starts what its arguments name, is its parent for as long as it lives, and ends what it leaves.
///
/// It passes on standard input and output, and ends as its child did. A library may not change its host's process, so it
/// cannot adopt what a tool set free; a program of its own can. What a watcher adds:
///
/// - All ends that opencode started when the process that started the watcher is gone, by SIGKILL for example.
/// - All ends that opencode started, also what cleared its environment and was adopted by another process. Without a watcher
///   what bears the marker or was seen to descend from opencode is found, which is all but that.
///
/// The program is one that calls `watch` with the arguments behind those given here, as the command `opencode-run` does
/// behind `__watch`. Only on Linux is there such a program; on other systems opencode is to be started without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Supervisor {
    /// Names the program and the arguments that come before those that `watch` takes.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Returns the command that starts `child` under the watcher; the child's arguments are to be added.
    pub(crate) fn command(&self, child: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // By the id of its parent the watcher can tell when that is gone already.
        command.args(&self.arguments).arg(std::process::id().to_string()).arg(child);
        command
    }
}
