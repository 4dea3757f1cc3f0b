//! Plays an attack as an unprivileged user.

use opencode_run_tests::Sandbox;
use rustix::process::geteuid;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The user id of an unprivileged account that every Linux has.
const NOBODY: u32 = 65534;

/// Makes a command run as an unprivileged user.
pub(crate) fn as_plain_user(command: &mut Command) -> &mut Command {
    if geteuid().is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// Gives the sandbox to that user. Returns false if that user cannot reach the programs under test.
pub(crate) fn give_away(sandbox: &Sandbox, program: &Path) -> bool {
    fn give(path: &Path) {
        lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            for entry in std::fs::read_dir(path).unwrap() {
                give(&entry.unwrap().path());
            }
        }
    }
    if !geteuid().is_root() {
        return true;
    }
    give(sandbox.root());
    let open = |folder: &Path| folder.metadata().unwrap().permissions().mode() & 0o001 != 0;
    let reached = program.canonicalize().unwrap().ancestors().all(open);
    if !reached {
        let why = "the tests run as root, and their programs are in a folder that no other user may enter";
        writeln!(std::io::stderr(), "skipped: {why}").ok();
    }
    reached
}
