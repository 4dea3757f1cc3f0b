//! A private, tested opencode, installed with npm.

use crate::args::SetupArgs;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::TextKind;
use crate::watch;
use indicatif::{ProgressBar, ProgressStyle};
use opencode_run_core::FailureKind;
use opencode_run_markdown::visible;
use opencode_run_process::{Helper, Locator, create_private_dir_all, find_untrusted};
use opencode_runner::TESTED_OPENCODE;
use opencode_runner::paths;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};

/// The packages that were tested, by npm's own checksums of them. A package that is not here was not seen by us, and npm
/// holds it against the registry's word alone.
const CHECKSUMS: [(&str, &str); 3] = [
    ("opencode-ai", "sha512-58P1ffLRXiAY4QeoABqUjqf6DEzm1ihpovvn9Ad+oOLbLiwK/rf88wruT9IATJ7AtNjmi8iA7pC8tN4o5y799Q=="),
    (
        "opencode-linux-x64",
        "sha512-q/t/3p2CTxOT9y2kvjesb/LZab2+1eqlhhWA02Be6mjTtmYtNBcBsrI5yDo4Fw7ZSPBW2oyMIGMNRqiKQjiAWw==",
    ),
    (
        "opencode-linux-x64-baseline",
        "sha512-1KQGBiiDDeL/VHHbHkOvvFo8Jr97WT5+C1tear+p7IcDTnXgVHXqIjU4O4jM4mHQzykTP2i884FCnW5LDa+zCA==",
    ),
];

/// How long npm may take: 150 MB over a slow line.
const NPM_LIMIT: Duration = Duration::from_mins(30);
/// The name of the file that says what was installed.
const RECEIPT: &str = "installed.json";

/// What was installed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Receipt {
    version: String,
    /// The checksum of the executable.
    sha256: String,
}

/// Installs opencode and prints where it is.
pub(crate) async fn setup(args: &SetupArgs, console: Console) -> Code {
    match install(args.force, console).await {
        Ok(path) => super::print(TextKind::Plain, |out| writeln!(out, "{}", path.display())).await,
        Err(error) => {
            Console::error(&error);
            Code::of_kind(error.kind)
        }
    }
}

/// Installs the tested opencode, unless it is there and whole, and returns where it is.
///
/// # Errors
///
/// If there is no npm, or it fails, or what it brings is not what was tested. Then what was there before still is.
pub(crate) async fn install(force: bool, console: Console) -> Result<PathBuf, CommandError> {
    let (Some(target), Some(executable)) = (paths::installation_dir(), paths::installed_opencode()) else {
        return Err(
            CommandError::new(FailureKind::Config, "there is no home directory to install into").hint("set HOME")
        );
    };
    let folder = target.parent().unwrap_or(&target);
    let io = |error: std::io::Error| {
        CommandError::new(FailureKind::Config, format!("cannot install into {}: {error}", folder.display()))
            .hint("make room and check the permissions, or set XDG_CACHE_HOME to another folder")
    };
    create_private_dir_all(folder).map_err(io)?;
    let was_untrusted = find_untrusted(&executable).is_some();
    take_back(folder)?;
    // Two at once would each find the other's half; the second finds the first one's whole.
    let _lock = lock(&folder.join(".lock")).await.map_err(io)?;
    // Other users may have changed more files than the receipt covers.
    if !force && !was_untrusted && is_whole(&target, &executable) {
        console.note(&format!("opencode {TESTED_OPENCODE} is installed already"));
        return Ok(executable);
    }
    let staging = tempfile::Builder::new().prefix(".installing-").tempdir_in(folder).map_err(io)?;
    npm_install(staging.path(), console).await?;
    check_packages(staging.path())?;

    let staged = staging.path().join("node_modules/.bin/opencode");
    let locator = Locator::default().explicit(Some(staged.clone())).supervised_by(watch::watcher());
    let opencode = locator.locate().await.map_err(|error| {
        CommandError::new(FailureKind::Opencode, format!("npm installed an opencode that does not work: {error}"))
            .hint("npm may have been told not to run install scripts (ignore-scripts): allow them and run setup again")
    })?;
    if opencode.version().to_string() != TESTED_OPENCODE {
        let message = format!("npm installed opencode {} instead of {TESTED_OPENCODE}", opencode.version());
        return Err(CommandError::new(FailureKind::Opencode, message));
    }
    let receipt = Receipt { version: TESTED_OPENCODE.to_owned(), sha256: checksum(&staged).map_err(io)? };
    let receipt = serde_json::to_vec_pretty(&receipt).unwrap_or_default();
    std::fs::write(staging.path().join(RECEIPT), receipt).map_err(io)?;
    if target.exists() {
        std::fs::remove_dir_all(&target).map_err(io)?;
    }
    std::fs::rename(staging.keep(), &target).map_err(io)?;
    console.note(&format!("opencode {TESTED_OPENCODE} is installed"));
    Ok(executable)
}

/// Takes from other users the permission to write to our own folders, and checks what is above them.
///
/// # Errors
///
/// If other users can still change the folder.
fn take_back(folder: &Path) -> Result<(), CommandError> {
    #[cfg(unix)]
    if let Some(cache) = paths::cache_dir() {
        use std::os::unix::fs::PermissionsExt;
        for own in folder.ancestors().take_while(|place| place.starts_with(&cache)) {
            // If that fails, the check below finds it.
            std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o700)).ok();
        }
    }
    let Some(untrusted) = find_untrusted(folder) else { return Ok(()) };
    let error =
        CommandError::new(FailureKind::Config, format!("cannot install into {}: {untrusted}", folder.display()));
    let hint = format!(
        "take it from them (`chmod go-w {}`), or set XDG_CACHE_HOME to another folder",
        untrusted.place.display()
    );
    Err(error.hint(hint))
}

