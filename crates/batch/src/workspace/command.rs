//! `setup` and `check`: commands of a task, with a log, a limit and no process left behind.

use super::WorkspaceError;
use super::checkout::TaskWorkspace;
use opencode_run_process::Helper;
use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// The variable that holds the deadline of a command, in seconds since 1970.
pub(crate) const DEADLINE: &str = "OPENCODE_RUN_DEADLINE";
/// How long to wait for the rest of a log after all processes of its command were ended.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of bytes kept from the beginning of a log.
const MAX_HEAD_BYTES: u64 = 8 * 1024 * 1024;
/// The number of bytes kept from the end of a log: test runners print their summary there.
const MAX_TAIL_BYTES: usize = 1024 * 1024;

/// A shell command line of a task.
#[derive(Debug, Clone)]
#[must_use]
pub struct TaskCommand {
    line: String,
    log: PathBuf,
    subdir: Option<String>,
    limit: Option<Duration>,
    variables: Vec<(OsString, OsString)>,
}

impl TaskCommand {
    /// Creates a command that `sh -c` runs. Its output replaces the content of the file `log`.
    pub fn new(line: impl Into<String>, log: impl Into<PathBuf>) -> Self {
        Self { line: line.into(), log: log.into(), subdir: None, limit: None, variables: Vec::new() }
    }

    /// Runs the command in a subdirectory of the task's directory.
    pub fn subdir(mut self, subdir: Option<String>) -> Self {
        self.subdir = subdir;
        self
    }

    /// Limits the time of the command; all of its processes are killed then. `OPENCODE_RUN_DEADLINE` in its environment
    /// is that time in seconds since 1970.
    pub fn limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// Adds a variable to the command's environment.
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandOutcome {
    /// The exit code; `None` if a signal or the time limit ended the command.
    pub exit_code: Option<i32>,
    /// Whether its limit ended it.
    pub timed_out: bool,
    /// The duration of the command.
    pub duration: Duration,
    /// The number of bytes dropped from the middle of the output.
    pub dropped_bytes: u64,
}

impl CommandOutcome {
    /// Returns whether the command succeeded.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.exit_code == Some(0)
    }
}

impl TaskWorkspace {
    /// Runs a command of the task, and ends all processes that it leaves. It gets the environment of the agent's
    /// commands, without secrets, and reads nothing. Its stdout and stderr are written to its log in the order in which
    /// they arrive.
    ///
    /// Dropping the future ends the command and its processes.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or its log cannot be written. A command that fails is an [outcome](CommandOutcome).
    pub async fn run(&self, command: &TaskCommand) -> Result<CommandOutcome, WorkspaceError> {
        let began = Instant::now();
        let directory = self.working_directory(command.subdir.as_deref())?;
        let log = &command.log;
        let file = File::create(log).map_err(WorkspaceError::io("write", log))?;
        // One pipe for both, so that their order is kept.
        let (reader, writer) = std::io::pipe().map_err(WorkspaceError::io("open a pipe for", log))?;
        let other = writer.try_clone().map_err(WorkspaceError::io("open a pipe for", log))?;
        let deadline = command.limit.and_then(|limit| SystemTime::now().checked_add(limit));
        let deadline = deadline.and_then(|deadline| deadline.duration_since(UNIX_EPOCH).ok());
        let variables = deadline.map(|deadline| (DEADLINE.into(), deadline.as_secs().to_string().into()));
        let variables = variables.into_iter().chain(command.variables.iter().cloned());
        let environment = self.inner.environment.iter().cloned().chain(variables);
        let shell = if cfg!(windows) { ["cmd", "/C"] } else { ["/bin/sh", "-c"] };
        let helper = Helper::contained(
            Path::new(shell[0]),
            [shell[1], &command.line],
            &directory,
            environment,
            [writer.into(), other.into()],
            self.inner.supervisor.as_ref(),
        );
        let mut helper = helper.map_err(WorkspaceError::io("start a shell in", &directory))?;
        let (copied, copying) = oneshot::channel();
        // A thread of its own: a process that cannot be ended may hold the pipe for longer than the batch runs.
        let copy = move || drop(copied.send(copy_log(reader, &file)));
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(copy)
            .map_err(WorkspaceError::io("start a thread for", log))?;
        let status = match command.limit {
            None => Some(helper.exited().await),
            Some(limit) => tokio::time::timeout(limit, helper.exited()).await.ok(),
        };
        let left = helper.end().await;
        if left > 0 {
            tracing::warn!(left, "processes of a task's command could not be ended");
        }
        // All writers of the pipe have ended, except processes that could not be found.
        let copied = tokio::time::timeout(LOG_TIMEOUT, copying).await;
        let lost = |_| std::io::Error::other("the thread that writes it has ended");
        let dropped_bytes = if let Ok(copied) = copied {
            copied.map_err(lost).flatten().map_err(WorkspaceError::io("write", log))?
        } else {
            tracing::warn!("a process of a task's command still holds its output, and the log is incomplete");
            0
        };
        let timed_out = status.is_none();
        let status = status.transpose().map_err(WorkspaceError::io("wait for a shell in", &directory))?;
        let exit_code = status.and_then(|status| status.code());
        Ok(CommandOutcome { exit_code, timed_out, duration: began.elapsed(), dropped_bytes })
    }
}

/// Copies a pipe into a log until it ends. Returns the number of bytes dropped from the middle.
///
/// Reads the pipe to its end even if the log cannot be written: a command must not block on a full pipe.
fn copy_log(mut pipe: PipeReader, mut log: &File) -> std::io::Result<u64> {
    let mut head = 0;
    let mut dropped = 0;
    let mut tail = Vec::new();
    let mut problem = None;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut piece = &buffer[..count];
        if head < MAX_HEAD_BYTES && problem.is_none() {
            let fits = piece.len().min(usize::try_from(MAX_HEAD_BYTES - head).unwrap_or(usize::MAX));
            problem = log.write_all(&piece[..fits]).err();
            head += fits as u64;
            piece = &piece[fits..];
        }
        tail.extend_from_slice(piece);
        if tail.len() > 2 * MAX_TAIL_BYTES {
            let excess = tail.len() - MAX_TAIL_BYTES;
            tail.drain(..excess);
            dropped += excess as u64;
        }
    }
    if let Some(problem) = problem {
        return Err(problem);
    }
    if dropped > 0 {
        log.write_all(format!("\n... {dropped} bytes were dropped ...\n").as_bytes())?;
    }
    log.write_all(&tail)?;
    Ok(dropped)
}
