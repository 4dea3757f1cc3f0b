//! Package information and installation with npm.

use crate::console::Console;
use crate::error::CommandError;
use crate::package_name::PackageName;
use crate::screen;
use indicatif::{ProgressBar, ProgressStyle};
use opencode_run_core::FailureKind;
use opencode_run_markdown::visible;
use opencode_run_process::Helper;
use opencode_runner::supervisor;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// The timeout of an installation: 150 MB over a slow connection.
const INSTALL_TIMEOUT: Duration = Duration::from_mins(30);
/// The timeout of a request to the registry.
const VIEW_TIMEOUT: Duration = Duration::from_mins(2);
/// The limit on the registry's description of a package, in bytes; real ones have some kB.
const MAX_VIEW: u64 = 4 << 20;

/// A published package, as the registry describes it.
#[derive(Debug, Deserialize)]
pub(super) struct Published {
    pub(super) version: String,
    #[serde(rename = "dist.integrity")]
    pub(super) integrity: String,
    #[serde(default)]
    license: Option<String>,
    #[serde(default, rename = "_npmUser")]
    publisher: Option<serde_json::Value>,
    #[serde(default)]
    maintainers: Option<serde_json::Value>,
    #[serde(default)]
    repository: Option<serde_json::Value>,
}

impl Published {
    /// Describes who publishes the package, in one line.
    pub(super) fn describe(&self, name: &PackageName) -> String {
        let text = |value: &Option<serde_json::Value>| match value.as_ref()? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Object(fields) => {
                Some(fields.get("url").or_else(|| fields.get("name"))?.as_str()?.to_owned())
            }
            serde_json::Value::Array(all) => {
                Some(all.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(", "))
            }
            _ => None,
        };
        let unknown = || "unknown".to_owned();
        let publisher = text(&self.publisher).or_else(|| text(&self.maintainers)).unwrap_or_else(unknown);
        let repository = text(&self.repository).unwrap_or_else(unknown);
        let license = self.license.clone().unwrap_or_else(unknown);
        visible(&format!(
            "{name}: publisher {publisher}, repository {repository}, licence {license}, integrity {}",
            self.integrity
        ))
    }
}

fn failed(why: &str) -> CommandError {
    CommandError::new(FailureKind::Opencode, format!("npm could not install opencode: {why}"))
        .hint("check npm's registry and proxy settings (`npm ping`), then run `opencode-run setup` again")
}

fn not_started(error: &std::io::Error) -> CommandError {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            CommandError::new(FailureKind::Opencode, "npm was not found, which is needed to install opencode")
                .hint("install Node.js (which brings npm), or install opencode yourself and name it with --opencode")
        }
        _ => failed(&error.to_string()),
    }
}

/// Asks the registry for a package, `NAME` or `NAME@VERSION`; `None` if it does not exist.
///
/// # Errors
///
/// If npm is missing, fails for another reason, or returns an unexpected answer.
pub(super) async fn view(package: &str) -> Result<Option<Published>, CommandError> {
    let fields = ["version", "dist.integrity", "license", "_npmUser", "maintainers", "repository"];
    let arguments = ["view", package].into_iter().chain(fields).chain(["--json"]).map(OsStr::new);
    let here = std::env::temp_dir();
    let mut npm =
        Helper::start("npm", arguments, &here, supervisor::current().as_ref()).map_err(|error| not_started(&error))?;
    let mut answer = Vec::new();
    let stdout = npm.take_stdout();
    let stderr = npm.take_stderr();
    let reading = async {
        let Some(stdout) = stdout else { return Ok(()) };
        stdout.take(MAX_VIEW).read_to_end(&mut answer).await.map(drop)
    };
    let reading = async { tokio::join!(reading, discard(stderr)).0 };
    let read = tokio::time::timeout(VIEW_TIMEOUT, reading).await;
    read.map_err(|_| failed("the registry does not answer"))?.map_err(|error| failed(&error.to_string()))?;
    let status = npm.wait().await.map_err(|error| failed(&error.to_string()))?;
    let value: serde_json::Value = serde_json::from_slice(&answer).map_err(|_| failed("its answer is not JSON"))?;
    match (status.success(), value["error"]["code"].as_str()) {
        (_, Some("E404")) => Ok(None),
        (false, code) => Err(failed(code.unwrap_or("it gave no reason"))),
        (true, _) => serde_json::from_value(value).map(Some).map_err(|error| failed(&error.to_string())),
    }
}

