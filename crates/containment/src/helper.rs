//! Programs, such as an installer, that leave no process behind.

use crate::child::start_child;
use crate::command::{command_in_our_group, command_in_own_group};
use crate::environment_tag::EnvironmentTag;
use crate::supervisor::program::Supervisor;
use crate::tree::ProcessTree;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// A running program. Dropping it kills its process tree.
#[derive(Debug)]
pub struct Helper {
    tree: ProcessTree,
    child: Child,
}

impl Helper {
    /// Starts a program from `PATH` in a directory, with the environment of this process. Its stdin is empty, stdout and
    /// stderr are piped: read both, since a full pipe blocks the program.
    ///
    /// Its process tree is found completely with a [`Supervisor`], otherwise by environment tag and descent.
    ///
    /// # Errors
    ///
    /// If it cannot be started; [`io::ErrorKind::NotFound`] if there is no such program.
    pub fn start(
        program: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        directory: &Path,
        supervisor: Option<&Supervisor>,
    ) -> io::Result<Self> {
        let mut command = command_in_own_group(&find(program)?, supervisor);
        command.args(arguments).current_dir(directory).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn(command, |tag, leader| ProcessTree::of_group_leader(supervisor, tag, leader))
    }

    /// Starts a command of the user in a shell. Its stdin is empty, its stdout is [piped](Self::take_stdout), and its
    /// stderr is inherited; it may prompt a person on the terminal of this process.
    ///
    /// Its process tree is found as for [`start`](Self::start), including background processes.
    ///
    /// # Errors
    ///
    /// If there is no shell, or it cannot be started.
    pub fn shell(command: &str, supervisor: Option<&Supervisor>) -> io::Result<Self> {
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut shell = command_in_our_group(&find(shell)?, supervisor);
        shell.args([flag, command]).stdout(Stdio::piped());
        Self::spawn(shell, |tag, leader| ProcessTree::of_group_member(supervisor, tag, leader))
    }

    /// Starts untrusted code in this directory, in its own process group. Its stdin is empty. Its environment is these
    /// variables, the directory as `PWD`, and the [tag](EnvironmentTag).
    ///
    /// Its process tree is found as for [`start`](Self::start), including background processes. [`wait`](Self::wait) and
    /// [`end`](Self::end) kill them.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn contained(
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        directory: &Path,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        [stdout, stderr]: [Stdio; 2],
        supervisor: Option<&Supervisor>,
    ) -> io::Result<Self> {
        let mut command = command_in_own_group(program, supervisor);
        command.args(arguments).env_clear().envs(environment).env("PWD", directory).env_remove("OLDPWD");
        command.current_dir(directory).stdout(stdout).stderr(stderr);
        Self::spawn(command, |tag, leader| ProcessTree::of_group_leader(supervisor, tag, leader))
    }

    fn spawn(mut command: Command, tree: impl FnOnce(EnvironmentTag, u32) -> ProcessTree) -> io::Result<Self> {
        let tag = EnvironmentTag::new();
        let outer = std::env::var_os(EnvironmentTag::VARIABLE);
        command.env(EnvironmentTag::VARIABLE, tag.nested_in(outer.as_deref())).stdin(Stdio::null());
        let child = start_child(|| command.spawn())?;
        Ok(Self { tree: tree(tag, child.id().unwrap_or_default()), child })
    }

    /// Takes the program's stdout, if it is piped; `None` from the second call on.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Takes the program's stderr, if it is piped; `None` from the second call on.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Kills the program and its process tree. Returns the number of survivors: only processes that the kernel does not
    /// release.
    pub async fn end(mut self) -> usize {
        let left = self.tree.kill_all().await;
        if left == 0 {
            self.child.wait().await.ok();
        }
        left
    }

    /// Waits for the program's exit like [`wait`](Self::wait), without killing the processes that it left.
    ///
    /// # Errors
    ///
    /// If the wait fails.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Waits for the program's exit, and kills the processes that it left.
    ///
    /// # Errors
    ///
    /// If the wait fails.
    pub async fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.tree.kill_all().await;
        status
    }
}

fn find(program: &str) -> io::Result<PathBuf> {
    which::which(program).map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn contained_command_gets_only_the_given_environment() {
        let folder = tempfile::tempdir().unwrap();
        let output = std::fs::File::create(folder.path().join("log")).unwrap();
        let variables = [("PATH", "/usr/bin:/bin"), ("B", "2"), ("PWD", "/elsewhere")];
        let helper = Helper::contained(
            Path::new("/bin/sh"),
            ["-c", "env; sleep 60 & exit 3"],
            folder.path(),
            variables.map(|(name, value)| (name.into(), value.into())),
            [output.into(), Stdio::null()],
            None,
        );
        assert_eq!(helper.unwrap().wait().await.unwrap().code(), Some(3));
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(log.contains("B=2\n") && !log.contains("CARGO"), "{log}");
        assert!(log.contains(&format!("PWD={}\n", folder.path().display())), "{log}");
    }
}
