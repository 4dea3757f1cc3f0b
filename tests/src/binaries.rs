//! The binaries of the same build.

use std::env;
use std::path::PathBuf;

/// Returns the path of `fake-opencode` of the same build, for the integration tests of this package.
///
/// Cargo builds the binaries of a package before its integration tests and tells them the paths while it compiles them: a
/// binary that is older than its sources cannot be meant, in any profile, target directory or target.
#[macro_export]
macro_rules! fake_opencode_bin {
    () => {
        $crate::locate("fake-opencode", env!("CARGO_BIN_EXE_fake-opencode"))
    };
}

/// Returns the path of the command `opencode-run` of the same build, for the integration tests of this package.
///
/// It is the binary `opencode-run-under-test` of this package, which is the command's own entry point and nothing else.
/// Cargo knows it as a binary of this package, so it is as new as the tests; see the directory's `README.md`.
#[macro_export]
macro_rules! opencode_run_bin {
    () => {
        $crate::locate("opencode-run-under-test", env!("CARGO_BIN_EXE_opencode-run-under-test"))
    };
}

/// Returns the path that cargo compiled in, or the one that nextest gives where an archive was unpacked elsewhere.
#[doc(hidden)]
#[must_use]
pub fn locate(name: &str, compiled_in: &str) -> PathBuf {
    let nextest = env::var_os("NEXTEST").and_then(|_| env::var_os(format!("NEXTEST_BIN_EXE_{name}")));
    nextest.map_or_else(|| PathBuf::from(compiled_in), PathBuf::from)
}
