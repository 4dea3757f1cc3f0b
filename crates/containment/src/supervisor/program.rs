//! The program under which others are started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The signal that requests a supervisor to kill all of its descendants, and to exit.
///
/// No terminal or process group sends this signal. Before the supervisor handles it, the signal ends the supervisor,
/// which has started nothing by then.
#[cfg(target_os = "linux")]
pub(crate) const KILL_REQUEST: rustix::process::Signal = rustix::process::Signal::USR1;

/// A program that starts another one, is its parent for as long as it lives, and kills the processes that it leaves.
///
/// It passes on standard input and output, and exits with its child's status. A library must not change its host
/// process, so it cannot adopt orphans; a separate program can. Advantages of a supervisor:
///
/// - All processes that the program started are killed when the process that started the supervisor ends, even by SIGKILL.
/// - Orphans that have cleared their environment are killed too. Without a supervisor, only processes are found that
///   carry the environment tag or were seen as descendants of the program.
///
/// The program must call `supervise` with the arguments that follow those given here, as
/// [`init`](crate::supervisor::init) does. Such programs exist only on Linux; on other systems start programs without
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Supervisor {
    /// Returns a supervisor: the program, and the arguments before those that `supervise` takes.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Returns the command that starts `child` under the supervisor, without the child's arguments.
    pub(crate) fn command(&self, child: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // The id of the parent lets the supervisor detect that the parent has ended already.
        command.args(&self.arguments).arg(std::process::id().to_string()).arg(child);
        command
    }
}
