//! Checks the shell that opencode runs the agent's commands in, which `SHELL` names.
//!
//! A service user often has a shell that refuses to run anything, such as `/usr/sbin/nologin`. opencode uses it all the
//! same, and every command of the agent does nothing and seems to have succeeded, or failed without output.

#[cfg(unix)]
use opencode_run_containment::{start_child, withhold_inherited};
use std::ffi::{OsStr, OsString};
use std::path::Path;
#[cfg(unix)]
use std::process::{Command, Stdio};
#[cfg(unix)]
use std::time::{Duration, Instant};

/// Programs that are set as a login shell to prevent logins.
const NO_SHELLS: [&str; 3] = ["nologin", "false", "true"];

/// Well-known shells, which need no trial.
const SHELLS: [&str; 10] = ["bash", "sh", "dash", "zsh", "ksh", "fish", "csh", "tcsh", "rbash", "nu"];

/// The exit code of the trial command.
#[cfg(unix)]
const TRIAL_CODE: i32 = 42;
/// The maximum time of the trial of an unknown shell; a slower one counts as working. A shell takes some milliseconds.
#[cfg(unix)]
const TRIAL_TIMEOUT: Duration = Duration::from_secs(2);
#[cfg(unix)]
const TRIAL_INTERVAL: Duration = Duration::from_millis(2);

/// The fallback shells; the first that exists is used.
const FALLBACKS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// A `SHELL` that runs no commands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SHELL is {}, which {problem}", shell.display())]
#[non_exhaustive]
pub struct UnusableShell {
    /// The value of `SHELL`.
    pub shell: OsString,
    /// The reason why it runs no commands.
    pub problem: &'static str,
    /// The shell that is used instead; `None` if no shell works.
    pub replacement: Option<&'static str>,
}

/// Checks the value of `SHELL`. Returns `None` if the shell runs commands, or if it is not set.
///
/// A shell that is not well-known is tried with a command: administrators write their own `nologin`, and some shells,
/// such as `git-shell`, run only a few commands.
#[must_use]
pub fn unusable_shell(shell: Option<&OsStr>) -> Option<UnusableShell> {
    let shell = shell.filter(|shell| !shell.is_empty())?;
    let problem = problem(Path::new(shell))?;
    let replacement = FALLBACKS.into_iter().find(|fallback| is_executable(Path::new(fallback)));
    Some(UnusableShell { shell: shell.to_owned(), problem, replacement })
}

fn problem(shell: &Path) -> Option<&'static str> {
    let is_named = |path: &Path, names: &[&str]| path.file_name().is_some_and(|name| names.iter().any(|n| name == *n));
    // Checks both names: a link hides its program, and a program such as `busybox` has many names.
    let program = shell.canonicalize();
    if is_named(shell, &NO_SHELLS) || program.as_ref().is_ok_and(|program| is_named(program, &NO_SHELLS)) {
        return Some("runs no commands");
    }
    // opencode looks up a bare name on PATH, and chooses another shell if it is not found.
    if shell.components().count() < 2 {
        return None;
    }
    let Ok(program) = program else { return Some("does not exist") };
    if !is_executable(&program) {
        return Some("cannot be executed");
    }
    (!is_named(&program, &SHELLS) && !runs_commands(shell)).then_some("runs no commands")
}

/// Tests whether a program runs a command like a shell.
#[cfg(unix)]
fn runs_commands(shell: &Path) -> bool {
    let mut command = Command::new(shell);
    command
        .args(["-c", &format!("exit {TRIAL_CODE}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    withhold_inherited(&mut command);
    let Ok(mut child) = start_child(|| command.spawn()) else { return false };
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.code() == Some(TRIAL_CODE),
            Ok(None) if began.elapsed() < TRIAL_TIMEOUT => std::thread::sleep(TRIAL_INTERVAL),
            _ => break,
        }
    }
    // The shell may have exited just now; then the kill has no effect.
    child.kill().ok();
    child.wait().ok();
    true
}

#[cfg(not(unix))]
fn runs_commands(_: &Path) -> bool {
    true
}

fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    return path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
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
    fn unusable_shells_are_found() {
        for shell in ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/true"] {
            assert_eq!(problem_of(shell), Some("runs no commands"), "{shell}");
        }
        assert_eq!(problem_of("/none/bash"), Some("does not exist"));
        assert_eq!(problem_of("/etc/passwd"), Some("cannot be executed"));
        assert_eq!(problem_of("/etc"), Some("cannot be executed"));
        assert!(unusable_shell(Some(OsStr::new("/bin/false"))).unwrap().replacement.is_some());
    }

    #[test]
    fn unknown_shell_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let refuses = script("noaccess", "#!/bin/sh\necho This account is not available.\nexit 1\n");
        assert_eq!(problem_of(&refuses), Some("runs no commands"));
        assert_eq!(problem_of(&script("wrapper", "#!/bin/sh\nexec /bin/sh \"$@\"\n")), None);
        let link = folder.path().join("myshell");
        std::os::unix::fs::symlink("/bin/false", &link).unwrap();
        assert_eq!(problem_of(link.to_str().unwrap()), Some("runs no commands"));
    }

    #[test]
    fn working_and_unset_shells_are_kept() {
        for shell in ["/bin/sh", "bash", ""] {
            assert_eq!(problem_of(shell), None, "{shell}");
        }
        assert_eq!(unusable_shell(None), None);
    }
}
