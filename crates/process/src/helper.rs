//! A program that is not opencode, such as an installer, with nothing left of it in any case.

use crate::launch::{start, start_beside_us, tree, tree_beside_us};
use crate::supervisor::Supervisor;
use crate::tree::{EnvironmentTag, Tree, start_child};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// A program under way. Dropping it ends it and all that it has started.
#[derive(Debug)]
pub struct Helper {
    tree: Tree,
    child: Child,
}

impl Helper {
    /// Starts a program that is found on `PATH`, in a directory, with the environment of this process. It reads nothing, and
    /// what it writes to stdout is nobody's concern.
    ///
    /// What it starts is found as that of a turn is: with a [`Supervisor`] all of it, else by mark and descent.
    ///
    /// # Errors
    ///
    /// If it cannot be started; [`io::ErrorKind::NotFound`] where there is no such program.
    pub fn start(
        program: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        directory: &Path,
        supervisor: Option<&Supervisor>,
    ) -> io::Result<Self> {
        let mut command = start(&find(program)?, supervisor);
        command.args(arguments).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::piped());
        Self::spawn(command, |tag, leader| tree(supervisor, tag, leader))
    }

    /// Starts a command of the user's in a shell. It reads nothing, its stdout is [for the taking](Self::take_stdout), and its
    /// stderr is ours; it may ask a person on the terminal that this process has.
    ///
    /// What it starts is found as [`start`](Self::start) says. That includes what it leaves in the background.
    ///
    /// # Errors
    ///
    /// If there is no shell, or it cannot be started.
    pub fn shell(command: &str, supervisor: Option<&Supervisor>) -> io::Result<Self> {
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut shell = start_beside_us(&find(shell)?, supervisor);
        shell.args([flag, command]).stdout(Stdio::piped());
        Self::spawn(shell, |tag, leader| tree_beside_us(supervisor, tag, leader))
    }

    pub(crate) fn spawn(mut command: Command, tree: impl FnOnce(EnvironmentTag, u32) -> Tree) -> io::Result<Self> {
        let tag = EnvironmentTag::new();
        let outer = std::env::var_os(EnvironmentTag::VARIABLE);
        command.env(EnvironmentTag::VARIABLE, tag.nested_in(outer.as_deref())).stdin(Stdio::null());
        let child = start_child(|| command.spawn())?;
        Ok(Self { tree: tree(tag, child.id().unwrap_or_default()), child })
    }

    /// Returns what it writes to stdout, once, if that is piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Returns what it writes to stderr, once, if that is piped.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Ends it and all processes that it has started. Returns how many are left: only those that the system does not let go of.
    pub async fn end(mut self) -> usize {
        let left = self.tree.kill_all().await;
        if left == 0 {
            // It is reaped here.
            self.child.wait().await.ok();
        }
        left
    }

    /// Waits for its end, as [`wait`](Self::wait) does, without ending what it has left behind.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Waits for its end, and ends what it has left behind.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    pub async fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.tree.kill_all().await;
        status
    }
}

fn find(program: &str) -> io::Result<PathBuf> {
    which::which(program).map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))
}
