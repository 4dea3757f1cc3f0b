//! Starts the process of `opencode run`.

use crate::Launch;
use crate::environment::Environment;
use crate::lines::Lines;
use opencode_run_containment::{EnvironmentTag, ProcessTree, start_child};
use opencode_run_core::{FailureKind, Remedy, StartError};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

/// The maximum length of a line of output in bytes. A line is one event; the longest real ones contain a tool's whole
/// output, which opencode itself cuts at 50 KB, or the text of an answer.
const MAX_LINE_BYTES: usize = 16 << 20;
/// The maximum length of a line of stderr in bytes: a message has no room for more.
const MAX_STDERR_LINE_BYTES: usize = 64 << 10;

/// The command that starts the process of a turn, once or repeatedly.
pub(crate) struct RunCommand {
    pub(crate) launch: Launch,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) directory: PathBuf,
    pub(crate) environment: Environment,
}

/// A started process.
pub(crate) struct RunProcess {
    pub(crate) tree: ProcessTree,
    pub(crate) child: Child,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: Lines<ChildStdout>,
    pub(crate) stderr: Lines<ChildStderr>,
}

impl RunCommand {
    /// Starts a process.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(crate) fn start(&self) -> Result<RunProcess, StartError> {
        let tag = EnvironmentTag::new();
        let mut command = self.launch.command(&self.arguments, &self.directory, self.environment.clone(), &tag);
        command.stdin(Stdio::piped());
        let mut child = start_child(|| command.spawn()).map_err(|error| {
            let message = format!("{} cannot be started", self.launch.opencode().path().display());
            StartError::new(FailureKind::Opencode, message).remedy(Remedy::CheckOpencode).caused_by(error)
        })?;
        let tree = self.launch.tree(tag, child.id().unwrap_or_default());
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(StartError::new(FailureKind::Io, "opencode was started without pipes"));
        };
        let stdout = Lines::new(stdout, MAX_LINE_BYTES);
        let stderr = Lines::new(stderr, MAX_STDERR_LINE_BYTES);
        Ok(RunProcess { tree, child, stdin, stdout, stderr })
    }
}
