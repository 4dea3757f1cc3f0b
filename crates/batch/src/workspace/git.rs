//! The command `git`, with and without the user's configuration.

use super::WorkspaceError;
use opencode_run_process::{Helper, Supervisor, spawn_plain};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The first version that has `GIT_CONFIG_GLOBAL`.
const MIN_VERSION: (u64, u64) = (2, 32);
/// The time limit on a command without network: a checkout of the largest repositories takes minutes on a slow disk.
const LOCAL_TIMEOUT: Duration = Duration::from_mins(15);
/// The number of bytes of the error output that are kept, from its end, which has the reason.
const MAX_ERROR_BYTES: usize = 4 * 1024;

/// Settings with which git starts no program and reads no file of the user. They override all configuration files.
const HARDENED: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.excludesFile=/dev/null",
    "core.attributesFile=/dev/null",
    "core.sshCommand=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
];
/// Settings for commands that need the user's configuration, for credentials and proxies.
const HARDENED_FETCH: [&str; 5] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// The installed git.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    program: PathBuf,
    /// The environment for commands that use the network.
    environment: Vec<(OsString, OsString)>,
    supervisor: Option<Supervisor>,
}

/// The reason why git cannot be used.
#[derive(Debug, Clone)]
pub(crate) enum GitProblem {
    Missing,
    /// The version of git.
    Old(String),
    /// The version of git cannot be queried.
    Broken(String),
}

impl From<GitProblem> for WorkspaceError {
    fn from(problem: GitProblem) -> Self {
        match problem {
            GitProblem::Missing => Self::NoGit,
            GitProblem::Old(found) => Self::OldGit { found },
            GitProblem::Broken(message) => Self::Git { operation: "version", message },
        }
    }
}

/// The output of a command that succeeded.
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    /// The last bytes of stderr.
    pub(crate) stderr: String,
    pub(crate) status: ExitStatus,
}

impl Git {
    /// Finds git in the absolute directories of `PATH`, and checks its version. `environment` is that of the network commands.
    ///
    /// # Errors
    ///
    /// If git is not installed or is too old.
    pub(crate) async fn find(
        environment: Vec<(OsString, OsString)>,
        supervisor: Option<Supervisor>,
    ) -> Result<Self, GitProblem> {
        let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let path = path.or_else(|| std::env::var_os("PATH")).ok_or(GitProblem::Missing)?;
        // A relative directory would be looked up in the repository.
        let absolute = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
        let absolute = std::env::join_paths(absolute).map_err(|_| GitProblem::Missing)?;
        let program = which::which_in("git", Some(absolute), "/").map_err(|_| GitProblem::Missing)?;
        let git = Self { program, environment, supervisor };
        let answer = git.local("version", |git| git.arg("version")).await;
        let answer = answer.map_err(|error| GitProblem::Broken(error.to_string()))?;
        let text = String::from_utf8_lossy(&answer.stdout);
        match version(&text) {
            Some(found) if found >= MIN_VERSION => Ok(git),
            _ => Err(GitProblem::Old(text.trim().trim_start_matches("git version ").to_owned())),
        }
    }

