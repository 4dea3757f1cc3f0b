//! Runs one turn.

use crate::args::{OutputArgs, OutputFormat, PermissionArg, RunArgs, TaskArgs, TransportArg};
use crate::attachments::Attachments;
use crate::console::Console;
use crate::error::{CommandError, gone_current_directory};
use crate::exit_code::Code;
use crate::models::{self, KeyFiles, Sources};
use crate::output::{OutputError, Printer, report};
use crate::signals::Signals;
use crate::turn_session::{Presentation, TurnSession};
use crate::{input_file, message, surroundings, turn};
use opencode_run_core::{FailureKind, Prompt, SessionId};
use opencode_run_process::find_untrusted;
use opencode_runner::supervisor;
use opencode_runner::transcript::check_place;
use opencode_runner::{Runner, RunnerBuilder, Transport, default_journals};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The maximum size of a schema in bytes; it is sent with every turn.
const MAX_SCHEMA_BYTES: u64 = 1 << 20;

/// The prepared parts of a turn, or the error of preparing it.
pub(crate) type Prepared = Result<(Arc<Runner>, Prompt, Attachments), CommandError>;

/// Runs one turn and prints it.
pub(crate) async fn run(args: RunArgs, signals: Signals, console: Console) -> Code {
    carry_out(&args, Instant::now(), prepare(&args, console), signals, console).await
}

/// Runs a turn once it is prepared, and prints it. Its time counts from `since`.
pub(crate) async fn carry_out(
    args: &RunArgs,
    since: Instant,
    preparing: impl Future<Output = Prepared>,
    mut signals: Signals,
    console: Console,
) -> Code {
    let output = &args.output;
    // `--no-wait` prints its own progress reports.
    let console = if output.no_wait { console.without_live() } else { console };
    console.wait_for("locating opencode");
    let mut printer = if args.json_schema.is_some() {
        Printer::of_schema(output.output_format, output.print_markdown)
    } else {
        Printer::new(output.output_format, output.no_wait || output.print_markdown)
    };
    printer = printer.rendering(output.plain, console);
    let prepared = tokio::select! {
        prepared = within(args.task.timeout, since, Box::pin(preparing)) => prepared,
        _ = signals.reach(1) => return interrupted(args, None, &signals, &mut printer, console).await,
    };
    // The copies of attached files are deleted after the turn.
    let (runner, prompt, _attachments) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            console.end_live();
            return refuse(args, None, &error, &mut printer).await;
        }
    };
    let code = run_prepared(&runner, (prompt, since), args, &signals, &mut printer, console).await;
    close(&runner, code).await
}

/// Limits the preparation of a turn to its time limit, counted from `since`: a file may be a pipe without a writer,
/// and a server may not answer.
///
/// # Errors
///
/// The error of `preparing`, or a timeout.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    since: Instant,
    preparing: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    // The task that enforces the limit knows the cause and reports it first.
    let ends = |limit: Duration| since.checked_add(limit.saturating_add(Duration::from_millis(200)));
    let Some((limit, end)) = limit.and_then(|limit| Some((limit, ends(limit)?))) else { return preparing.await };
    tokio::time::timeout_at(end, preparing).await.unwrap_or_else(|_| {
        let message = format!("the turn did not begin within the time limit of {limit:?}");
        let hint = "raise --timeout; if stdin or a file that an option names is a pipe, check that its writer ends";
        Err(CommandError::new(FailureKind::Timeout, message).hint(hint))
    })
}

/// Runs the turn and prints it.
async fn run_prepared(
    runner: &Arc<Runner>,
    turn: (Prompt, Instant),
    args: &RunArgs,
    signals: &Signals,
    printer: &mut Printer,
    console: Console,
) -> Code {
    let output = &args.output;
    let presentation = Presentation {
        reports_progress: output.no_wait,
        transcript: output.save_markdown.as_ref(),
        prints_transcript: output.print_markdown,
        notes_text_beside_value: args.json_schema.is_some()
            && output.output_format == OutputFormat::Text
            && !output.print_markdown,
        is_only_turn: true,
        is_ephemeral: args.task.ephemeral,
    };
    match (TurnSession { runner, signals, console, presentation }).turn(turn, printer).await {
        Ok(Some(presented)) => presented.code,
        not_begun => {
            // A directory in which nothing happened is useless; if it stays, that is harmless.
            runner.task_dir().remove_if_untouched().ok();
            match not_begun {
                Err(error) => refuse(args, Some(runner), &error, printer).await,
                Ok(_) => interrupted(args, Some(runner), signals, printer, console).await,
            }
        }
    }
}

