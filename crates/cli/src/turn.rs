//! Runs one turn on the terminal: prints it while it runs, handles signals, and determines the exit code.

use super::advice;
use super::commands::shutdown::SHUTDOWN_TIMEOUT;
use super::console::Console;
use super::error::CommandError;
use super::exit_code::Code;
use super::messages::report_event;
use super::output::{OutputError, Printer};
use super::signals::Signals;
use super::warnings;
use opencode_run_core::{EventItem, Events, FailureKind, Prompt, RunState, TurnFailure, TurnRecord};
use opencode_runner::{Runner, attachment_warnings};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The interval of reports about the start of a turn.
const START_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// The interval of the progress reports of `--no-wait`.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A turn that ran, with the command's view of it.
pub(crate) struct Finished {
    pub(crate) turn: Arc<TurnRecord>,
    /// The error of stdout, if any.
    pub(crate) output_error: Option<OutputError>,
    pub(crate) error: Option<CommandError>,
}

/// Runs a turn to its end and prints its progress. Its time counts from `since`. Returns `None` if a signal came
/// before it had begun.
///
/// # Errors
///
/// If the turn could not be started.
pub(crate) async fn run(
    runner: &Arc<Runner>,
    (prompt, since): (Prompt, Instant),
    printer: &mut Printer,
    signals: &Signals,
    console: Console,
    watched: bool,
) -> Result<Option<Finished>, CommandError> {
    let before = signals.count();
    let started = start(runner, (prompt, since), signals, console).await;
    if !matches!(started, Ok(true)) {
        console.end_live();
        return started.map(|_| None);
    }
    console.wait_for("waiting for the model");
    if let Some(live) = console.live {
        live.show_answer(printer.shared_answer());
    }
    // In a separate task: a blocked stdout must not delay the handling of signals.
    let ending = tokio::spawn(end_on_signals(Arc::clone(runner), signals.clone(), before, console));
    let watching = watched.then(|| tokio::spawn(watch(Arc::clone(runner))));

    let output_error = print_events(runner, printer, console).await.err();
    if output_error.is_some() {
        runner.interrupt();
    }
    let turn = runner.wait().await;
    console.end_live();
    ending.abort();
    if let Some(watching) = watching {
        watching.abort();
        state_line(runner);
    }
    let turn = turn.ok_or_else(|| CommandError::new(FailureKind::Protocol, "the turn left no record"))?;
    let error = turn
        .failure
        .as_ref()
        .map(|failure| advice::describe(failure, runner.model_of_last_turn().as_ref(), &runner.conversation()));
    Ok(Some(Finished { turn, output_error, error }))
}

/// Prints the events of a turn to the last one.
async fn print_events(runner: &Runner, printer: &mut Printer, console: Console) -> Result<(), OutputError> {
    let mut events = runner.lossless_events().with_unknown();
    while let Some(item) = next_item(&mut events, runner, printer).await? {
        let EventItem::Event(event) = item else { continue };
        let printing = async {
            printer.before(&event).await?;
            report_event(&event, console);
            if let Some(live) = console.live {
                live.apply(&event);
            }
            printer.event(&event).await
        };
        unless_stuck(runner, printing).await?;
    }
    Ok(())
}

/// Returns the next item of a turn. If it has to be awaited, the output is written before.
async fn next_item(
    events: &mut Events,
    runner: &Runner,
    printer: &mut Printer,
) -> Result<Option<EventItem>, OutputError> {
    tokio::select! {
        biased;
        item = events.next() => return Ok(item),
        () = std::future::ready(()) => {}
    }
    unless_stuck(runner, printer.flush()).await?;
    // Text streams faster than a person reads: on a terminal, the pieces of this interval are printed together.
    if let Some(interval) = printer.interval() {
        tokio::time::sleep(interval).await;
    }
    Ok(events.next().await)
}

/// Waits for a write until the turn's end and its timeout.
async fn unless_stuck(
    runner: &Runner,
    writing: impl Future<Output = Result<(), OutputError>>,
) -> Result<(), OutputError> {
    tokio::select! {
        biased;
        written = writing => written,
        () = output_timeout(runner) => Err(OutputError::Stuck),
    }
}

/// Starts a turn, unless a signal arrives before that. The first turn on a server waits for the server to start. A
/// long wait is reported.
async fn start(
    runner: &Runner,
    (prompt, since): (Prompt, Instant),
    signals: &Signals,
    console: Console,
) -> Result<bool, CommandError> {
    let report = |awaited: &str| {
        // The live view already shows this.
        if console.live.is_none() {
            console.note(&format!("waiting for {awaited}"));
        }
    };
    start_reporting(runner, (prompt, since), signals, report, |awaited| console.wait_for(awaited)).await
}

