//! A batch that runs.

use super::progress::BatchProgress;
use super::{known_models, load};
use crate::args::{BatchRunArgs, ReportFormat};
use crate::commands::print::print_text;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::models::{self, Sources};
use crate::output::TextKind;
use crate::signals::Signals;
use crate::surroundings;
use opencode_run_batch::policy::MAX_CONFIGURATION_FAILURES;
use opencode_run_batch::run::{
    Batch, BatchFailure, BatchFolder, BatchOptions, ControlMessage, ControlRequest, HostRunner, HostRunnerOptions,
    Plan, PlanError, Redo, Summary, TaskLine, Throttles, serve,
};
use opencode_run_batch::scheduler::StopReason;
use opencode_run_batch::workspace::{REGISTRY, WorkspaceOptions};
use opencode_run_batch::{History, Ledger, LedgerError, LineError, TaskSet, Torn};
use opencode_run_core::{ErrorChain, FailureKind};
use opencode_runner::supervisor;
use opencode_runner::{Host, paths};
use serde_json::json;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The number of lines of stdin that are read ahead of the batch.
const READ_AHEAD: usize = 256;

/// Runs a batch to its end.
pub(super) async fn run(mut args: BatchRunArgs, mut signals: Signals, console: Console) -> Result<Code, CommandError> {
    // clap requires both.
    let (Some(tasks), Some(results)) = (args.tasks.take(), args.results.take()) else {
        return Err(CommandError::usage("a batch needs tasks and a file for the results"));
    };
    let preparing = Box::pin(prepare(Files { tasks, results }, args, console));
    let prepared = tokio::select! {
        prepared = preparing => prepared?,
        received = signals.reach(1) => return Ok(received.code.unwrap_or(Code::INTERRUPT)),
    };
    let Some(Prepared { batch, ledger, folder, input, format }) = prepared else { return Ok(Code::OK) };
    let (summary, code) = drive(batch, ledger, &folder, input, &signals, console).await;
    if let Some(format) = format {
        print_text(TextKind::Json, figures(&summary, format)).await?;
    }
    Ok(code)
}

/// Runs a batch with signals, requests at its socket and a display of its progress. Returns its figures and the exit code.
pub(crate) async fn drive(
    batch: Batch,
    ledger: Ledger,
    folder: &BatchFolder,
    input: Option<mpsc::Receiver<TaskLine>>,
    signals: &Signals,
    console: Console,
) -> (Summary, Code) {
    // A first signal lets running tasks finish.
    signals.disable_shutdown_timeout();
    let (controls, receiver) = mpsc::channel(16);
    let mut progress = BatchProgress::new(console);
    let mut observe = |batch: &Batch, event: opencode_run_batch::run::BatchEvent<'_>| progress.show(batch, &event);
    let socket = folder.socket();
    let summary = tokio::select! {
        summary = batch.run(input, receiver, &mut observe) => summary,
        never = listen(&socket, folder.path(), controls, signals.clone(), console) => match never {},
    };
    ledger.close();
    progress.end(&summary.status, summary.elapsed);
    let code = code(&summary, signals);
    report(&summary, console);
    (summary, code)
}

/// The files of a batch.
struct Files {
    tasks: PathBuf,
    results: PathBuf,
}

/// A batch that can run.
struct Prepared {
    batch: Batch,
    ledger: Ledger,
    folder: BatchFolder,
    input: Option<mpsc::Receiver<TaskLine>>,
    format: Option<ReportFormat>,
}

