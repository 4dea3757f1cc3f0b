//! Keeps child processes from inheriting descriptors that the parent of this program left open.
//!
//! `program 3<secrets` gives descriptor 3 to the program and to all of its descendants, which can read it at `/proc/self/fd/3`. The descriptors that Rust opens are close-on-exec, inherited ones are not. A
//! library must not change them in its host, so they are replaced in each child.

#[cfg(target_os = "linux")]
use command_fds::{CommandFdExt, FdMapping};
use std::process::Command;

/// Replaces each inheritable descriptor above 2 by `/dev/null` in the child. Call it when the command is complete, just
/// before it is started.
///
/// Only Linux lists the open descriptors. Without inheritable descriptors it only costs the check.
pub fn withhold_inherited(command: &mut Command) {
    #[cfg(target_os = "linux")]
    if let Err(error) = replace(command, inheritable()) {
        tracing::warn!(%error, "a child inherits open files of this program's parent");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

#[cfg(target_os = "linux")]
fn replace(command: &mut Command, descriptors: Vec<i32>) -> std::io::Result<()> {
    if descriptors.is_empty() {
        return Ok(());
    }
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let mapping = |child_fd| Ok(FdMapping { parent_fd: null.try_clone()?.into(), child_fd });
    let mappings = descriptors.into_iter().map(mapping).collect::<std::io::Result<_>>()?;
    command.fd_mappings(mappings).map_err(std::io::Error::other)?;
    Ok(())
}

/// Returns the descriptors above 2 that are not close-on-exec.
#[cfg(target_os = "linux")]
fn inheritable() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    let closes_on_exec = |info: &str| {
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        // In octal; `O_CLOEXEC` has the same value on all architectures that Rust supports but SPARC and PA-RISC.
        flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_none_or(|flags| flags & 0o2_000_000 != 0)
    };
    let inheritable = entries.filter_map(|entry| {
        let descriptor: i32 = entry.file_name().to_str()?.parse().ok()?;
        // A descriptor that was closed meanwhile no longer has an entry.
        let info = std::fs::read_to_string(entry.path()).ok()?;
        (descriptor > 2 && !closes_on_exec(&info)).then_some(descriptor)
    });
    inheritable.collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    #[test]
    fn inherited_descriptor_is_withheld_from_children() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let list = || {
            let mut command = Command::new("ls");
            command.args(["-l", "/proc/self/fd"]);
            command
        };
        let listed = |mut command: Command| String::from_utf8(command.output().unwrap().stdout).unwrap();
        fcntl_setfd(file.as_file(), FdFlags::empty()).unwrap();
        assert!(listed(list()).contains(&path), "it is inherited");
        let mut command = list();
        withhold_inherited(&mut command);
        let shown = listed(command);
        assert!(!shown.contains(&path) && shown.contains("/dev/null"), "{shown}");
        assert_eq!(fcntl_getfd(file.as_file()).unwrap(), FdFlags::empty());
    }
}
