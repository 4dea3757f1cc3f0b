//! Model sources from the file that was named, or from a `.env` that is found, and who can read their keys there.

use super::args::TaskArgs;
use super::console::Console;
use super::error::CommandError;
use super::found_file::{FoundFile, Trust};
use opencode_run_core::FailureKind;
use opencode_runner::ModelSource;
use std::path::{Path, PathBuf};

/// The name of the file that is looked for in the current directory.
pub(crate) const FOUND_FILE: &str = ".env";

/// The model sources of a file.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) source: ModelSource,
    /// The files in which their keys stand.
    pub(crate) key_files: KeyFiles,
}

/// The files in which the keys of model sources stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyFiles(pub(crate) Vec<PathBuf>);

impl KeyFiles {
    /// Returns those of the sources of a file: that file itself, and those that it names.
    pub(crate) fn of(file: &Path, source: &ModelSource) -> Self {
        let has_keys = source.iter().any(|(_, config)| config.api_key.is_some());
        let others = source.iter().filter_map(|(_, config)| config.api_key_file.clone());
        let mut files: Vec<_> = has_keys.then(|| file.to_owned()).into_iter().chain(others).collect();
        files.sort();
        files.dedup();
        Self(files)
    }

    /// Warns of the first of them that an agent in this directory comes upon, or that others can read, and names the way out.
    pub(crate) fn warn(&self, task_dir: &Path) {
        if let Some(warning) = self.0.iter().find_map(|file| warning(file, task_dir)) {
            Console::warning(&warning);
        }
    }
}

fn warning(file: &Path, task_dir: &Path) -> Option<String> {
    let shown = file.display();
    // What is no file is gone when it has been read.
    let place = file.canonicalize().ok().filter(|place| place.is_file())?;
    if task_dir.canonicalize().is_ok_and(|task_dir| place.starts_with(task_dir)) {
        let way_out = "keep it elsewhere and name it with --config, or let MODEL_<TYPE>_APIKEY_COMMAND give the key";
        return Some(format!("{shown} holds a key, and is where the agent works: {way_out}"));
    }
    others_can_read(file).then(|| format!("{shown} holds a key, and other users can read it: chmod 600 {shown}"))
}

/// Whether users other than the owner can read a file.
#[cfg(unix)]
pub(crate) fn others_can_read(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

/// Whether users other than the owner can read a file, which is not known here.
#[cfg(not(unix))]
pub(crate) fn others_can_read(_: &Path) -> bool {
    false
}

/// How many warnings of one file are shown: a file that is full of them is not for us.
const MOST_WARNINGS: usize = 20;

/// Reads the model sources that the arguments ask for.
///
/// # Errors
///
/// If a file that was named cannot be used to the letter, or one that was only found is not used and a source of it is asked for.
pub(crate) fn read(args: &TaskArgs, console: Console) -> Result<Sources, CommandError> {
    read_from(args.config.as_deref(), args.no_env, args.model_source_type.is_some(), console)
}

/// Reads the model sources of the file that was named, else of the one that is found. It runs on a thread of its own in a runtime.
///
/// A file that was only found is announced, and used if it is the user's own or was allowed: a cloned repository may bring
/// one unnoticed.
///
/// # Errors
///
/// If a file that was named cannot be used to the letter, or one that was only found is not used and is needed.
pub(crate) fn read_from(
    named: Option<&Path>,
    no_env: bool,
    is_needed: bool,
    console: Console,
) -> Result<Sources, CommandError> {
    if let Some(file) = named {
        let source = ModelSource::from_env_file(file).map_err(|error| {
            CommandError::of(FailureKind::Config, &error).hint("correct the file, or leave --config out")
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
    // This thread does not belong to the runtime, and may wait for git.
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

/// What to do about a found file that is not used.
pub(crate) const ALLOW_HINT: &str =
    "if you trust it, run `opencode-run allow .env` once, or name it with --config; --no-env ignores it";

fn unclear(reason: &str, summary: &str) -> CommandError {
    let message = format!("./{FOUND_FILE} is not used, since {reason}: {summary}");
    CommandError::new(FailureKind::Config, message).hint(ALLOW_HINT)
}

fn warn_of_lines(found: &FoundFile) {
    let warnings = &found.content.warnings;
    for warning in warnings.iter().take(MOST_WARNINGS) {
        Console::warning(&warning.to_string());
    }
    if let Some(more) = warnings.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
        Console::warning(&format!("{FOUND_FILE}: and {more} more like these"));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_can_be_read_is_warned_of_with_a_way_out() {
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
        assert!(of("task/.env", 0o600).unwrap().contains("where the agent works: "));
        assert_eq!(warning(&home.path().join("gone"), &task), None);
        // The task's directory may be known by another name.
        std::os::unix::fs::symlink(&task, home.path().join("link")).unwrap();
        assert!(warning(&home.path().join("task/.env"), &home.path().join("link")).is_some());
    }

    #[test]
    fn keys_stand_in_the_file_and_in_those_that_it_names() {
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
