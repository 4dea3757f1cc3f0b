//! The shell that opencode runs the agent's commands in: the one that `SHELL` names.
//!
//! A service user often has one that refuses to run anything, such as `/usr/sbin/nologin`. opencode starts it all the same, and every
//! command of the agent does nothing and seems to have succeeded or failed without a word.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Programs that are set as a login shell so that nobody can log in.
const NO_SHELLS: [&str; 3] = ["nologin", "false", "true"];

/// The shells to use instead, the first that exists.
const FALLBACKS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// A `SHELL` that runs no commands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SHELL is {}, which {problem}", shell.display())]
#[non_exhaustive]
pub struct UnusableShell {
    /// The value of `SHELL`.
    pub shell: OsString,
    /// What is wrong with it.
    pub problem: &'static str,
    /// The shell that is used instead; `None` if there is none either.
    pub replacement: Option<&'static str>,
}

/// Checks the value of `SHELL`. `None` if commands can be run in it; one that is not set is left to opencode.
#[must_use]
pub fn unusable_shell(shell: Option<&OsStr>) -> Option<UnusableShell> {
    let shell = shell.filter(|shell| !shell.is_empty())?;
    let problem = problem(Path::new(shell))?;
    let replacement = FALLBACKS.into_iter().find(|fallback| is_executable(Path::new(fallback)));
    Some(UnusableShell { shell: shell.to_owned(), problem, replacement })
}

fn problem(shell: &Path) -> Option<&'static str> {
    if shell.file_name().is_some_and(|name| NO_SHELLS.iter().any(|no_shell| name == *no_shell)) {
        return Some("runs no commands");
    }
    // A bare name is looked up on PATH by opencode.
    if shell.components().count() < 2 {
        return None;
    }
    if !shell.exists() {
        return Some("does not exist");
    }
    (!is_executable(shell)).then_some("cannot be executed")
}

fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    path.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn problem_of(shell: &str) -> Option<&'static str> {
        unusable_shell(Some(OsStr::new(shell))).map(|unusable| unusable.problem)
    }

    #[test]
    fn shells_that_run_nothing_are_found() {
        for shell in ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/true"] {
            assert_eq!(problem_of(shell), Some("runs no commands"), "{shell}");
        }
        assert_eq!(problem_of("/none/bash"), Some("does not exist"));
        assert_eq!(problem_of("/etc/passwd"), Some("cannot be executed"));
        assert_eq!(problem_of("/etc"), Some("cannot be executed"));
        assert!(unusable_shell(Some(OsStr::new("/bin/false"))).unwrap().replacement.is_some());
    }

    #[test]
    fn working_and_unset_shells_are_left() {
        for shell in ["/bin/sh", "bash", ""] {
            assert_eq!(problem_of(shell), None, "{shell}");
        }
        assert_eq!(unusable_shell(None), None);
    }
}
