//! The tasks and the settings of a batch, from the arguments.

use crate::args::{BatchRunArgs, PermissionArg};
use crate::error::CommandError;
use crate::input_file;
use opencode_run_batch::run::{Redo, Throttles};
use opencode_run_batch::scheduler::Settings;
use opencode_run_batch::{
    BatchTask, IdHash, LoadOptions, Permission, Problem, Selection, Shard, TaskSet, TasksFileError, Template,
};
use opencode_run_core::{FailureKind, Limit, ModelSourceType, PermissionPolicy, TurnOptions};
use opencode_runner::ModelSource;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The maximum size of a message template in bytes.
const MAX_TEMPLATE_BYTES: u64 = 16 << 20;
/// The estimated memory of a task without opencode's servers, which limits the default number of parallel tasks.
const TASK_MEMORY: u64 = 200 << 20;

/// Reads the options by which tasks are loaded.
pub(super) fn options(args: &BatchRunArgs) -> Result<LoadOptions, CommandError> {
    let mut options = LoadOptions::default();
    options.parse.strict = args.strict;
    if let Some(file) = &args.message_template {
        let failed =
            |why: String| CommandError::usage(format!("the template {} cannot be used: {why}", file.display()));
        let text = input_file::read(file, MAX_TEMPLATE_BYTES).map_err(failed)?;
        options.parse.template = Some(Arc::new(Template::new(&text).map_err(|error| failed(error.to_string()))?));
    }
    options.selection = selection(args)?;
    options.defaults = defaults(args)?;
    Ok(options)
}

fn selection(args: &BatchRunArgs) -> Result<Selection, CommandError> {
    let mut selection = Selection::default();
    if let Some(filter) = &args.filter {
        let filter = regex::Regex::new(filter)
            .map_err(|error| CommandError::usage(format!("--filter is not a regular expression: {error}")))?;
        selection.filter = Some(filter);
    }
    selection.slice = args.slice;
    selection.shuffle = args.shuffle;
    selection.limit = args.limit;
    selection.repeat = args.repeat;
    selection.models.clone_from(&args.model);
    selection.shard = shard(args)?;
    Ok(selection)
}

/// Returns the shard, which `auto` takes from the environment.
pub(super) fn shard(args: &BatchRunArgs) -> Result<Option<Shard>, CommandError> {
    let Some(text) = &args.shard else { return Ok(None) };
    let shard = match text.as_str() {
        "auto" => Shard::of_environment(|name| std::env::var(name).ok()),
        text => text.parse(),
    };
    shard.map(Some).map_err(|error| {
        CommandError::usage(error.to_string()).hint("name the shard, such as --shard 3/16, or omit --shard")
    })
}

fn defaults(args: &BatchRunArgs) -> Result<BatchTask, CommandError> {
    let mut task = BatchTask::default();
    task.model_source_type = args.model_source_type;
    task.context = args.instructions.read_context()?;
    task.agent.clone_from(&args.instructions.agent);
    task.permission = match args.permission {
        Some(PermissionArg::Allow) => Some(Permission::Allow),
        Some(PermissionArg::Deny) => Some(Permission::Deny),
        Some(PermissionArg::Ask) => {
            let error = CommandError::usage("a batch cannot ask for permissions");
            return Err(error.hint("use --permission allow or deny"));
        }
        None => None,
    };
    task.setup.clone_from(&args.setup);
    task.check.clone_from(&args.check);
    Ok(task)
}

/// Returns the options of all turns.
pub(super) fn turn_options(args: &BatchRunArgs) -> TurnOptions {
    let mut options = TurnOptions::default();
    options.variant.clone_from(&args.instructions.variant);
    options.permissions = Some(PermissionPolicy::Deny);
    options.timeout = args.timeout.map(Limit::At);
    options.idle_timeout = Some(args.idle_timeout);
    options.max_cost_usd = args.task_max_cost.map(Limit::At);
    options.max_requests = args.task_max_requests.map(Limit::At);
    options.max_tokens = args.task_max_tokens.map(Limit::At);
    options
}

/// Loads and checks the tasks. `None` as the path means that they are streamed.
pub(super) fn tasks(path: Option<&Path>, options: &LoadOptions) -> Result<TaskSet, CommandError> {
    let loaded = match path {
        Some(path) => TaskSet::load(path, options),
        None => TaskSet::streamed(options),
    };
    let tasks = loaded.map_err(|error| invalid(&error))?;
    // A shard may have no task.
    if tasks.is_empty() && path.is_some() && options.selection.shard.is_none() {
        let error = CommandError::usage("no task is selected");
        return Err(error.hint("--filter is a regular expression for ids, and --slice counts from 0"));
    }
    Ok(tasks)
}

