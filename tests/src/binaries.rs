//! The paths of the binaries of the same build.

use std::env;
use std::path::PathBuf;

/// Returns the path of `fake-opencode` of the same build, for the integration tests of this package.
///
/// Cargo builds the binaries of a package before its integration tests and compiles their paths into the tests, so an
/// outdated binary is impossible, in any profile, target directory or target.
#[macro_export]
macro_rules! fake_opencode_bin {
    () => {
        $crate::locate("fake-opencode", env!("CARGO_BIN_EXE_fake-opencode"))
    };
}

/// Returns the path of the command `opencode-run` of the same build, for the integration tests of this package.
///
/// It is the binary `opencode-run-under-test` of this package, which only calls the command's own entry point. As a
/// binary of this package it is as new as the tests; see the directory's `README.md`.
#[macro_export]
macro_rules! opencode_run_bin {
    () => {
        $crate::locate("opencode-run-under-test", env!("CARGO_BIN_EXE_opencode-run-under-test"))
    };
}

/// Returns the path that cargo compiled in, or the one from nextest if an archive was unpacked elsewhere.
#[doc(hidden)]
#[must_use]
pub fn locate(name: &str, compiled_in: &str) -> PathBuf {
    let nextest = env::var_os("NEXTEST").and_then(|_| env::var_os(format!("NEXTEST_BIN_EXE_{name}")));
    nextest.map_or_else(|| PathBuf::from(compiled_in), PathBuf::from)
}