async fn lock(path: &Path) -> std::io::Result<File> {
    let path = path.to_owned();
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).write(true).truncate(false).open(path)?;
        file.lock()?;
        Ok(file)
    });
    locked.await.map_err(std::io::Error::other)?
}

/// Whether what is there is what was installed, byte by byte.
fn is_whole(target: &Path, executable: &Path) -> bool {
    let receipt = || -> Option<Receipt> { serde_json::from_slice(&std::fs::read(target.join(RECEIPT)).ok()?).ok() };
    receipt().is_some_and(|receipt| {
        receipt.version == TESTED_OPENCODE && checksum(executable).is_ok_and(|sum| sum == receipt.sha256)
    })
}

fn checksum(file: &Path) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => hash.update(&chunk[..read]),
        }
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").ok();
    }
    Ok(text)
}

/// Installs with npm. Dropping the future, as a signal does, ends npm and all that it has started.
async fn npm_install(folder: &Path, console: Console) -> Result<(), CommandError> {
    let failed = |why: String| {
        CommandError::new(FailureKind::Opencode, format!("npm could not install opencode: {why}"))
            .hint("check npm's registry and proxy settings (`npm ping`), then run `opencode-run setup` again")
    };
    console.note(&format!("installing opencode {TESTED_OPENCODE} with npm (about 150 MB)"));
    let progress = progress(console);
    let package = format!("opencode-ai@{TESTED_OPENCODE}");
    let arguments = ["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=http", "--prefix"];
    let arguments = arguments.map(OsStr::new).into_iter().chain([folder.as_os_str(), package.as_ref()]);
    // npm looks for a project from the current directory upwards.
    let mut npm =
        Helper::start("npm", arguments, folder, watch::watcher().as_ref()).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                CommandError::new(FailureKind::Opencode, "npm was not found, which is needed to install opencode").hint(
                    "install Node.js (which brings npm), or install opencode yourself and name it with --opencode",
                )
            }
            _ => failed(error.to_string()),
        })?;
    let mut errors = Vec::new();
    if let Some(stderr) = npm.take_stderr() {
        let mut lines = BufReader::new(stderr).lines();
        let reading = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("npm error") {
                    errors.push(line);
                } else {
                    let line: String = line.trim_start_matches("npm ").chars().take(70).collect();
                    progress.set_message(visible(&line));
                }
            }
        };
        let in_time = tokio::time::timeout(NPM_LIMIT, reading).await;
        in_time.map_err(|_| failed(format!("it took longer than {} minutes", NPM_LIMIT.as_secs() / 60)))?;
    }
    let status = npm.wait().await.map_err(|error| failed(error.to_string()))?;
    progress.finish_and_clear();
    if status.success() {
        return Ok(());
    }
    errors.truncate(5);
    Err(failed(if errors.is_empty() { status.to_string() } else { errors.join("; ") }))
}

fn progress(console: Console) -> ProgressBar {
    if console.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(120));
    progress
}

/// What npm says that it installed.
#[derive(Deserialize)]
struct Installed {
    packages: BTreeMap<String, Package>,
}

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    integrity: Option<String>,
}

/// Holds the packages that came against the ones that were tested.
fn check_packages(folder: &Path) -> Result<(), CommandError> {
    let broken = |why: String| CommandError::new(FailureKind::Opencode, why).hint("check npm's registry setting");
    let list = std::fs::read(folder.join("node_modules/.package-lock.json"))
        .map_err(|error| broken(format!("npm does not say what it installed: {error}")))?;
    let installed: Installed = serde_json::from_slice(&list)
        .map_err(|error| broken(format!("npm does not say what it installed: {error}")))?;
    for (name, tested) in CHECKSUMS {
        let package = installed.packages.get(&format!("node_modules/{name}"));
        let came = package.and_then(|package| package.integrity.as_deref());
        if came.is_some_and(|came| came != tested) {
            return Err(broken(format!("the package {name} {TESTED_OPENCODE} is not the one that was tested")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(integrity: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("node_modules")).unwrap();
        let list = format!(r#"{{"packages": {{"node_modules/opencode-ai": {{"integrity": "{integrity}"}}}}}}"#);
        std::fs::write(folder.path().join("node_modules/.package-lock.json"), list).unwrap();
        folder
    }

    #[test]
    fn a_package_that_is_not_the_tested_one_is_refused() {
        assert!(check_packages(folder_with(CHECKSUMS[0].1).path()).is_ok());
        assert!(check_packages(folder_with("sha512-other").path()).is_err());
        assert!(check_packages(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn only_what_the_receipt_says_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("opencode");
        std::fs::write(&executable, "x").unwrap();
        assert!(!is_whole(folder.path(), &executable));
        let receipt = Receipt { version: TESTED_OPENCODE.to_owned(), sha256: checksum(&executable).unwrap() };
        std::fs::write(folder.path().join(RECEIPT), serde_json::to_vec(&receipt).unwrap()).unwrap();
        assert!(is_whole(folder.path(), &executable));
        std::fs::write(&executable, "y").unwrap();
        assert!(!is_whole(folder.path(), &executable));
    }
}
