//! Finds the script.

use opencode_run_tests::script::{POINTER_SUFFIX, SCRIPT_VARIABLE, beside};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Returns the script that the file beside this executable names, or the one from the environment.
pub(crate) fn find() -> Result<PathBuf, String> {
    pointed_at()
        .or_else(|| env::var_os(SCRIPT_VARIABLE).map(PathBuf::from))
        .ok_or_else(|| format!("find a script: {SCRIPT_VARIABLE} is not set"))
}

/// Uses the name by which the fake was started, as the running executable is the target of the link.
fn pointed_at() -> Option<PathBuf> {
    let name = PathBuf::from(env::args_os().next()?);
    let executable = if name.parent() == Some(Path::new("")) {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|dir| dir.join(&name)).find(|file| file.is_file())?
    } else {
        name
    };
    let script = fs::read(beside(&executable, POINTER_SUFFIX)).ok()?;
    Some(PathBuf::from(OsString::from_vec(script)))
}
