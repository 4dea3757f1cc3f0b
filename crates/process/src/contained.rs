//! Commands other than opencode, in a given directory and environment.

use crate::Helper;
use crate::descriptors;
use crate::environment::{Environment, GIT_REPOSITORY};
use crate::launch::{start, tree};
use crate::supervisor::Supervisor;
use crate::tree::start_child;
use opencode_run_core::SecretString;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Returns the caller's variables as opencode gets them: without those of a surrounding opencode or git hook, and without
/// those that contain one of these secrets in any form.
pub fn command_environment<'s>(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    secrets: impl IntoIterator<Item = &'s SecretString>,
) -> Vec<(OsString, OsString)> {
    let mut environment = Environment::from_caller(variables);
    for secret in secrets {
        environment.strip_secret(secret);
    }
    environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Helper {
    /// Starts untrusted code: a program with exactly these variables, in this directory, in its own process group. Its stdin is
    /// empty.
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
        let mut command = start(program, supervisor);
        command.args(arguments).env_clear().envs(environment).env("PWD", directory).env_remove("OLDPWD");
        command.current_dir(directory).stdout(stdout).stderr(stderr);
        Self::spawn(command, |tag, leader| tree(supervisor, tag, leader))
    }
}

/// Starts a short-lived program that starts no others, such as a plumbing command of git, in its own process group.
///
/// It is cheaper than a [`Helper`]: there is no supervisor and no scan for survivors. Dropping the child kills it. Every child
/// of the command must be started by this crate, see
/// [`adopt_orphans`](crate::supervisor::adopt_orphans).
///
/// # Errors
///
/// If it cannot be started.
pub fn spawn_plain(mut command: Command) -> io::Result<Child> {
    for variable in GIT_REPOSITORY {
        if !command.as_std().get_envs().any(|(name, value)| name == variable && value.is_some()) {
            command.env_remove(variable);
        }
    }
    #[cfg(unix)]
    command.process_group(0);
    command.kill_on_drop(true);
    descriptors::withhold_inherited(command.as_std_mut());
    start_child(|| command.spawn())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn contained_command_gets_its_environment_alone() {
        let folder = tempfile::tempdir().unwrap();
        let output = std::fs::File::create(folder.path().join("log")).unwrap();
        let variables = [("PATH", "/usr/bin:/bin"), ("A", "sk-1234567890"), ("B", "2"), ("GIT_DIR", "/x")];
        let secret = SecretString::from("sk-1234567890");
        let environment = command_environment(variables.map(|(name, value)| (name.into(), value.into())), [&secret]);
        let helper = Helper::contained(
            Path::new("/bin/sh"),
            ["-c", "env; sleep 60 & exit 3"],
            folder.path(),
            environment,
            [output.into(), Stdio::null()],
            None,
        );
        assert_eq!(helper.unwrap().wait().await.unwrap().code(), Some(3));
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(log.contains("B=2\n") && !log.contains("sk-1234567890") && !log.contains("GIT_DIR"), "{log}");
        assert!(log.contains(&format!("PWD={}\n", folder.path().display())), "{log}");
    }

    #[tokio::test]
    async fn plain_program_keeps_given_git_variables() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $GIT_DIR"]).env("GIT_DIR", "/given").stdout(Stdio::piped());
        let output = spawn_plain(command).unwrap().wait_with_output().await.unwrap();
        assert_eq!(output.stdout, b"/given\n");
    }
}