/// Installs a package into a directory. Dropping the future, as a signal does, ends npm's process tree.
///
/// # Errors
///
/// If npm is missing or fails, or takes too long.
pub(super) async fn install(folder: &Path, package: &str, console: Console) -> Result<(), CommandError> {
    let progress = progress(console);
    let arguments = ["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=http", "--prefix"];
    let arguments = arguments.map(OsStr::new).into_iter().chain([folder.as_os_str(), package.as_ref()]);
    // npm looks for a project from the current directory upwards.
    let mut npm =
        Helper::start("npm", arguments, folder, supervisor::current().as_ref()).map_err(|error| not_started(&error))?;
    let mut errors = Vec::new();
    let stdout = npm.take_stdout();
    let stderr = npm.take_stderr();
    let reading = async {
        let Some(stderr) = stderr else { return };
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with("npm error") {
                errors.push(line);
            } else {
                let line: String = line.trim_start_matches("npm ").chars().take(70).collect();
                progress.set_message(visible(&line));
            }
        }
    };
    let in_time = tokio::time::timeout(INSTALL_TIMEOUT, async { tokio::join!(reading, discard(stdout)) }).await;
    in_time.map_err(|_| failed(&format!("it took longer than {} minutes", INSTALL_TIMEOUT.as_secs() / 60)))?;
    let status = npm.wait().await.map_err(|error| failed(&error.to_string()))?;
    progress.finish_and_clear();
    if status.success() {
        return Ok(());
    }
    errors.truncate(5);
    Err(failed(&if errors.is_empty() { status.to_string() } else { errors.join("; ") }))
}

/// Reads a pipe to its end, so that it never blocks its writer.
async fn discard(pipe: Option<impl AsyncRead + Unpin>) {
    if let Some(mut pipe) = pipe {
        // A broken pipe has nothing more to read.
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.ok();
    }
}

fn progress(console: Console) -> ProgressBar {
    if console.quiet || !screen::can_draw() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(120));
    progress
}

/// The installed packages, as npm lists them.
#[derive(Deserialize)]
struct Installed {
    packages: BTreeMap<String, InstalledPackage>,
}

#[derive(Deserialize)]
struct InstalledPackage {
    #[serde(default)]
    integrity: Option<String>,
}

/// Compares the integrity of installed packages with the expected one.
///
/// # Errors
///
/// If one differs, or npm's list is missing.
pub(super) fn check_integrity(folder: &Path, expected: &[(&str, &str)]) -> Result<(), CommandError> {
    let broken = |why: String| CommandError::new(FailureKind::Opencode, why).hint("check npm's registry setting");
    let list = std::fs::read(folder.join("node_modules/.package-lock.json"))
        .map_err(|error| broken(format!("npm did not list the installed packages: {error}")))?;
    let installed: Installed = serde_json::from_slice(&list)
        .map_err(|error| broken(format!("npm did not list the installed packages: {error}")))?;
    for (name, expected) in expected {
        let package = installed.packages.get(&format!("node_modules/{name}"));
        let integrity = package.and_then(|package| package.integrity.as_deref());
        if integrity.is_some_and(|integrity| integrity != *expected) {
            return Err(broken(format!("the installed package {name} is not the expected one: its integrity differs")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_integrity_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("node_modules")).unwrap();
        let list = r#"{"packages": {"node_modules/opencode-ai": {"integrity": "sha512-a"}}}"#;
        std::fs::write(folder.path().join("node_modules/.package-lock.json"), list).unwrap();
        assert!(check_integrity(folder.path(), &[("opencode-ai", "sha512-a"), ("missing", "sha512-c")]).is_ok());
        assert!(check_integrity(folder.path(), &[("opencode-ai", "sha512-b")]).is_err());
        assert!(check_integrity(Path::new("/nowhere"), &[]).is_err());
    }

    #[test]
    fn publisher_is_described_in_one_line() {
        let answer = r#"{"version": "2.0.14", "dist.integrity": "sha512-a", "maintainers": ["a <a@x>", "b"],
            "repository": {"type": "git", "url": "git+https://x/y.git"}}"#;
        let published: Published = serde_json::from_str(answer).unwrap();
        let name: PackageName = "x@2.0.14".parse().unwrap();
        assert_eq!(
            published.describe(&name),
            "x@2.0.14: publisher a <a@x>, b, repository git+https://x/y.git, licence unknown, integrity sha512-a"
        );
    }
}
