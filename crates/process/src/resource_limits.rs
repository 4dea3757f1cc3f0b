//! Recognizes exhausted resources and missing directories in the last output of a program.

/// The texts that show a cause, with its hint. The first match counts: specific causes come first.
const CAUSES: [(&[&str], &str); 12] = [
    (
        &["current working directory was deleted", "uv_cwd"],
        "the current directory no longer exists: change to one that exists (`cd`)",
    ),
    (&["uv_os_homedir"], "opencode finds no home directory: set HOME to a directory that it can write to"),
    (
        &["database or disk is full", "ENOSPC", "No space left on device", "(os error 28)"],
        "make room on the disk: opencode writes to HOME (or the XDG directories) and to TMPDIR",
    ),
    (
        &["EAGAIN", "Resource temporarily unavailable", "(os error 11)"],
        "a limit on processes or threads is reached: raise it (`ulimit -u`, the container's pids limit) or run fewer tasks at a time",
    ),
    (&["EFBIG", "File too large", "(os error 27)", "signal: 25 ", "SIGXFSZ"], FILE_SIZE_HINT),
    (&["EMFILE", "Too many open files", "(os error 24)"], "a limit on open files is reached: raise it (`ulimit -n`)"),
    (
        &[
            "ENOMEM",
            "MemoryExhaustion",
            "memory is exhausted",
            "Cannot allocate memory",
            "out of memory",
            "Out of memory",
            "(os error 12)",
        ],
        "there is too little memory: opencode needs about 600 MB; raise the limit (`ulimit -v`, the container's) or run fewer tasks at a time",
    ),
    (
        &["Failed to execute statement", "PRAGMA wal_checkpoint"],
        "opencode cannot write its database: make room on the disk of HOME (or XDG_DATA_HOME), and check that the directory is writable",
    ),
    (
        &[
            "EACCES",
            "EROFS",
            "EPERM",
            "ENOTDIR",
            "mkdir '",
            "FileSystem.open (",
            "FileSystem.makeDirectory (",
            "Read-only file system",
        ],
        "opencode must be able to write there: point HOME, the XDG directories or TMPDIR to a directory that is writable",
    ),
    (
        &["disk I/O error", "unable to open database file"],
        "opencode cannot use its database: check the disk and the permissions of XDG_DATA_HOME, or of HOME/.local/share",
    ),
    (
        &["signal: 4 ", "signal: 5 ", "signal: 6 ", "signal: 11 "],
        "it crashed, as it does under a limit on memory or processes (`ulimit -v`, `ulimit -u`): raise the limit; if there is none, check the installation of opencode",
    ),
    (
        &["signal: 9", "signal 9", "SIGKILL"],
        "something killed it, often the kernel because memory ran out: check the kernel's log, and raise the memory limit",
    ),
];

/// The errors of opencode's database for a limit on file sizes or a disk fault, which do not name the reason.
const DATABASE_FAULTS: [&str; 2] = ["disk I/O error", "Failed query: PRAGMA"];

const FILE_SIZE_HINT: &str = "a limit on the size of files is reached: raise it (`ulimit -f`)";

/// Returns a hint for a limit or a missing directory, recognized in a program's last output or its exit status.
#[must_use]
pub fn resource_hint(words: &str) -> Option<&'static str> {
    if DATABASE_FAULTS.iter().any(|fault| words.contains(fault)) && is_file_size_limited() {
        return Some(FILE_SIZE_HINT);
    }
    if words.contains("signal: 6 ") && cfg!(target_os = "linux") && !std::path::Path::new("/proc/self").exists() {
        return Some("opencode crashes without /proc: mount it (`mount -t proc proc /proc`)");
    }
    CAUSES.iter().find(|(signs, _)| signs.iter().any(|sign| words.contains(sign))).map(|(_, hint)| *hint)
}

/// Returns whether a limit on file sizes applies to this process, and so to opencode.
fn is_file_size_limited() -> bool {
    #[cfg(unix)]
    {
        rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some()
    }
    #[cfg(not(unix))]
    {
        false
    }
}

/// Returns the lines of a crash report that name the cause, without blank lines, indented details, excerpts of minified
/// source and the version of the runtime.
pub(crate) fn error_summary(words: &str) -> String {
    let is_excerpt = |line: &str| {
        let number = line.split(" | ").next().filter(|number| number.len() < line.len());
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_essential = |line: &&str| {
        !matches!(line.trim(), "" | "}")
            && !line.starts_with([' ', '\t'])
            && !line.starts_with("Bun v")
            && !is_excerpt(line)
    };
    let lines: Vec<&str> = words.lines().filter(is_essential).collect();
    if lines.is_empty() { words.trim().to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_hint() {
        for (words, hint) in [
            ("Error: Unexpected error\n\ndatabase or disk is full", "make room"),
            ("cannot be started: Resource temporarily unavailable (os error 11)", "ulimit -u"),
            ("ENOENT: no such file or directory, mkdir '/x/opencode'", "is writable"),
            ("Unknown: FileSystem.open (/x/opencode.log)", "is writable"),
            ("PlatformError: BadResource: FileSystem.makeDirectory (/x/log)", "is writable"),
            ("EACCES: permission denied, open '/x'", "is writable"),
            ("EffectDrizzleQueryError: Failed query: PRAGMA wal_checkpoint(PASSIVE)", "make room"),
            ("signal: 9 (SIGKILL)", "memory"),
            ("ENOENT: no such file or directory, uv_os_homedir", "set HOME"),
            ("RangeError: Out of memory", "memory"),
            ("signal: 11 (SIGSEGV)", "ulimit -v"),
            ("signal: 25 (SIGXFSZ)", "ulimit -f"),
            ("stdout cannot be written to: File too large (os error 27)", "ulimit -f"),
            ("signal: 6 (SIGABRT): MemoryExhaustion: memory is exhausted", "600 MB"),
        ] {
            assert!(resource_hint(words).is_some_and(|found| found.contains(hint)), "{words}");
        }
        assert_eq!(resource_hint("TypeError: undefined is not a function"), None);
    }

    #[test]
    fn details_of_a_crash_are_dropped() {
        let words =
            "ENOENT: no such file, mkdir '/x'\n    path: \"/x\",\n syscall: \"mkdir\"\n\n\nBun v1.3.14 (Linux x64)";
        assert_eq!(error_summary(words), "ENOENT: no such file, mkdir '/x'");
        assert_eq!(error_summary("Error: Unexpected error\n\ndisk is full\n"), "Error: Unexpected error\ndisk is full");
        assert_eq!(error_summary("  only details\n"), "only details");
        assert_eq!(error_summary("PlatformError: gone {\n  _tag: \"x\"\n}\n"), "PlatformError: gone {");
        assert_eq!(
            error_summary("12 | (function(a){var b=a;\n      ^\nENOENT: gone, uv_os_homedir"),
            "ENOENT: gone, uv_os_homedir"
        );
    }
}
