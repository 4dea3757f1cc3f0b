//! Queries a program that may be opencode.

use opencode_run_containment::{EnvironmentTag, ProcessTree, QueryOutput, Supervisor, command_in_own_group};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The variables that locate the user's directories.
const HOMES: [&str; 5] = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"];

/// Runs a program that may be opencode, with the environment of this process, and returns its output. If a home is
/// given, the program runs there and has it as its home.
///
/// # Errors
///
/// If it cannot be started, or does not exit within the limit.
pub(crate) async fn query(
    program: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    home: Option<&Path>,
    supervisor: Option<&Supervisor>,
    limit: Duration,
) -> io::Result<QueryOutput> {
    let tag = EnvironmentTag::new();
    let outer = std::env::var_os(EnvironmentTag::VARIABLE);
    let mut command = command_in_own_group(program, supervisor);
    command.args(arguments).env(EnvironmentTag::VARIABLE, tag.nested_in(outer.as_deref()));
    if let Some(home) = home {
        command.envs(HOMES.map(|name| (name, home))).env("PWD", home).current_dir(home);
    }
    let tree = |leader| ProcessTree::of_group_leader(supervisor, tag, leader);
    opencode_run_containment::query(command, tree, limit).await
}
