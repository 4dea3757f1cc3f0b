//! Continues or shows the conversation of a journal.

use super::run::{Prepared, carry_out, check_journals, interrupted, prepare_turn, refuse, within};
use crate::args::{ResumeArgs, RunArgs};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::{Printer, report};
use crate::short_text::first_line;
use crate::signals::Signals;
use crate::turn_session::code_of_output;
use crate::{advice, message};
use opencode_run_core::{Conversation, FailureKind, RunState, SessionId, TurnRecord};
use opencode_run_markdown::conversation_markdown;
use opencode_runner::transcript::{TRANSCRIPT_NAME, write_atomically};
use opencode_runner::{BuildError, MarkdownOptions, RunnerBuilder, TaskDir, default_journals, find_journal};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Continues a conversation if there is a message, otherwise shows it.
pub(crate) async fn resume(args: ResumeArgs, mut signals: Signals, console: Console) -> Code {
    let ResumeArgs { task_dir, run: mut args } = args;
    args.task.dir = Some(task_dir.clone());
    let mut printer =
        Printer::new(args.output.output_format, true).rendering(args.output.plain, console.without_live());
    let since = Instant::now();
    let message = tokio::select! {
        message = within(args.task.timeout, since, message::compose_if_any(&args.words, args.message.as_deref())) => message,
        _ = signals.reach(1) => return interrupted(&args, None, &signals, &mut printer, console).await,
    };
    match message {
        Ok(Some(message)) => carry_out(&args, since, go_on(&args, message, console), signals, console).await,
        Ok(None) => {
            let found = tokio::select! {
                found = within(args.task.timeout, since, find(&args, &task_dir)) => found,
                _ = signals.reach(1) => return interrupted(&args, None, &signals, &mut printer, console).await,
            };
            match found {
                Ok(found) => show(&args, &task_dir, found, &mut printer, &signals, console).await,
                Err(error) => refuse(&args, None, &error, &mut printer).await,
            }
        }
        Err(error) => refuse(&args, None, &error, &mut printer).await,
    }
}

/// Prepares the turn, and prints the state of the conversation.
async fn go_on(args: &RunArgs, message: String, console: Console) -> Prepared {
    let (runner, prompt, attachments) = prepare_turn(args, message, console, RunnerBuilder::resume).await?;
    let conversation = runner.conversation();
    console.note(&facts(&conversation));
    if let Some(last) = conversation.turns.last().filter(|turn| turn.state != RunState::Completed) {
        console.note(&how_it_ended(last));
        let output = last.output();
        if !output.is_empty() {
            console.note(&format!("its output so far: {output}"));
        }
    }
    if conversation.session.is_none() {
        console.note("the session was not known yet, so a new one is started");
    }
    Ok((runner, prompt, attachments))
}

/// A conversation that was found in a journal.
struct Found {
    journal: PathBuf,
    conversation: Conversation,
    in_use: bool,
}

/// Prints the last turn like a finished one, or the whole conversation as Markdown.
async fn show(
    args: &RunArgs,
    task_dir: &Path,
    found: Found,
    printer: &mut Printer,
    signals: &Signals,
    console: Console,
) -> Code {
    let Some(last) = found.conversation.turns.last() else {
        let error = CommandError::new(FailureKind::Io, format!("{} contains no turn", found.journal.display()));
        return refuse(args, None, &error, printer).await;
    };
    let saved = save(args, &found.conversation).await;
    let failure = last.failure.as_ref().map(|failure| advice::describe(failure, None, &found.conversation));
    let save_error = saved.as_ref().err();
    let error = failure.as_ref().or(save_error);
    let mut report = report::of_turn(&found.conversation, last, error);
    report.journal = Some(found.journal.clone());
    report.transcript = saved.as_ref().ok().cloned().flatten();
    let markdown = args.output.print_markdown.then(|| markdown(&found.conversation));
    let end = printer.end(&report, markdown.as_deref()).await;

    console.note(&facts(&found.conversation));
    console.note(&how_it_ended(last));
    console.note(&format!("journal: {}", found.journal.display()));
    if let Some(path) = &report.transcript {
        console.note(&format!("transcript: {}", path.display()));
    }
    console.note(&if found.in_use {
        "it is running now".to_owned()
    } else if found.conversation.task.isolated {
        "it cannot be resumed: its session was deleted with the isolated home (--isolated)".to_owned()
    } else {
        format!("to continue: opencode-run resume {} MESSAGE", task_dir.display())
    });
    if let Some(error) = save_error {
        Console::error(error);
        return Code::TURN_FAILED;
    }
    code_of_output(end, Code::OK, signals)
}

/// Reads the journal on a separate thread, because its file system may be slow.
async fn find(args: &RunArgs, task_dir: &Path) -> Result<Found, CommandError> {
    let task_dir = task_dir.to_owned();
    let session = args.task.session.as_ref().map(SessionId::new);
    let found = tokio::task::spawn_blocking(move || find_now(&task_dir, session.as_ref())).await;
    found.map_err(|error| CommandError::of(FailureKind::Io, &error))?
}

fn find_now(task_dir: &Path, session: Option<&SessionId>) -> Result<Found, CommandError> {
    let directory = TaskDir::existing(task_dir).map_err(BuildError::from)?;
    if let Some(journals) = default_journals() {
        check_journals(&journals)?;
    }
    let journal = find_journal(default_journals().as_deref(), directory.path(), session)?;
    let recovered = opencode_run_journal::read(&journal).map_err(BuildError::from)?;
    let mut conversation = recovered.conversation;
    let in_use = recovered.in_use;
    if !in_use {
        conversation.end_abandoned_turns();
    }
    Ok(Found { journal, conversation, in_use })
}

/// Saves the transcript if that was requested.
async fn save(args: &RunArgs, conversation: &Conversation) -> Result<Option<PathBuf>, CommandError> {
    let Some(path) = &args.output.save_markdown else { return Ok(None) };
    let path = path.clone().unwrap_or_else(|| conversation.directory().join(TRANSCRIPT_NAME));
    let target = path.clone();
    let text = markdown(conversation);
    tokio::task::spawn_blocking(move || write_atomically(&target, &text))
        .await
        .map_err(|error| CommandError::of(FailureKind::Io, &error))?
        .map_err(|error| CommandError::of(FailureKind::Io, &error))?;
    Ok(Some(std::path::absolute(&path).unwrap_or(path)))
}

fn markdown(conversation: &Conversation) -> String {
    conversation_markdown(conversation, &MarkdownOptions::default())
}

/// Describes the conversation.
fn facts(conversation: &Conversation) -> String {
    let turns = conversation.turns.len();
    let mut facts = vec![format!("{}: {turns} turn{}", conversation.task.name, if turns == 1 { "" } else { "s" })];
    facts.extend(conversation.session.as_ref().map(|session| format!("session {session}")));
    facts.push(conversation.directory().display().to_string());
    facts.join(" · ")
}

/// Describes the end of the last turn.
fn how_it_ended(turn: &TurnRecord) -> String {
    let why = turn.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
    let message = first_line(&turn.message);
    let seconds = turn.duration.as_secs_f64();
    format!("the last turn, “{message}”: {} after {seconds:.1} s{why}", turn.state)
}