/// Closes the runner, and returns the exit code of the command.
pub(crate) async fn close(runner: &Runner, code: Code) -> Code {
    match runner.close().await {
        Ok(()) => code,
        Err(error) => {
            Console::error(&error.into());
            if code == Code::OK { Code::TURN_FAILED } else { code }
        }
    }
}

/// Reports that no turn ran.
pub(crate) async fn refuse(
    args: &RunArgs,
    runner: Option<&Runner>,
    error: &CommandError,
    printer: &mut Printer,
) -> Code {
    Console::error(error);
    nothing(&report::of_error(args.task.name(), runner, error), Code::of_kind(error.kind), printer).await
}

/// Prints a report without a turn.
async fn nothing(report: &report::Report<'_>, code: Code, printer: &mut Printer) -> Code {
    match printer.end(report, Some("")).await {
        Err(OutputError::Gone) => Code::PIPE,
        _ => code,
    }
}

/// Reports that a signal arrived before a turn ran.
pub(crate) async fn interrupted(
    args: &RunArgs,
    runner: Option<&Runner>,
    signals: &Signals,
    printer: &mut Printer,
    console: Console,
) -> Code {
    console.end_live();
    turn::note_interrupted_early(console);
    let report = report::of_interruption(args.task.name(), runner);
    nothing(&report, signals.code().unwrap_or(Code::INTERRUPT), printer).await
}

/// Does everything that can fail before a turn starts, cheap and harmless steps first.
async fn prepare(args: &RunArgs, console: Console) -> Prepared {
    let message = message::compose(&args.words, args.message.as_deref()).await?;
    prepare_turn(args, message, console, |builder| builder).await
}

/// Prepares a turn with this message, on a runner that was modified by `change`.
pub(crate) async fn prepare_turn(
    args: &RunArgs,
    message: String,
    console: Console,
    change: impl FnOnce(RunnerBuilder) -> RunnerBuilder,
) -> Prepared {
    check_transcript_path(&args.output)?;
    let attachments = Attachments::read(&args.files).await?;
    let schema = match &args.json_schema {
        Some(file) => Some(read_schema(file).await?),
        None => None,
    };
    if args.task.permission == Some(PermissionArg::Ask) {
        let error = CommandError::usage("only `chat` on a terminal can ask for permissions");
        return Err(error.hint("use --permission allow or deny"));
    }
    let (builder, key_files) = read_builder(&args.task, console).await?;
    let runner = change(builder).build().await?;
    note_transport(&runner);
    key_files.warn(runner.task_dir().path());
    surroundings::warn(&args.task, &runner).await;
    if runner.task_dir().was_made() && !runner.task_dir().is_own_root() {
        Console::warning("git is missing, so the instructions of a repository around the task are not excluded");
    }
    let mut prompt = Prompt::new(message);
    prompt.files.clone_from(&attachments.files);
    prompt.schema = schema;
    Ok((Arc::new(runner), prompt, attachments))
}

/// Reports how opencode is driven, if that is not the default.
pub(crate) fn note_transport(runner: &Runner) {
    if let Some(why) = runner.why_no_server() {
        Console::warning(&format!("{why}; each turn runs in its own process, as with --transport run"));
    }
}

