//! Commands of programs whose process tree is ended with them.

use crate::descriptors;
use crate::git_variables::GIT_REPOSITORY_VARIABLES;
use crate::supervisor::program::Supervisor;
use std::path::Path;
use tokio::process::Command;

/// Returns the command that starts a program in a process group of its own, under the supervisor if there is one.
///
/// In a group of its own, it does not receive the Ctrl-C of a terminal. Give the tag to its environment, and its process
/// to [`ProcessTree::of_group_leader`](crate::ProcessTree::of_group_leader).
#[must_use]
pub fn command_in_own_group(program: &Path, supervisor: Option<&Supervisor>) -> Command {
    let mut command = command_in_our_group(program, supervisor);
    #[cfg(unix)]
    command.process_group(0);
    command
}

/// Returns the command that starts a program in our own process group, under the supervisor if there is one. If the
/// group owns the terminal, the program can prompt a person there.
pub(crate) fn command_in_our_group(program: &Path, supervisor: Option<&Supervisor>) -> Command {
    let mut command = match supervisor {
        None => Command::new(program),
        Some(supervisor) => supervisor.command(program),
    };
    // The process tree kills the program. If the program were killed before the tree's scan, its untagged descendants
    // could not be found.
    command.kill_on_drop(supervisor.is_none() && !cfg!(target_os = "linux"));
    // If a git hook started this process, a git of the child would work on the hook's repository.
    for variable in GIT_REPOSITORY_VARIABLES {
        command.env_remove(variable);
    }
    descriptors::withhold_inherited(command.as_std_mut());
    command
}
