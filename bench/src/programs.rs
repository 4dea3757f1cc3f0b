//! Builds the programs under test, so that they are never older than the source.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The paths of the programs that are measured.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "only the programs of this package use it")]
pub struct Programs {
    /// The command `opencode-run`.
    pub opencode_run: PathBuf,
    /// The scripted fake of opencode.
    pub fake: PathBuf,
    /// The real opencode, if there is one.
    pub opencode: Option<PathBuf>,
    /// The real opencode 2, if there is one.
    pub opencode2: Option<PathBuf>,
}

impl Programs {
    /// Builds the programs with the profile of this one. The real opencodes default to those used by the tests.
    ///
    /// # Errors
    ///
    /// If the build fails.
    pub fn build(opencode: Option<PathBuf>, opencode2: Option<PathBuf>) -> Result<Self, Box<dyn Error>> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--message-format", "json", "-p", "opencode-run", "-p", "opencode-run-tests"]);
        // Included so that all dependencies keep the features with which they were built.
        cargo.args(["-p", "opencode-run-bench", "--bin", "opencode-run", "--bin", "fake-opencode"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let built = cargo.current_dir(manifest).stderr(Stdio::inherit()).output()?;
        if !built.status.success() {
            return Err("the programs cannot be built".into());
        }
        let text = String::from_utf8_lossy(&built.stdout).into_owned();
        let executables: Vec<PathBuf> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
            .collect();
        let named = |name: &str| {
            let found = executables.iter().find(|path| path.file_stem().is_some_and(|stem| stem == name));
            found.cloned().ok_or_else(|| format!("cargo does not report the path of {name}"))
        };
        let opencode = opencode.or_else(opencode_run_tests::installed_opencode);
        let opencode2 = opencode2.or_else(opencode_run_tests::installed_opencode2);
        Ok(Self { opencode_run: named("opencode-run")?, fake: named("fake-opencode")?, opencode, opencode2 })
    }
}
