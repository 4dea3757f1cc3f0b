//! Finds the opencode executable and checks its version.

use crate::protocol::{Generation, Unsupported};
use crate::resource_limits::resource_hint;
use crate::version_cache::VersionCache;
use crate::{Untrusted, Version, find_untrusted, program_query};
use opencode_run_containment::blocking;
use opencode_run_containment::supervisor::{self, Supervisor};
use opencode_run_core::Remedy;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The timeout of `opencode --version`. It takes half a second, and longer on a cold disk or a loaded machine.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);

/// An executable of a supported opencode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opencode {
    path: PathBuf,
    version: Version,
    generation: Generation,
}

impl Opencode {
    /// Returns an executable whose version is already known, without running it.
    ///
    /// # Errors
    ///
    /// [`LocateError::TooOld`] or [`LocateError::TooNew`].
    pub fn known(path: PathBuf, version: Version) -> Result<Self, LocateError> {
        match Generation::of(version) {
            Ok(generation) => Ok(Self { path, version, generation }),
            Err(Unsupported::TooOld { oldest }) => Err(LocateError::TooOld { path, version, oldest }),
            Err(Unsupported::TooNew) => Err(LocateError::TooNew { path, version }),
        }
    }

    /// Returns the path of the executable.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the version of opencode.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the generation of opencode.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }
}

/// The reason why opencode cannot be used; see [`remedy`](Self::remedy).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// opencode is neither on the search path nor installed by `setup`.
    #[error("opencode was not found: it is not on PATH")]
    NotFound,
    /// The requested path does not exist.
    #[error("there is no opencode at {}", path.display())]
    NoSuchFile {
        /// The requested path.
        path: PathBuf,
    },
    /// Other users can change the installed executable, so it is not run.
    #[error("{} is not run: {untrusted}", path.display())]
    Untrusted {
        /// The installed executable.
        path: PathBuf,
        /// The file or directory that other users can change.
        untrusted: Untrusted,
    },
    /// The path cannot be executed: it is a directory, or a file without the permission.
    #[error("{} cannot be executed: {why}", path.display())]
    NotExecutable {
        /// The requested path.
        path: PathBuf,
        /// The reason why it cannot be executed.
        why: String,
    },
    /// The executable does not answer `--version` like opencode.
    #[error("{} does not answer --version: {why}", path.display())]
    Broken {
        /// The executable that was found.
        path: PathBuf,
        /// The actual answer to `--version`.
        why: String,
    },
    /// The version is older than the oldest supported one.
    #[error("{} is opencode {version}: the oldest supported version is {oldest}", path.display())]
    TooOld {
        /// The executable that was found.
        path: PathBuf,
        /// The version of the executable.
        version: Version,
        /// The oldest supported version.
        oldest: Version,
    },
    /// The generation of this version is not supported yet.
    #[error("{} is opencode {version}: opencode 3 and later are not supported yet", path.display())]
    TooNew {
        /// The executable that was found.
        path: PathBuf,
        /// The version of the executable.
        version: Version,
    },
}

impl LocateError {
    /// Returns the remedy.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NotFound => Remedy::InstallOpencode,
            Self::NoSuchFile { .. } | Self::NotExecutable { .. } => Remedy::CorrectOpencodePath,
            Self::Untrusted { .. } => Remedy::ProtectOpencode,
            Self::Broken { why, .. } => resource_hint(why).map_or(Remedy::ReinstallOpencode, Remedy::advice),
            Self::TooOld { .. } | Self::TooNew { .. } => Remedy::UseTestedOpencode,
        }
    }
}

/// Finds opencode: the requested executable, else the first on the search path, else an installed one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Locator {
    explicit: Option<PathBuf>,
    search_path: Option<OsString>,
    installed: Option<PathBuf>,
    version_cache: Option<VersionCache>,
    supervisor: Option<Supervisor>,
}

impl Default for Locator {
    fn default() -> Self {
        Self {
            explicit: None,
            search_path: None,
            installed: None,
            version_cache: None,
            supervisor: supervisor::current(),
        }
    }
}

