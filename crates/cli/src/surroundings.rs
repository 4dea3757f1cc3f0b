//! The directories around a turn: which configuration opencode loads there, and who else can read them. Each
//! warning is printed once.

use crate::allowed::{Allowed, AllowedFiles};
use crate::args::TaskArgs;
use crate::console::Console;
use crate::warnings;
use etcetera::BaseStrategy;
use opencode_run_core::{Warning, WarningCode};
use opencode_run_process::{ProjectConfig, create_private_dir_all, refused_repository};
use opencode_runner::Runner;
use std::path::{Path, PathBuf};

/// Creates opencode's directories in the user's home with private permissions, because opencode creates them with
/// the umask. Existing ones stay unchanged, and failures are left to opencode.
pub(crate) fn make_private() {
    let Ok(places) = etcetera::choose_base_strategy() else { return };
    let state = places.state_dir().unwrap_or_else(|| places.data_dir());
    for place in [places.config_dir(), places.cache_dir(), state, data_dir(&places)] {
        create_private_dir_all(&place).ok();
    }
}

/// Returns the directory of opencode's sessions.
fn data_dir(places: &impl BaseStrategy) -> PathBuf {
    places.data_dir().join("opencode")
}

/// Warns about project configuration that can do more than instruct the model, and about sessions that other users
/// can read.
pub(crate) async fn warn(args: &TaskArgs, runner: &Runner) {
    if args.attach.is_some() {
        return;
    }
    let project =
        (!args.no_project_config && !runner.task_dir().was_made()).then(|| runner.task_dir().path().to_owned());
    let has_own_home = args.isolated;
    let warn = move || {
        if let Some(directory) = project {
            warn_of_project(&directory);
        }
        if !has_own_home {
            warn_of_readers();
        }
    };
    tokio::task::spawn_blocking(warn).await.ok();
    warn_of_owner(runner.task_dir().path()).await;
}

/// Warns about a repository that git refuses, because opencode then works without it.
async fn warn_of_owner(directory: &Path) {
    let Some(repository) = refused_repository(directory).await else { return };
    let repository = repository.display();
    let message = format!(
        "git refuses the repository {repository}, which belongs to another user: opencode works without its history and its snapshots"
    );
    let hint = format!("if you trust it: git config --global --add safe.directory '{repository}'");
    warnings::warn(Warning::new(WarningCode::RepositoryRefused, message).hint(hint));
}

fn warn_of_project(directory: &Path) {
    let Some(ProjectConfig { place, powers, sha256, .. }) = ProjectConfig::of(directory) else { return };
    let powers = powers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = format!("opencode obeys {}, which {powers}; --no-project-config ignores it", place.display());
    once(&Allowed { path: place, sha256 }, &message);
}

fn warn_of_readers() {
    let Ok(places) = etcetera::choose_base_strategy() else { return };
    let data = data_dir(&places);
    if others_can_enter(&data) {
        let message = format!("other users can read opencode's sessions: chmod 700 {}", data.display());
        once(&Allowed::new(&data, b"readers"), &message);
    }
}

/// Returns whether other users can enter a directory and all its parents.
pub(crate) fn others_can_enter(directory: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let is_open = |dir: &Path| dir.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0);
        directory.canonicalize().is_ok_and(|directory| directory.ancestors().all(is_open))
    }
    #[cfg(not(unix))]
    {
        let _ = directory;
        false
    }
}

/// Prints a warning unless it was printed before. If that cannot be recorded, it is printed each time.
fn once(what: &Allowed, message: &str) {
    let announced = AllowedFiles::announced();
    if announced.as_ref().is_some_and(|announced| announced.has(what)) {
        return;
    }
    Console::warning(message);
    if let Some(announced) = announced {
        announced.add(what).ok();
    }
}