/// Performs everything that can fail before the first task starts. Returns `None` if there is nothing to run.
async fn prepare(files: Files, args: BatchRunArgs, console: Console) -> Result<Option<Prepared>, CommandError> {
    let args = Arc::new(args);
    let is_streamed = files.tasks == Path::new("-");
    let reading = Arc::clone(&args);
    let tasks_file = files.tasks.clone();
    let (options, tasks, sources) = blocking(move || {
        let options = load::options(&reading)?;
        let tasks = load::tasks((!is_streamed).then_some(tasks_file.as_path()), &options)?;
        let needs_source = reading.model_source_type.is_some();
        let sources = models::read_from(reading.config.as_deref(), reading.no_env, needs_source, console)?;
        check_sources(&tasks, &sources)?;
        Ok((options, tasks, sources))
    })
    .await?;
    let throttles = load::throttles(&args, &sources.source)?;
    let tasks = known_models::check(tasks, &args).await?;
    let redo = load::redo(&args, &tasks, is_streamed)?;
    if args.dry_run {
        let count = if is_streamed {
            "stdin is read when the batch runs".to_owned()
        } else {
            format!("{} tasks are valid", tasks.len())
        };
        console.note(&count);
        return Ok(None);
    }
    let folder = BatchFolder::of(&files.results).map_err(|error| CommandError::io(error.to_string()))?;
    let opening = files.results.clone();
    let made = folder.clone();
    let (ledger, history, torn) = blocking(move || {
        let opened = Ledger::open(&opening).map_err(|error| ledger_error(&error))?;
        let failed = |error| CommandError::usage(format!("{} cannot be created: {error}", made.path().display()));
        made.create().map_err(failed)?;
        Ok(opened)
    })
    .await?;
    if let Some(torn) = torn {
        warn_of(&torn);
    }
    let (tasks, plan) = plan(&args, &files.results, (tasks, history), redo, console).await?;
    if plan.to_run == 0 && !is_streamed {
        console.note(&format!("all {} tasks are done", plan.done));
    }
    let host = host(&args, &folder, &throttles).await?;
    let mut runner_options = runner_options(&args, tasks.base(), &folder, sources)?;
    runner_options.throttles = throttles;
    let runner = HostRunner::new(host, runner_options);
    let mut batch_options = BatchOptions::default();
    batch_options.shard = options.selection.shard;
    folder.path().clone_into(&mut batch_options.results_folder);
    batch_options.min_free = args.min_free;
    batch_options.max_memory = args.max_memory;
    batch_options.max_time = args.max_time;
    batch_options.load = options;
    let Some(writer) = ledger.writer() else { return Ok(None) };
    let batch = Batch::new(tasks, plan, writer, Arc::new(runner), batch_options);
    let input = is_streamed.then(stdin);
    Ok(Some(Prepared { batch, ledger, folder, input, format: args.output_format }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CommandError::of(FailureKind::Io, &error))?
}

/// Refuses a role without a model source before anything starts.
fn check_sources(tasks: &TaskSet, sources: &Sources) -> Result<(), CommandError> {
    for name in tasks.sources() {
        let Ok(role) = name.parse() else { continue };
        if !sources.source.has_model(role) {
            let error = CommandError::new(FailureKind::Config, format!("no model source `{role}` is configured"));
            return Err(error.hint(format!(
                "set MODEL_{}_BASEURL and MODEL_{}_MODEL in .env, or name the file with --config",
                role.as_str().to_uppercase(),
                role.as_str().to_uppercase()
            )));
        }
    }
    Ok(())
}

async fn plan(
    args: &BatchRunArgs,
    results: &Path,
    (tasks, history): (TaskSet, History),
    redo: Redo,
    console: Console,
) -> Result<(TaskSet, Plan), CommandError> {
    let resumes = args.resume || !args.redo.is_empty();
    let settings = load::settings(args);
    let results = results.to_owned();
    let (tasks, plan, lines) = blocking(move || {
        let lines = history.lines;
        let plan = Plan::new(&tasks, history, settings, resumes, redo).map_err(|error| match &error {
            PlanError::Tasks(problem) => load::problem(problem),
            PlanError::HasResults { lines } => {
                let error = CommandError::usage(format!("{} already has {lines} results", results.display()));
                error.hint("continue them with --resume, or name another file")
            }
            error => CommandError::usage(error.to_string()),
        })?;
        Ok((tasks, plan, lines))
    })
    .await?;
    if lines > 0 && plan.done + plan.to_run > 0 {
        let changed = plan.changed.len();
        console.note(&format!(
            "{} done, {} to run, {} of them again",
            plan.done,
            plan.to_run,
            plan.again + plan.redone
        ));
        if changed > 0 {
            let named: Vec<_> = plan.changed.iter().take(5).map(String::as_str).collect();
            let more = if changed > named.len() { ", ..." } else { "" };
            Console::warning(&format!("{changed} tasks were changed and run again: {}{more}", named.join(", ")));
        }
    }
    Ok((tasks, plan))
}

async fn host(args: &BatchRunArgs, folder: &BatchFolder, throttles: &Throttles) -> Result<Host, CommandError> {
    surroundings::make_private();
    let mut builder = Host::builder()
        .lean(args.lean)
        .project_config(!args.no_project_config)
        .gateway(!args.no_gateway)
        .supervisor(supervisor::current());
    if let Some(opencode) = &args.opencode {
        builder = builder.opencode(opencode);
    }
    if !args.keep_sessions {
        builder = builder.database(folder.database());
    }
    Ok(throttles.applied_to(builder).build().await?)
}

fn runner_options(
    args: &BatchRunArgs,
    base: &Path,
    folder: &BatchFolder,
    sources: Sources,
) -> Result<HostRunnerOptions, CommandError> {
    let cache = paths::cache_dir()
        .ok_or_else(|| CommandError::new(FailureKind::Config, "there is no home directory for the cache"))?;
    let keys: Vec<_> = sources.source.iter().filter_map(|(_, config)| config.api_key.clone()).collect();
    let mut workspaces = WorkspaceOptions::new(cache, folder.clones())
        .relative_to(base)
        .environment(std::env::vars_os(), keys.iter())
        .supervisor(supervisor::current())
        .fetch_timeout(args.clone_timeout);
    if let Some(state) = paths::state_dir() {
        workspaces = workspaces.registry(state.join(REGISTRY));
    }
    if let Some(base) = &args.repo_base {
        workspaces = workspaces.repository_base(base);
    }
    let mut options = HostRunnerOptions::new(folder.clone(), workspaces);
    options.sources = sources.source;
    options.turn = load::turn_options(args);
    options.keep = args.keep.into();
    options.start_timeout = args.start_timeout;
    options.setup_timeout = args.setup_timeout;
    options.check_timeout = args.check_timeout;
    Ok(options)
}

fn warn_of(torn: &Torn) {
    let Torn { line, bytes, moved_to, .. } = torn;
    Console::warning(&format!(
        "line {line} of the results was cut off by a crash: its {bytes} bytes were moved to {}, and its task runs again",
        moved_to.display()
    ));
}

fn ledger_error(error: &LedgerError) -> CommandError {
    let text = ErrorChain::new(error).to_string();
    let command_error = CommandError::usage(text);
    match error {
        LedgerError::Busy { .. } => command_error.hint("`opencode-run batch ctl RESULTS status` shows its progress"),
        LedgerError::Line(LineError::Version { .. }) => {
            command_error.hint("use the version of opencode-run that wrote the file, or name another file")
        }
        LedgerError::Line(_) => command_error.hint("correct or remove the line, or name another file with --results"),
        _ => command_error.hint("name a file in a writable directory"),
    }
}

/// Reads tasks from stdin, on a detached thread.
fn stdin() -> mpsc::Receiver<TaskLine> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        for (number, line) in (1..).zip(std::io::stdin().lock().split(b'\n')) {
            let Ok(line) = line else { return };
            if sender.blocking_send(TaskLine { number, line }).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Passes signals, and the requests that arrive at the socket, to the batch.
async fn listen(
    socket: &Path,
    private: &Path,
    controls: mpsc::Sender<ControlMessage>,
    mut signals: Signals,
    console: Console,
) -> std::convert::Infallible {
    let passing = controls.clone();
    let serving = async {
        if let Err(error) = serve(socket, private, controls).await {
            console.note(&format!("`batch ctl` cannot reach this batch: {error}"));
        }
        std::future::pending().await
    };
    let signalling = async {
        for count in 1.. {
            signals.reach(count).await;
            console.note(match count {
                1 => "no more tasks are started, and running tasks finish (signal again to interrupt them)",
                2 => "the running tasks are interrupted (signal again to kill them)",
                _ => "the running tasks are killed",
            });
            let (answer, _) = oneshot::channel();
            passing.send(ControlMessage { request: ControlRequest::Signal, answer }).await.ok();
        }
        std::future::pending().await
    };
    tokio::select! {
        never = serving => never,
        never = signalling => never,
    }
}

/// Returns the exit code of a batch.
fn code(summary: &Summary, signals: &Signals) -> Code {
    let status = &summary.status;
    match (&summary.error, status.stopped) {
        (Some(BatchFailure::Tasks(_)), _) => return Code::USAGE,
        (Some(_), _) => return Code::TURN_FAILED,
        (None, Some(StopReason::Interrupted)) => return signals.code().unwrap_or(Code::INTERRUPT),
        (None, Some(StopReason::Budget | StopReason::Deadline)) => return Code::TIME_LIMIT,
        (None, _) => {}
    }
    let totals = &status.totals;
    if totals.passed == status.tasks {
        if summary.rejected > 0 { Code::USAGE } else { Code::OK }
    } else if totals.counted() == 0 && totals.configuration > 0 {
        Code::CONFIG
    } else if totals.counted() == 0 && !status.stopped_sources.is_empty() {
        Code::OPENCODE
    } else {
        Code::TURN_FAILED
    }
}

/// Prints why a batch ended before its last task.
fn report(summary: &Summary, console: Console) {
    let status = &summary.status;
    if let Some(error) = &summary.error {
        Console::error(&match error {
            BatchFailure::Tasks(problem) => load::problem(problem),
            error => CommandError::io(error.to_string()),
        });
    }
    for source in &status.stopped_sources {
        let name = if source.is_empty() { "opencode's own model" } else { source };
        Console::warning(&format!(
            "{name}: {MAX_CONFIGURATION_FAILURES} tasks in a row failed because of opencode or their configuration, so no more \
             were started; `opencode-run doctor` checks both"
        ));
    }
    if summary.rejected > 0 {
        Console::warning(&format!("{} lines of stdin were rejected, see the warnings above", summary.rejected));
    }
    let why = match status.stopped {
        Some(StopReason::Budget) => "the budget of the batch is used up",
        Some(StopReason::Deadline) => "the time limit of the batch was reached",
        Some(StopReason::FailFast) => "too many tasks failed",
        _ => "",
    };
    if !why.is_empty() {
        Console::warning(why);
    }
    if status.not_run + status.delayed + status.totals.interrupted + status.totals.infrastructure > 0 {
        console.note("continue with --resume");
    }
}

/// Returns the figures for stdout.
fn figures(summary: &Summary, format: ReportFormat) -> String {
    let status = &summary.status;
    match format {
        ReportFormat::Text => super::progress::summary(status, summary.elapsed) + "\n",
        ReportFormat::Json => {
            let totals = &status.totals;
            let figures = json!({
                "tasks": status.tasks,
                "counted": totals.counted(),
                "not_run": status.not_run + status.delayed,
                "rejected": summary.rejected,
                "duration_ms": u64::try_from(summary.elapsed.as_millis()).unwrap_or(u64::MAX),
            });
            format!("{}\n", totals.merged_into(figures))
        }
    }
}