/// Starts a turn like [`start`]. Calls `report` every ten seconds with what the turn is waiting for, and `show` when
/// that changes.
async fn start_reporting(
    runner: &Runner,
    (prompt, since): (Prompt, Instant),
    signals: &Signals,
    report: impl Fn(&str),
    show: impl Fn(&str),
) -> Result<bool, CommandError> {
    let mut signals = signals.clone();
    let before = signals.count();
    let awaited = Cell::new("the key of the model source");
    let mut starting = std::pin::pin!(async {
        show("preparing the turn");
        let files = prompt.files.clone();
        let prepared = runner.prepare(prompt, since).await?;
        let model = runner.model_of_last_turn();
        for warning in attachment_warnings(files.iter().map(PathBuf::as_path), model.as_ref()) {
            warnings::warn(warning);
        }
        awaited.set("opencode to start");
        show("starting opencode");
        runner.start_prepared(prepared).await
    });
    loop {
        tokio::select! {
            started = &mut starting => return Ok(started.map(|_| true)?),
            _ = signals.reach(before + 1) => return Ok(false),
            () = tokio::time::sleep(START_REPORT_INTERVAL) => report(awaited.get()),
        }
    }
}

/// Reports that a signal arrived before the turn had begun, so that the message had no effect.
pub(crate) fn note_interrupted_early(console: Console) {
    console.note("interrupted before the turn began");
}

/// Returns when a time limit has ended the turn and the shutdown timeout for stdout is over. For a turn that ended
/// by itself, there is no such timeout.
pub(crate) async fn output_timeout(runner: &Runner) {
    let turn = runner.wait().await;
    match turn.as_ref().and_then(|turn| turn.failure.as_ref()).map(TurnFailure::kind) {
        Some(FailureKind::Timeout | FailureKind::IdleTimeout) => tokio::time::sleep(SHUTDOWN_TIMEOUT).await,
        _ => std::future::pending().await,
    }
}

async fn end_on_signals(runner: Arc<Runner>, mut signals: Signals, before: u32, console: Console) {
    signals.reach(before + 1).await;
    if let Some(live) = console.live {
        live.stop();
    }
    runner.interrupt();
    signals.reach(before + 2).await;
    runner.kill();
}

async fn watch(runner: Arc<Runner>) {
    loop {
        state_line(&runner);
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
}

/// Prints the progress of the turn. Not suppressed by quiet, because it was requested.
fn state_line(runner: &Runner) {
    Console::default().note(&format!("{}: {} bytes of output", runner.state(), runner.current_output_len()));
}

/// Returns the exit code of a turn that ran.
pub(crate) fn exit_code(turn: &TurnRecord, output_error: Option<&OutputError>, signals: &Signals) -> Code {
    match (output_error, turn.state) {
        (Some(OutputError::Gone), _) => Code::PIPE,
        (Some(OutputError::Failed(_)), _) | (_, RunState::Interrupted) => signals.code().unwrap_or(Code::TURN_FAILED),
        (_, RunState::Completed) => Code::OK,
        (_, _) => turn.failure.as_ref().map_or(Code::TURN_FAILED, Code::of_failure),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::monitor::Link;
    use async_trait::async_trait;
    use opencode_run_core::{Executor, Limits, ModelConfig, ModelSourceType, StartError, StartedTurn, TurnRequest};
    use std::cell::RefCell;

    /// An executor that never finishes starting a turn.
    struct Stuck;

    #[async_trait]
    impl Executor for Stuck {
        async fn start(&self, _: TurnRequest) -> Result<StartedTurn, StartError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn long_wait_for_start_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let by_command = ModelConfig { api_key_command: Some("sleep 600".to_owned()), ..ModelConfig::new("m") };
        let with_key = ModelConfig { api_key: Some("sk-1".into()), ..ModelConfig::new("m") };
        for (config, awaited) in [(by_command, "the key of"), (with_key, "opencode to start")] {
            let runner = Runner::builder()
                .dir(folder.path())
                .model_source([(ModelSourceType::Default, config)].into_iter().collect())
                .limits(Limits { total: Some(Duration::from_secs(25)), idle: None })
                .build_with(Arc::new(Stuck))
                .await
                .unwrap();
            let began = tokio::time::Instant::now();
            let said = RefCell::new(Vec::new());
            let say = |what: &str| said.borrow_mut().push(what.to_owned());
            let signals = Signals::listen(Link::default()).unwrap();
            let error =
                start_reporting(&runner, (Prompt::new("m"), Instant::now()), &signals, say, |_| ()).await.unwrap_err();
            assert_eq!((error.kind, began.elapsed()), (FailureKind::Timeout, Duration::from_secs(25)), "{error:?}");
            let said = said.into_inner();
            assert!(said.len() == 2 && said[0].starts_with(awaited), "{said:?}");
        }
    }
}