/// Reads a JSON Schema.
async fn read_schema(file: &Path) -> Result<Value, CommandError> {
    let failed = |why: String| CommandError::usage(format!("{} is not a JSON Schema: {why}", file.display()));
    let unread = |why: String| CommandError::usage(format!("the schema {} cannot be read: {why}", file.display()));
    let text = input_file::read_text(file, MAX_SCHEMA_BYTES).await.map_err(unread)?;
    match serde_json::from_str(&text) {
        Ok(schema @ Value::Object(_)) => Ok(schema),
        Ok(_) => Err(failed("it is not a JSON object".to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

// A transcript that cannot be written is detected before a turn is paid for.
fn check_transcript_path(output: &OutputArgs) -> Result<(), CommandError> {
    let Some(Some(path)) = &output.save_markdown else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let why = match check_place(path) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => "it is a directory".to_owned(),
        Err(error) => error.to_string(),
        Ok(_) if !folder.is_dir() => "its directory does not exist".to_owned(),
        Ok(_) => return Ok(()),
    };
    let error = CommandError::usage(format!("the transcript cannot be written to {}: {why}", path.display()));
    Err(error.hint("name a file; --print-markdown prints the transcript on stdout"))
}

/// Builds a runner from the arguments on another thread: a named file may be a pipe with a slow writer, and signals
/// must be handled meanwhile.
///
/// # Errors
///
/// If a named file cannot be used.
pub(crate) async fn read_builder(args: &TaskArgs, console: Console) -> Result<(RunnerBuilder, KeyFiles), CommandError> {
    let args = args.clone();
    let read = tokio::task::spawn_blocking(move || builder(&args, console)).await;
    read.map_err(|error| CommandError::of(FailureKind::Io, &error))?
}

/// Builds a runner from the arguments, and returns the files that contain keys of its model sources.
///
/// # Errors
///
/// If a named file cannot be used.
fn builder(args: &TaskArgs, console: Console) -> Result<(RunnerBuilder, KeyFiles), CommandError> {
    let place = args.dir.as_deref().or(args.workspace.as_deref()).unwrap_or(Path::new("."));
    let is_needed = args.session.is_none() || args.dir.is_some();
    if let Some(error) = gone_current_directory(place).filter(|_| is_needed) {
        return Err(error);
    }
    let Sources { source, key_files } = models::read(args, console)?;
    surroundings::make_private();
    let mut builder =
        Runner::builder().model_source(source).options(args.turn_options(args.instructions.read_context()?));
    if let Some(name) = &args.task_name {
        builder = builder.task_name(name);
    }
    if let Some(workspace) = &args.workspace {
        builder = builder.workspace(workspace);
    }
    if let Some(dir) = &args.dir {
        builder = builder.dir(dir);
    }
    if let Some(session) = &args.session {
        builder = builder.session(SessionId::new(session));
    }
    if let Some(transport) = args.transport {
        builder = builder.transport(match transport {
            TransportArg::Serve => Transport::Serve,
            TransportArg::Run => Transport::Run,
        });
    }
    if let Some(url) = &args.attach {
        builder = builder.attach(url);
    }
    if args.lean {
        console.note(
            "lean: no language servers, formatters, plugins, sharing, file watcher and snapshots (no undo); Bun uses less \
             memory, also in programs that the agent runs on it",
        );
    }
    builder = builder.project_config(!args.no_project_config);
    builder = builder.lean(args.lean).ephemeral(args.ephemeral).isolated(args.isolated).gateway(!args.no_gateway);
    if let Some(opencode) = &args.opencode {
        builder = builder.opencode(opencode);
    }
    if let Some(journals) = default_journals().filter(|_| !args.no_journal) {
        match check_journals(&journals) {
            Ok(()) => builder = builder.journal(journals),
            // The turn does not need a journal.
            Err(CommandError { message, hint, .. }) => {
                Console::warning(&format!("{message}: {}", hint.unwrap_or_default()));
            }
        }
    }
    Ok((builder.supervisor(supervisor::current()), key_files))
}

/// Rejects journals that other users can change, because `resume` trusts their content.
///
/// # Errors
///
/// If other users can change them.
pub(crate) fn check_journals(journals: &Path) -> Result<(), CommandError> {
    let Some(untrusted) = find_untrusted(journals) else { return Ok(()) };
    let error = CommandError::new(FailureKind::Config, format!("the journals are not used: {untrusted}"));
    let place = untrusted.place.display();
    Err(error
        .hint(format!("deny them write access (`chmod go-w {place}`), or set XDG_STATE_HOME to another directory")))
}
