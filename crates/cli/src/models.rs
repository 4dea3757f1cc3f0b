//! Reads model sources from a named or auto-discovered file, and checks who can read their keys.

use super::args::TaskArgs;
use super::console::Console;
use super::error::CommandError;
use super::found_file::{FoundFile, Trust};
use opencode_run_core::FailureKind;
use opencode_runner::ModelSource;
use std::path::{Path, PathBuf};

/// The name of the auto-discovered file in the current directory.
pub(crate) const FOUND_FILE: &str = ".env";

/// The model sources of a file.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) source: ModelSource,
    /// The files that contain their keys.
    pub(crate) key_files: KeyFiles,
}

/// The files that contain keys of model sources.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyFiles(pub(crate) Vec<PathBuf>);

impl KeyFiles {
    /// Returns the key files of the sources of a file: that file itself, and those that it names.
    pub(crate) fn of(file: &Path, source: &ModelSource) -> Self {
        let has_keys = source.iter().any(|(_, config)| config.api_key.is_some());
        let others = source.iter().filter_map(|(_, config)| config.api_key_file.clone());
        let mut files: Vec<_> = has_keys.then(|| file.to_owned()).into_iter().chain(others).collect();
        files.sort();
        files.dedup();
        Self(files)
    }

    /// Warns about the first key file that is in the agent's directory or readable by other users, with a fix.
    pub(crate) fn warn(&self, task_dir: &Path) {
        if let Some(warning) = self.0.iter().find_map(|file| warning(file, task_dir)) {
            Console::warning(&warning);
        }
    }
}

fn warning(file: &Path, task_dir: &Path) -> Option<String> {
    let shown = file.display();
    // A pipe or device is gone after it was read.
    let place = file.canonicalize().ok().filter(|place| place.is_file())?;
    if task_dir.canonicalize().is_ok_and(|task_dir| place.starts_with(task_dir)) {
        let way_out = "keep it elsewhere and name it with --config, or let MODEL_<TYPE>_APIKEY_COMMAND print the key";
        return Some(format!("{shown} contains a key and is in the agent's working directory: {way_out}"));
    }
    others_can_read(file).then(|| format!("{shown} contains a key, and other users can read it: chmod 600 {shown}"))
}

/// Returns whether users other than the owner can read a file.
#[cfg(unix)]
pub(crate) fn others_can_read(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

/// Returns `false`, because file permissions are unknown on this system.
#[cfg(not(unix))]
pub(crate) fn others_can_read(_: &Path) -> bool {
    false
}

/// The maximum number of warnings about a file: one that is full of them belongs to another program.
const MAX_WARNINGS: usize = 20;

/// Reads the model sources that the arguments select.
///
/// # Errors
///
/// If a named file is invalid, or an auto-discovered one is not used although one of its sources is requested.
pub(crate) fn read(args: &TaskArgs, console: Console) -> Result<Sources, CommandError> {
    read_from(args.config.as_deref(), args.no_env, args.model_source_type.is_some(), console)
}

/// Reads the model sources of the named file, otherwise of the auto-discovered one. Must run on a separate thread
/// of a runtime.
///
/// An auto-discovered file is announced, and used if it is the user's own or was allowed, because a cloned
/// repository may contain one.
///
/// # Errors
///
/// If a named file is invalid, or an auto-discovered one is not used although it is needed.
pub(crate) fn read_from(
    named: Option<&Path>,
    no_env: bool,
    is_needed: bool,
    console: Console,
) -> Result<Sources, CommandError> {
    if let Some(file) = named {
        let source = ModelSource::from_env_file(file).map_err(|error| {
            CommandError::of(FailureKind::Config, &error).hint("correct the file, or remove --config")
        })?;
        return Ok(Sources { key_files: KeyFiles::of(file, &source), source });
    }
    if no_env {
        return Ok(Sources::default());
    }
    let found = match FoundFile::read(Path::new(FOUND_FILE)) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Sources::default()),
        Err(error) => {
            Console::warning(&format!("{FOUND_FILE} cannot be read, so it is not used: {error}"));
            return Ok(Sources::default());
        }
    };
    if found.content.source.is_empty() {
        warn_of_lines(&found);
        return Ok(Sources::default());
    }
    let summary = found.summary();
    // This thread does not belong to the runtime, so it may block on git.
    match tokio::runtime::Handle::current().block_on(found.trust()) {
        Trust::Allowed => console.note(&format!("model sources from ./{FOUND_FILE}: {summary}")),
        Trust::Own => Console::warning(&format!(
            "model sources from ./{FOUND_FILE}, which was found and not named: {summary} (`opencode-run allow` ends this \
             warning, --no-env ignores the file)"
        )),
        Trust::Unclear(reason) if is_needed => return Err(unclear(&reason, &summary)),
        Trust::Unclear(reason) => {
            let CommandError { message, hint, .. } = unclear(&reason, &summary);
            Console::warning(&format!("{message}; {}", hint.unwrap_or_default()));
            return Ok(Sources::default());
        }
    }
    warn_of_lines(&found);
    let source = found.content.source;
    Ok(Sources { key_files: KeyFiles::of(Path::new(FOUND_FILE), &source), source })
}

/// The hint for an auto-discovered file that is not used.
pub(crate) const ALLOW_HINT: &str =
    "if you trust it, run `opencode-run allow .env` once, or name it with --config; --no-env ignores it";

fn unclear(reason: &str, summary: &str) -> CommandError {
    let message = format!("./{FOUND_FILE} is not used because {reason}: {summary}");
    CommandError::new(FailureKind::Config, message).hint(ALLOW_HINT)
}

fn warn_of_lines(found: &FoundFile) {
    let warnings = &found.content.warnings;
    for warning in warnings.iter().take(MAX_WARNINGS) {
        Console::warning(&warning.to_string());
    }
    if let Some(more) = warnings.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        Console::warning(&format!("{FOUND_FILE}: and {more} more like these"));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn readable_key_causes_warning() {
        let home = tempfile::tempdir().unwrap();
        let task = home.path().join("task");
        std::fs::create_dir(&task).unwrap();
        let of = |place: &str, mode| {
            let file = home.path().join(place);
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            warning(&file, &task)
        };
        assert_eq!(of("mine.env", 0o600), None);
        assert!(of("open.env", 0o640).unwrap().contains("other users can read it: chmod 600 "));
        assert!(of("task/.env", 0o600).unwrap().contains("in the agent's working directory: "));
        assert_eq!(warning(&home.path().join("gone"), &task), None);
        // The task's directory may be reached by another path.
        std::os::unix::fs::symlink(&task, home.path().join("link")).unwrap();
        assert!(warning(&home.path().join("task/.env"), &home.path().join("link")).is_some());
    }

    #[test]
    fn key_files_include_named_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models.env");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_from(Some(&file), false, false, Console { quiet: true, live: None }).unwrap().key_files.0
        };
        let head = "MODEL_CODE_BASEURL=https://x/v1\nMODEL_CODE_MODEL=m\n";
        assert_eq!(of(head), Vec::<PathBuf>::new());
        assert_eq!(of(&format!("{head}MODEL_CODE_APIKEY=sk-1\n")), std::slice::from_ref(&file));
        assert_eq!(of(&format!("{head}MODEL_CODE_APIKEY_FILE=key\n")), [folder.path().join("key")]);
        assert_eq!(of(&format!("{head}MODEL_CODE_APIKEY_COMMAND='pass show x'\n")), Vec::<PathBuf>::new());
    }
}
