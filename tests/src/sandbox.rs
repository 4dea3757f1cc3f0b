//! An isolated environment for one test.

use crate::alive::Suspects;
use crate::or_panic::OrPanic;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// The environment variable that all processes of a sandbox inherit.
const MARKER: &str = "OPENCODE_RUN_TEST_SANDBOX";

/// The default time limit for processes to exit at the end of a test.
const ALIVE_LIMIT: Duration = Duration::from_secs(3);

/// The variables of the host that a sandbox keeps: to find programs, and to report coverage.
const KEPT: &[&str] = &["PATH", "LLVM_PROFILE_FILE", "RUST_BACKTRACE", "LD_LIBRARY_PATH"];

/// A temporary directory with its own home, XDG directories and workspace, and an isolated environment.
///
/// Dropping it kills its living processes and deletes the directory.
#[derive(Debug)]
pub struct Sandbox {
    root: TempDir,
    env: BTreeMap<OsString, OsString>,
    marker: String,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Creates the directories.
    ///
    /// # Panics
    ///
    /// If they cannot be created.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let root = tempfile::Builder::new().prefix("opencode-run-test-").tempdir().or_panic("make a sandbox");
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let marker = format!("{}-{}-{nanos}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut sandbox = Self { root, env: BTreeMap::new(), marker };
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                sandbox.set(name, value);
            }
        }
        for (name, dir) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "home/.config"),
            ("XDG_DATA_HOME", "home/.local/share"),
            ("XDG_CACHE_HOME", "home/.cache"),
            ("XDG_STATE_HOME", "home/.local/state"),
            ("XDG_RUNTIME_DIR", "runtime"),
            ("TMPDIR", "tmp"),
        ] {
            let path = sandbox.path(dir);
            fs::create_dir_all(&path).or_panic("make a directory of the sandbox");
            sandbox.set(name, path);
        }
        fs::create_dir_all(sandbox.workspace()).or_panic("make the workspace of the sandbox");
        let marker = sandbox.marker.clone();
        sandbox.set(MARKER, marker);
        sandbox.set("LANG", "C.UTF-8");
        // So that no repository above the sandbox is found.
        let ceiling = sandbox.root().to_path_buf();
        sandbox.set("GIT_CEILING_DIRECTORIES", ceiling);
        sandbox.set("GIT_CONFIG_NOSYSTEM", "1");
        sandbox
    }

    /// Returns the sandbox's own directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Returns a path under the sandbox's directory.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root().join(relative)
    }

    /// Returns the home directory.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Returns the directory for tasks, in which commands start.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.path("workspace")
    }

    /// Returns the whole environment of commands.
    #[must_use]
    pub fn env(&self) -> &BTreeMap<OsString, OsString> {
        &self.env
    }

    /// Removes a variable of the environment.
    pub fn unset(&mut self, name: impl AsRef<OsStr>) {
        self.env.remove(name.as_ref());
    }

    /// Sets a variable of the environment.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
    }

    /// Returns the name and the value of the variable that all processes here inherit.
    #[must_use]
    pub fn marker(&self) -> (&'static str, &str) {
        (MARKER, &self.marker)
    }

    /// Returns a command with only this environment, in the workspace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.env).current_dir(self.workspace()).env("PWD", self.workspace());
        command
    }

    /// Returns all known processes of the sandbox: by the marker and by the fakes' pids files.
    #[must_use]
    pub fn suspects(&self) -> Suspects {
        let scripts = fs::read_dir(self.root()).into_iter().flatten().flatten().map(|entry| entry.path());
        scripts
            .filter(|path| path.extension().is_some_and(|extension| extension == "pids"))
            .fold(Suspects::new().marker(MARKER, &self.marker), Suspects::pids_file)
    }

    /// Asserts that no process of the sandbox is alive after three seconds.
    ///
    /// # Panics
    ///
    /// If one is; see [`Suspects::assert_nothing_alive`].
    #[track_caller]
    pub fn assert_nothing_alive(&self) {
        self.suspects().assert_nothing_alive(ALIVE_LIMIT);
    }

    /// Asserts that no process of the sandbox is alive after this time.
    ///
    /// # Panics
    ///
    /// If one is; see [`Suspects::assert_nothing_alive`].
    #[track_caller]
    pub fn assert_nothing_alive_within(&self, limit: Duration) {
        self.suspects().assert_nothing_alive(limit);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.suspects().kill_all();
    }
}
