//! Builds a script for `fake-opencode`.

use crate::Sandbox;
use crate::fake_log::{Invocation, fake_log};
use crate::or_panic::OrPanic;
use crate::pids::{Pids, Spawned};
use crate::script::{Act, POINTER_SUFFIX, SCRIPT_VARIABLE, Script, beside};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A script under construction.
#[derive(Debug, Clone)]
pub struct FakeScript {
    script: Script,
    path: PathBuf,
    bin: PathBuf,
}

impl FakeScript {
    /// Starts a script in this sandbox; `bin` is `fake_opencode_bin!()`.
    pub fn new(sandbox: &Sandbox, bin: impl Into<PathBuf>) -> Self {
        Self::named(sandbox, bin, "fake")
    }

    /// Starts a script with a name, so that a sandbox can have several.
    pub fn named(sandbox: &Sandbox, bin: impl Into<PathBuf>, name: &str) -> Self {
        Self { script: Script::default(), path: sandbox.path(format!("{name}.json")), bin: bin.into() }
    }

    /// Sets the output of `--version`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.script.version = version.into();
        self
    }

    /// Makes it report the version of an opencode 2, whose `serve --stdio` it plays.
    #[must_use]
    pub fn opencode2(self) -> Self {
        self.version("opencode v2.0.14")
    }

    /// Sets the value of `{{session}}` for command lines without `--session`.
    #[must_use]
    pub fn session(mut self, session: impl Into<String>) -> Self {
        self.script.session = session.into();
        self
    }

    /// Adds the acts of the next invocation of a subcommand such as `run` or `session list`.
    #[must_use]
    pub fn on(mut self, command: &str, acts: impl IntoIterator<Item = Act>) -> Self {
        self.script.commands.entry(command.to_owned()).or_default().push(acts.into_iter().collect());
        self
    }

    /// Makes the next invocation of a subcommand replay a recording.
    #[must_use]
    pub fn replay(self, command: &str, recording: &str) -> Self {
        self.on(command, [Act::Replay { recording: recording.to_owned() }])
    }

    /// Writes the script, and beside it an executable that is the fake with this script.
    ///
    /// # Panics
    ///
    /// If they cannot be written.
    #[must_use]
    #[track_caller]
    pub fn write(self) -> Fake {
        let json = serde_json::to_string_pretty(&self.script).or_panic("write the script as JSON");
        fs::write(&self.path, json).or_panic(format_args!("write {}", self.path.display()));
        let dir = self.path.with_extension("bin");
        fs::create_dir_all(&dir).or_panic(format_args!("make {}", dir.display()));
        // A link instead of a shell script: a shell would repair `PWD` and so hide a wrong one.
        let link = dir.join("opencode");
        symlink(&self.bin, &link).or_panic(format_args!("link {}", link.display()));
        let pointer = beside(&link, POINTER_SUFFIX);
        fs::write(&pointer, self.path.as_os_str().as_bytes()).or_panic(format_args!("write {}", pointer.display()));
        Fake { path: self.path, link, bin: self.bin }
    }
}

/// A script on disk, ready to be run.
#[derive(Debug, Clone)]
pub struct Fake {
    path: PathBuf,
    link: PathBuf,
    bin: PathBuf,
}

impl Fake {
    /// Returns an executable named `opencode` that is the fake with this script, regardless of the environment.
    ///
    /// It is a symbolic link, and the file beside it names the script: a program that resolves the link must pass
    /// [`Fake::env`].
    #[must_use]
    pub fn executable(&self) -> &Path {
        &self.link
    }

    /// Returns the directory that contains only that executable, for use in `PATH`.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        self.link.parent().unwrap_or(Path::new("/"))
    }

    /// Returns the compiled fake, for callers that pass [`Fake::env`] themselves.
    #[must_use]
    pub fn raw_bin(&self) -> &Path {
        &self.bin
    }

    /// Returns the environment variable that names the script, and its value.
    #[must_use]
    pub fn env(&self) -> (&'static str, &Path) {
        (SCRIPT_VARIABLE, &self.path)
    }

    /// Returns the path of the script; its log, its pids file and its state are beside it.
    #[must_use]
    pub fn script_path(&self) -> &Path {
        &self.path
    }

    /// Returns the logged invocations so far.
    ///
    /// # Panics
    ///
    /// If the log cannot be read.
    #[must_use]
    #[track_caller]
    pub fn log(&self) -> Vec<Invocation> {
        fake_log(&beside(&self.path, "log"))
    }

    /// Returns the invocations of one subcommand so far.
    ///
    /// # Panics
    ///
    /// If the log cannot be read.
    #[must_use]
    #[track_caller]
    pub fn log_of(&self, command: &str) -> Vec<Invocation> {
        self.log().into_iter().filter(|invocation| invocation.command == command).collect()
    }

    /// Returns the processes that the fake spawned so far.
    ///
    /// # Panics
    ///
    /// If the pids file cannot be read.
    #[must_use]
    #[track_caller]
    pub fn spawned(&self) -> Vec<Spawned> {
        Pids::new(beside(&self.path, "pids")).read().or_panic("read the fake's pids file")
    }
}
