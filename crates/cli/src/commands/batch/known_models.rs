//! Checks the models of tasks before a batch starts.

use crate::advice::sentence;
use crate::args::BatchRunArgs;
use crate::error::CommandError;
use opencode_run_batch::TaskSet;
use opencode_run_core::{FailureKind, Remedy};
use opencode_run_process::{Launch, known_models, suggestions};
use opencode_runner::locate_opencode;
use opencode_runner::supervisor;

/// The maximum number of tasks of a model that are read again.
const MAX_TASKS_READ: usize = 1000;

/// Refuses a model that opencode does not know, if a task on it brings no configuration of its own. The configuration of a project
/// can define models: a task with `dir` or `repo` fails by itself.
///
/// # Errors
///
/// If a model is unknown, or no opencode is found.
pub(super) async fn check(tasks: TaskSet, args: &BatchRunArgs) -> Result<TaskSet, CommandError> {
    let named: Vec<_> = tasks.sources().into_iter().filter(|name| name.contains('/')).collect();
    if named.is_empty() {
        return Ok(tasks);
    }
    let variables: Vec<_> = std::env::vars_os().collect();
    let opencode = locate_opencode(args.opencode.clone(), &variables, supervisor::current())
        .await
        .map_err(|error| CommandError::new(FailureKind::Opencode, error.to_string()).hint(sentence(&error.remedy())))?;
    let launch = Launch::new(opencode, variables).supervised_by(supervisor::current());
    // The temp directory belongs to no project.
    let known = match known_models(&launch, &std::env::temp_dir()).await {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!("the models of the tasks cannot be checked: {error}");
            return Ok(tasks);
        }
    };
    let ignores_project = args.no_project_config;
    let checking = tokio::task::spawn_blocking(move || {
        for model in named.iter().filter(|model| !known.contains(model)) {
            if let Some(user) = user_without_project(&tasks, model, ignores_project) {
                return Err(unknown(model, &user, &suggestions(model, known.iter().map(String::as_str))));
            }
        }
        Ok(tasks)
    });
    checking.await.map_err(|error| CommandError::of(FailureKind::Io, &error))?
}

/// Finds a task on a model that brings no configuration, or the option `--model` if the tasks are not known yet.
fn user_without_project(tasks: &TaskSet, model: &str, ignores_project: bool) -> Option<String> {
    if tasks.is_empty() {
        return Some("--model".to_owned());
    }
    let of_model = (0..tasks.len()).filter(|task| tasks.source(*task).as_deref() == Some(model));
    let mut read = of_model.take(MAX_TASKS_READ).filter_map(|task| tasks.load_task(task).ok());
    let found = read.find(|read| ignores_project || (read.task.dir.is_none() && read.task.repo.is_none()));
    found.map(|found| format!("task `{}`", found.task.id))
}

fn unknown(model: &str, user: &str, near: &[&str]) -> CommandError {
    let error = CommandError::new(FailureKind::Config, format!("{user}: opencode does not know the model `{model}`"));
    let near = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(", ")) };
    error.hint(format!("{near}{}", sentence(&Remedy::ListModels)))
}