impl Locator {
    /// Searches the directories of `PATH`.
    #[must_use]
    pub fn from_path_variable(search_path: Option<OsString>) -> Self {
        Self { search_path, ..Self::default() }
    }

    /// Uses this executable and no other, if one is given.
    #[must_use]
    pub fn explicit(mut self, path: Option<PathBuf>) -> Self {
        self.explicit = path;
        self
    }

    /// Falls back to this executable if it exists.
    #[must_use]
    pub fn installed(mut self, path: PathBuf) -> Self {
        self.installed = Some(path);
        self
    }

    /// Caches the version of an executable in this file, so that it is queried only after a change.
    #[must_use]
    pub fn version_cache(mut self, file: PathBuf) -> Self {
        self.version_cache = Some(VersionCache::new(file));
        self
    }

    /// Sets or removes the supervisor of version queries; see [`Launch::supervised_by`](crate::Launch::supervised_by).
    #[must_use]
    pub fn supervised_by(mut self, supervisor: impl Into<Option<Supervisor>>) -> Self {
        self.supervisor = supervisor.into();
        self
    }

    /// Returns the absolute path of opencode, without running it.
    ///
    /// # Errors
    ///
    /// [`LocateError::NotFound`], [`LocateError::NoSuchFile`], [`LocateError::NotExecutable`] or [`LocateError::Untrusted`].
    pub fn find(&self) -> Result<PathBuf, LocateError> {
        if let Some(path) = &self.explicit {
            return check_explicit(path);
        }
        let on_path = || which::which_in_global("opencode", self.search_path.as_ref()).ok()?.next();
        if let Some(path) = on_path() {
            return Ok(path);
        }
        let path = self.installed.clone().filter(|path| path.is_file()).ok_or(LocateError::NotFound)?;
        match find_untrusted(&path) {
            Some(untrusted) => Err(LocateError::Untrusted { path, untrusted }),
            None => Ok(path),
        }
    }

    /// Finds opencode and queries its version, which takes half a second unless it is cached.
    ///
    /// # Errors
    ///
    /// A [`LocateError`] for each way in which there is no supported opencode.
    pub async fn locate(&self) -> Result<Opencode, LocateError> {
        let locator = self.clone();
        let find = move || {
            let path = locator.find()?;
            let version = locator.version_cache.as_ref().and_then(|cache| cache.get(&path));
            let executable = VersionCache::describe(&path);
            Ok((path, version, executable))
        };
        let (path, version, executable) = blocking::call(find).await?;
        if let Some(version) = version {
            return Opencode::known(path, version);
        }
        let version = query_version(&path, self.supervisor.as_ref())
            .await
            .map_err(|why| LocateError::Broken { path: path.clone(), why })?;
        if let Some(cache) = self.version_cache.clone() {
            let path = path.clone();
            blocking::call(move || cache.put(&path, executable.as_ref(), version)).await;
        }
        Opencode::known(path, version)
    }
}

fn check_explicit(path: &Path) -> Result<PathBuf, LocateError> {
    let not_executable = |why: &str| LocateError::NotExecutable { path: path.to_owned(), why: why.to_owned() };
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LocateError::NoSuchFile { path: path.to_owned() }),
        Err(error) => Err(not_executable(&error.to_string())),
        Ok(metadata) if metadata.is_dir() => Err(not_executable("it is a directory")),
        Ok(_) => {
            let absolute = std::path::absolute(path).map_err(|error| not_executable(&error.to_string()))?;
            which::which_global(&absolute).map_err(|_| not_executable("it lacks the execute permission"))
        }
    }
}

/// Queries the version of an executable. If it does not answer, it is queried again in a temporary home: opencode
/// creates its directories before anything else, so it fails in a home that is not writable, although a turn may not
/// need that home. A deleted current directory has the same effect.
///
/// # Errors
///
/// The first failed attempt.
async fn query_version(path: &Path, supervisor: Option<&Supervisor>) -> Result<Version, String> {
    let first = query_version_in(path, supervisor, None).await;
    let Err(why) = first else { return first };
    let Ok(home) = tempfile::Builder::new().prefix("opencode-run-version-").tempdir() else { return Err(why) };
    query_version_in(path, supervisor, Some(home.path())).await.map_err(|_| why)
}