/// Creates the error for an invalid tasks file.
pub(super) fn invalid(error: &TasksFileError) -> CommandError {
    let hint = error.hint().map(ToOwned::to_owned);
    let command_error = CommandError::usage(error.to_string());
    match hint {
        Some(hint) => command_error.hint(hint),
        None => command_error,
    }
}

/// Creates the error for a tasks file that was changed.
pub(super) fn problem(problem: &Problem) -> CommandError {
    let error = CommandError::new(FailureKind::Usage, problem.to_string());
    match &problem.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Returns the tasks that run again. `failed` and `all` are not ids.
///
/// # Errors
///
/// If an id is not among the selected tasks. Not checked in a shard or on stdin, because the task may be elsewhere or
/// arrive later.
pub(super) fn redo(args: &BatchRunArgs, tasks: &TaskSet, is_streamed: bool) -> Result<Redo, CommandError> {
    let is = |word: &str| args.redo.iter().any(|which| which == word);
    let named = args.redo.iter().filter(|which| !matches!(which.as_str(), "all" | "failed"));
    let mut unknown: HashMap<_, _> = named.map(|id| (IdHash::of(id), id)).collect();
    let ids: HashSet<_> = unknown.keys().copied().collect();
    if !unknown.is_empty() && !is_streamed && args.shard.is_none() {
        for task in 0..tasks.len() {
            unknown.remove(&tasks.id_hash(task));
        }
        if let Some(id) = unknown.values().min() {
            let error = CommandError::usage(format!("--redo: no selected task has the id `{id}`"));
            return Err(error.hint(
                "check --filter and --slice; the ids are in the results (with --repeat they end with #1, #2, ...)",
            ));
        }
    }
    Ok(if is("all") {
        Redo::All
    } else if is("failed") {
        Redo::FailedAnd(ids)
    } else {
        Redo::Ids(ids)
    })
}

/// Returns the settings of the scheduler.
pub(super) fn settings(args: &BatchRunArgs) -> Settings {
    let mut settings = Settings::default();
    settings.jobs = args.jobs.map_or_else(default_jobs, usize::from);
    settings.max_attempts = args.max_attempts;
    settings.retry_delay = args.retry_delay;
    settings.max_retry_delay = settings.max_retry_delay.max(args.retry_delay);
    settings.fail_fast = args.fail_fast;
    settings.max_cost = args.max_cost;
    settings.max_tokens = args.max_tokens_total;
    settings
}

/// Returns the throttles of the model sources, with the rates of the user.
///
/// # Errors
///
/// If a rate is for a role without a model source of its own, or nothing would enforce it.
pub(super) fn throttles(args: &BatchRunArgs, sources: &ModelSource) -> Result<Throttles, CommandError> {
    if !args.rate.is_empty() && (args.no_gateway || sources.is_empty()) {
        let why = if args.no_gateway { "there is no gateway" } else { "there is no model source" };
        let error = CommandError::new(FailureKind::Config, format!("--rate has no effect: {why}"));
        return Err(error.hint("a rate needs model sources from a file that are reached through the gateway"));
    }
    if let Some(role) = args.rate.iter().filter_map(|rate| rate.role).find(|role| !sources.has_model(*role)) {
        let error = CommandError::new(FailureKind::Config, format!("--rate: no model source `{role}` is configured"));
        let known: Vec<_> = sources.configured().into_iter().map(ModelSourceType::as_str).collect();
        return Err(error.hint(format!("configured: {}", known.join(", "))));
    }
    let of = |wanted: Option<ModelSourceType>| args.rate.iter().rev().find(|rate| rate.role == wanted);
    Ok(Throttles::new(sources, |role| of(Some(role)).or_else(|| of(None)).map(|rate| rate.interval)))
}

/// Returns the default number of parallel tasks: two for each core, if the free memory allows.
fn default_jobs() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let free = std::fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let by_memory = free.map_or(usize::MAX, |kib| usize::try_from((kib << 10) / TASK_MEMORY).unwrap_or(usize::MAX));
    (cores * 2).min(by_memory).max(4)
}
