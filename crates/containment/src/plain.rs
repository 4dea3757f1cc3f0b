//! Short-lived programs that start no others.

use crate::child::start_child;
use crate::descriptors;
use crate::git_variables::GIT_REPOSITORY_VARIABLES;
use std::io;
use tokio::process::{Child, Command};

/// Starts a short-lived program that starts no others, such as a git plumbing command, in its own process group.
///
/// It is cheaper than a [`Helper`](crate::Helper): there is no supervisor and no scan for survivors. Dropping the child
/// kills it. Every child of the command must be started by this crate, see
/// [`adopt_orphans`](crate::supervisor::adopt_orphans).
///
/// # Errors
///
/// If it cannot be started.
pub fn spawn_plain(mut command: Command) -> io::Result<Child> {
    for variable in GIT_REPOSITORY_VARIABLES {
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
    use std::process::Stdio;

    #[tokio::test]
    async fn plain_program_keeps_given_git_variables() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $GIT_DIR"]).env("GIT_DIR", "/given").stdout(Stdio::piped());
        let output = spawn_plain(command).unwrap().wait_with_output().await.unwrap();
        assert_eq!(output.stdout, b"/given\n");
    }
}