async fn query_version_in(
    path: &Path,
    supervisor: Option<&Supervisor>,
    home: Option<&Path>,
) -> Result<Version, String> {
    let query = program_query::query(path, ["--version"], home, supervisor, VERSION_TIMEOUT)
        .await
        .map_err(|error| error.to_string())?;
    if let Some(status) = query.status.filter(|status| !status.success()) {
        let stderr = String::from_utf8_lossy(&query.stderr);
        let first: String = stderr.trim().lines().next().unwrap_or_default().chars().take(200).collect();
        return Err(format!("it exited with {status}{}{first}", if first.is_empty() { "" } else { ": " }));
    }
    String::from_utf8_lossy(&query.stdout).parse().map_err(|error: crate::ParseVersionError| error.to_string())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    async fn locate(path: PathBuf) -> Result<Opencode, LocateError> {
        Locator::default().explicit(Some(path)).locate().await
    }

    #[tokio::test]
    async fn each_failed_search_has_its_error() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name, text, mode| script(dir.path(), name, text, mode);

        assert!(matches!(Locator::default().find(), Err(LocateError::NotFound)));
        assert!(matches!(locate(dir.path().join("none")).await, Err(LocateError::NoSuchFile { .. })));
        assert!(matches!(locate(dir.path().to_owned()).await, Err(LocateError::NotExecutable { .. })));
        assert!(matches!(locate(at("plain", "", 0o600)).await, Err(LocateError::NotExecutable { .. })));
        assert!(matches!(locate(at("fails", "echo no >&2; exit 3", 0o700)).await, Err(LocateError::Broken { .. })));
        assert!(matches!(locate(at("silent", "", 0o700)).await, Err(LocateError::Broken { .. })));
        assert!(matches!(locate(at("old", "echo 0.9.1", 0o700)).await, Err(LocateError::TooOld { .. })));
        assert!(matches!(locate(at("early", "echo opencode v2.0.3", 0o700)).await, Err(LocateError::TooOld { .. })));
        assert!(matches!(locate(at("new", "echo opencode v3.0.0", 0o700)).await, Err(LocateError::TooNew { .. })));
        let second = locate(at("second", "echo opencode v2.0.14", 0o700)).await.unwrap();
        assert_eq!(second.version(), Version::new(2, 0, 14));
        let good = locate(at("good", "echo 1.18.33", 0o700)).await.unwrap();
        assert_eq!(good.version(), Version::new(1, 18, 33));
        assert!(good.path().is_absolute());
    }

    #[tokio::test]
    async fn version_is_queried_without_writable_home() {
        let dir = tempfile::tempdir().unwrap();
        let needs_home = "case \"$HOME$XDG_DATA_HOME\" in *opencode-run-version-*) echo 1.18.33;; *) exit 1;; esac";
        let opencode = locate(script(dir.path(), "opencode", needs_home, 0o700)).await.unwrap();
        assert_eq!(opencode.version(), Version::new(1, 18, 33));
    }

    #[tokio::test]
    async fn search_path_precedes_installed_opencode() {
        let dir = tempfile::tempdir().unwrap();
        let installed = script(dir.path(), "installed", "echo 1.18.33", 0o700);
        let locator = Locator::from_path_variable(Some(dir.path().into())).installed(installed.clone());
        assert_eq!(locator.find().unwrap(), installed);
        let on_path = script(dir.path(), "opencode", "echo 1.18.32", 0o700);
        assert_eq!(locator.find().unwrap(), on_path);
        assert!(Locator::default().installed(dir.path().join("none")).find().is_err());
    }

    #[test]
    fn errors_have_remedies() {
        let path = PathBuf::from("/x");
        let version = Version::new(2, 0, 0);
        for error in [LocateError::NotFound, LocateError::TooNew { path: path.clone(), version }] {
            assert!(matches!(error.remedy(), Remedy::InstallOpencode | Remedy::UseTestedOpencode), "{error}");
        }
        assert_eq!(LocateError::NoSuchFile { path }.remedy(), Remedy::CorrectOpencodePath);
    }
}
