//! The real opencode for the tests that need one.

use crate::find_opencode::{self, find};
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The version of opencode that `opencode-run setup` installs and the recordings were made with.
pub const PINNED_OPENCODE: &str = find_opencode::PINNED_OPENCODE;

/// Returns a real opencode: the one that `OPENCODE_RUN_TEST_OPENCODE` names, the first on `PATH`, or the one that
/// `opencode-run setup` installed.
///
/// Tests that call it carry `#[cfg_attr(not(real_opencode), ignore = "no real opencode")]`: the build script sets
/// `real_opencode` if there is one and `OPENCODE_RUN_REQUIRE_REAL` is not `0`, or if that variable is `1`.
///
/// # Panics
///
/// If it is missing.
#[must_use]
#[track_caller]
pub fn real_opencode() -> PathBuf {
    find(variable).unwrap_or_else(|why| panic!("{why}"))
}

/// Returns a real opencode like [`real_opencode`], or `None` if it is missing.
///
/// # Panics
///
/// If the named one does not exist.
#[must_use]
pub fn installed_opencode() -> Option<PathBuf> {
    find(variable).ok()
}

/// Returns the real opencode 2 that `OPENCODE_RUN_TEST_OPENCODE2` names, or `None` if the variable is not set.
#[must_use]
pub fn installed_opencode2() -> Option<PathBuf> {
    variable(find_opencode::CHOSEN2).map(PathBuf::from)
}

/// Returns the real opencode 2 that `OPENCODE_RUN_TEST_OPENCODE2` names.
///
/// Tests that call it carry `#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]`.
///
/// # Panics
///
/// If none is named.
#[must_use]
#[track_caller]
pub fn real_opencode2() -> PathBuf {
    installed_opencode2().unwrap_or_else(|| panic!("{} names no opencode 2", find_opencode::CHOSEN2))
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
