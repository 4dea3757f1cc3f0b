//! The limit on open files (`ulimit -n`).

/// The minimum number of open files for a turn. opencode 1.18.33 crashes in the middle of a turn with 32, and works
/// with 40.
#[cfg(unix)]
const MIN_OPEN_FILES: u64 = 64;

/// Returns the problem if the limit of this process is too low for a turn.
///
/// Must be checked first: if too few files can be open, every part of the command and of opencode fails
/// differently, some with a crash.
#[cfg(unix)]
pub(crate) fn problem() -> Option<String> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    (limit < MIN_OPEN_FILES)
        .then(|| format!("only {limit} files can be open at a time, and a turn needs {MIN_OPEN_FILES}"))
}

#[cfg(not(unix))]
pub(crate) const fn problem() -> Option<String> {
    None
}