    /// Returns a command without any configuration of the system, the user or the caller's environment.
    pub(crate) fn hardened(&self) -> Command {
        let mut git = Command::new(&self.program);
        git.env_clear();
        // `HOME` is not set, so that programs that git might start find no files of the user.
        for name in ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "SystemRoot"] {
            if let Some(value) = std::env::var_os(name) {
                git.env(name, value);
            }
        }
        git.envs([
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_ALLOW_PROTOCOL", ""),
            ("LC_ALL", "C"),
        ]);
        for setting in HARDENED {
            git.args(["-c", setting]);
        }
        git.args(["--no-pager", "--literal-pathspecs"]);
        git.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        git
    }

    /// Runs a hardened command that uses no network.
    ///
    /// # Errors
    ///
    /// If it cannot be started, fails, or does not end in time.
    pub(crate) async fn local(
        &self,
        operation: &'static str,
        complete: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Output, WorkspaceError> {
        let mut command = self.hardened();
        complete(&mut command);
        let output = self.output(operation, command, None).await?;
        if output.status.success() { Ok(output) } else { Err(failed(operation, &output.stderr)) }
    }

    /// Runs a hardened command with this input, and returns its output whether it succeeded or not.
    ///
    /// # Errors
    ///
    /// If it cannot be started or does not end in time.
    pub(crate) async fn output(
        &self,
        operation: &'static str,
        mut command: Command,
        input: Option<Vec<u8>>,
    ) -> Result<Output, WorkspaceError> {
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = spawn_plain(command).map_err(WorkspaceError::io("start", &self.program))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // git reports a broken pipe by its exit code.
                stdin.write_all(&input).await.ok();
            }
        };
        let work = async { tokio::join!(feed, read_all(stdout), read_end(stderr), child.wait()) };
        let timeout = || WorkspaceError::GitTimeout { operation, limit: LOCAL_TIMEOUT };
        let ((), stdout, stderr, status) = tokio::time::timeout(LOCAL_TIMEOUT, work).await.map_err(|_| timeout())?;
        let status = status.map_err(WorkspaceError::io("wait for", &self.program))?;
        Ok(Output { stdout, stderr, status })
    }

    /// Runs a command that uses the network, with the user's configuration. All processes that it starts end with it.
    ///
    /// # Errors
    ///
    /// If it cannot be started, fails, or does not end within the limit.
    pub(crate) async fn network(
        &self,
        operation: &'static str,
        arguments: &[&OsStr],
        directory: &Path,
        limit: Duration,
    ) -> Result<(), WorkspaceError> {
        let settings = HARDENED_FETCH.iter().flat_map(|setting| [OsStr::new("-c"), OsStr::new(setting)]);
        let fixed = [("GIT_TERMINAL_PROMPT", "0"), ("GIT_NO_REPLACE_OBJECTS", "1"), ("LC_ALL", "C")];
        let fixed = fixed.map(|(name, value)| (name.into(), value.into()));
        let environment = self.environment.iter().cloned().chain(fixed);
        let mut helper = Helper::contained(
            &self.program,
            settings.chain(arguments.iter().copied()),
            directory,
            environment,
            [Stdio::null(), Stdio::piped()],
            self.supervisor.as_ref(),
        )
        .map_err(WorkspaceError::io("start", &self.program))?;
        let stderr = helper.take_stderr();
        let waited = tokio::time::timeout(limit, async { tokio::join!(helper.exited(), read_end(stderr)) }).await;
        helper.end().await;
        let (status, stderr) = waited.map_err(|_| WorkspaceError::GitTimeout { operation, limit })?;
        let status = status.map_err(WorkspaceError::io("wait for", &self.program))?;
        if status.success() { Ok(()) } else { Err(failed(operation, &stderr)) }
    }
}

/// Creates the error for a failed command.
pub(crate) fn failed(operation: &'static str, stderr: &str) -> WorkspaceError {
    let lines: Vec<_> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // Hints and progress come with the reason; the reason is marked.
    let marked = lines.iter().find(|line| line.starts_with("fatal: ") || line.starts_with("error: "));
    let message = marked.or(lines.last()).map_or("no reason given", |line| line.trim_start_matches("fatal: "));
    WorkspaceError::Git { operation, message: mask_passwords(message) }
}

/// Removes the user and password from each URL in a text.
fn mask_passwords(text: &str) -> String {
    let mask = |word| crate::address::without_password(word);
    text.split(' ')
        .map(|word| if word.contains("://") { mask(word) } else { word.to_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Reads the version in the output of `git version`.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.trim().strip_prefix("git version ")?.split(['.', ' ', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

async fn read_all(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // An error ends the output; the bytes before it are used.
        pipe.read_to_end(&mut bytes).await.ok();
    }
    bytes
}

/// Reads a pipe to its end and returns the last bytes.
pub(crate) async fn read_end(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut end = Vec::new();
    let mut buffer = vec![0; 8 * 1024];
    if let Some(mut pipe) = pipe {
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            end.extend_from_slice(&buffer[..count]);
            if end.len() > 2 * MAX_ERROR_BYTES {
                end.drain(..end.len() - MAX_ERROR_BYTES);
            }
        }
    }
    String::from_utf8_lossy(&end).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_any_build() {
        assert_eq!(version("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version("git version 2.45.1.windows.1"), Some((2, 45)));
        assert_eq!(version("git version 3.0-rc1"), Some((3, 0)));
        assert_eq!(version("busybox"), None);
    }

    #[test]
    fn failure_names_the_reason_without_passwords() {
        let stderr = "Cloning...\nfatal: unable to access 'https://me:pw@host/x/': not found\nhint: x\n";
        let message = failed("fetch", stderr).to_string();
        assert!(message.starts_with("git fetch failed: unable to access") && !message.contains("pw"), "{message}");
    }
}
