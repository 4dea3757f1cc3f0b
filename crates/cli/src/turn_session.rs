//! Presents the turns of one runner: prints them while they run, summarises them, and determines the exit code.

use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::{OutputError, Printer, report};
use crate::signals::Signals;
use crate::{messages, turn, warnings};
use opencode_run_core::{EntryContent, FailureKind, Prompt, TurnFailure, TurnRecord};
use opencode_runner::Runner;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;

/// The options of presenting a turn.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Presentation<'a> {
    /// Reports the state of the turn while it runs.
    pub(crate) reports_progress: bool,
    /// Saves the transcript, to this path if there is one.
    pub(crate) transcript: Option<&'a Option<PathBuf>>,
    /// Prints the transcript instead of the answer.
    pub(crate) prints_transcript: bool,
    /// Shows the model's text in addition to a schema's value on stderr, because stdout contains only the value.
    pub(crate) notes_text_beside_value: bool,
    /// The runner has only this turn: if it had no effect, its directory and its journal are removed.
    pub(crate) is_only_turn: bool,
    /// The session and its journal are deleted with the runner.
    pub(crate) is_ephemeral: bool,
}

/// Runs turns and presents them.
pub(crate) struct TurnSession<'a> {
    pub(crate) runner: &'a Arc<Runner>,
    pub(crate) signals: &'a Signals,
    pub(crate) console: Console,
    pub(crate) presentation: Presentation<'a>,
}

/// The result of a turn for the command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented {
    pub(crate) code: Code,
    /// stdout accepts no more output, so a further turn would be paid for nothing.
    pub(crate) is_stdout_lost: bool,
}

impl TurnSession<'_> {
    /// Runs a turn to its end and presents it. Its time counts from `since`. Returns `None` if a signal came before
    /// it had begun.
    ///
    /// # Errors
    ///
    /// If the turn could not be started.
    pub(crate) async fn turn(
        &self,
        (prompt, since): (Prompt, Instant),
        printer: &mut Printer,
    ) -> Result<Option<Presented>, CommandError> {
        let Self { runner, signals, console, presentation } = self;
        let finished =
            turn::run(runner, (prompt, since), printer, signals, *console, presentation.reports_progress).await?;
        let Some(turn::Finished { turn, output_error, error }) = finished else { return Ok(None) };

        let mut code = turn::exit_code(&turn, output_error.as_ref(), signals);
        let saved = save(runner, presentation.transcript).await;
        if saved.error.is_some() && code == Code::OK {
            code = Code::TURN_FAILED;
        }
        let is_removed = presentation.is_only_turn && remove_if_without_effect(runner, &turn);
        let conversation = runner.conversation();
        let mut report = report::of_turn(&conversation, &turn, error.as_ref().or(saved.error.as_ref()));
        report.warnings.splice(0..0, warnings::take());
        report.transcript.clone_from(&saved.path);
        report.journal = runner.journal_path().filter(|_| !is_removed && !presentation.is_ephemeral);
        // A directory that the agent deleted is reported: the task worked there.
        report.task_dir = report.task_dir.filter(|_| !is_removed);
        let markdown = presentation.prints_transcript.then(|| runner.conversation_markdown());
        let end = if let Some(error) = output_error {
            Err(error)
        } else {
            tokio::select! {
                end = printer.end(&report, markdown.as_deref()) => end,
                () = turn::output_timeout(runner) => Err(OutputError::Stuck),
            }
        };

        if presentation.notes_text_beside_value {
            note_text_beside_value(&turn, *console);
        }
        messages::summarise(runner, &turn, *console);
        // A failure to write it was already reported.
        if let (Some(path), None) = (&saved.path, &saved.error) {
            console.note(&format!("transcript: {}", path.display()));
        }
        for error in error.iter().chain(&saved.error) {
            Console::error(error);
        }
        Ok(Some(Presented { is_stdout_lost: end.is_err(), code: code_of_output(end, code, signals) }))
    }
}

/// Reports why stdout accepts no more output, unless its reader is gone. Returns the exit code of a turn that would end
/// with `code`.
pub(crate) fn code_of_output(end: Result<(), OutputError>, code: Code, signals: &Signals) -> Code {
    match end {
        Ok(()) => code,
        Err(OutputError::Gone) => Code::PIPE,
        Err(error @ OutputError::Stuck) => {
            Console::warning(&error.to_string());
            if code == Code::OK { signals.code().unwrap_or(Code::TURN_FAILED) } else { code }
        }
        Err(error) => {
            Console::error(&CommandError::io(error.to_string()));
            // A terminal that is closed accepts nothing more, and sends a signal as well.
            signals.code().unwrap_or(Code::TURN_FAILED)
        }
    }
}

/// Shows the model's text in addition to or instead of the value, because stdout contains only the value.
fn note_text_beside_value(turn: &TurnRecord, console: Console) {
    let text = turn.output();
    if !text.trim().is_empty() {
        let relation = if turn.structured.is_some() { "beside the value" } else { "without submitting a value" };
        console.note(&format!("the model wrote, {relation}: {text}"));
    }
}

/// Removes the directory and the journal of a task if its turn had no effect and the directory is empty. Returns
/// whether it did.
fn remove_if_without_effect(runner: &Runner, turn: &TurnRecord) -> bool {
    let journal = runner.journal_path();
    let is_removed = had_no_effect(turn) && runner.task_dir().remove_if_untouched().is_ok_and(|removed| removed);
    if is_removed {
        journal.as_deref().map(discard);
    }
    is_removed
}

/// Returns whether a turn failed without any effect: it recorded at most errors, and if opencode could not even
/// choose a model, those are not a reason to keep the task's directory.
fn had_no_effect(turn: &TurnRecord) -> bool {
    let only_errors = || turn.entries.iter().all(|entry| matches!(entry.content, EntryContent::Error(_)));
    match &turn.failure {
        Some(TurnFailure::ModelNotFound { .. }) => turn.steps == 0 && only_errors(),
        Some(_) => turn.entries.is_empty(),
        None => false,
    }
}

/// Removes the journal of a conversation without a result.
fn discard(path: &Path) {
    // A remaining file is harmless. The directory stays if it contains other journals.
    if std::fs::remove_file(path).is_ok()
        && let Some(folder) = path.parent()
    {
        std::fs::remove_dir(folder).ok();
    }
}

/// The path of a saved transcript, or the reason that it is missing.
struct Saved {
    /// The path, if a transcript was requested and could be written somewhere.
    path: Option<PathBuf>,
    /// The reason why the transcript is not at the requested path.
    error: Option<CommandError>,
}

/// Saves the transcript to the requested path, or to a temporary file if that fails, so that nothing is lost.
async fn save(runner: &Runner, path: Option<&Option<PathBuf>>) -> Saved {
    let Some(path) = path else { return Saved { path: None, error: None } };
    let absolute = |path: PathBuf| Some(std::path::absolute(&path).unwrap_or(path));
    let error = match runner.save_markdown(path.as_deref()).await {
        Ok(path) => return Saved { path: absolute(path), error: None },
        Err(error) => Some(CommandError::of(FailureKind::Io, &error)),
    };
    let rescue = || {
        let mut file = tempfile::Builder::new().prefix("opencode-run-conversation-").suffix(".md").tempfile()?;
        file.write_all(runner.conversation_markdown().as_bytes())?;
        file.into_temp_path().keep().map_err(|error| error.error)
    };
    match rescue() {
        Ok(rescued) => {
            Console::warning(&format!("the transcript was saved to {} instead", rescued.display()));
            Saved { path: absolute(rescued), error }
        }
        Err(why) => {
            Console::warning(&format!("nor could the transcript be saved to a temporary file: {why}"));
            Saved { path: None, error }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{Ending, Event, Input, Observed, PartId, ReportedError, TurnMachine};
    use std::time::{Duration, SystemTime};

    fn failed(events: impl IntoIterator<Item = Event>, failure: TurnFailure) -> TurnRecord {
        let mut turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
        for event in events {
            turn.apply(Duration::ZERO, &Input::Event(Observed::new(event)));
        }
        turn.apply(Duration::ZERO, &Input::Ended(Ending::Failed(failure)));
        turn.into_record()
    }

    #[test]
    fn directory_with_session_is_kept() {
        let error = || Event::Error(ReportedError::new("UnknownError", "Unexpected server error"));
        let text = || Event::Text { part: PartId::new("p"), text: "x".to_owned() };
        let no_model = || TurnFailure::ModelNotFound { message: "nope".to_owned() };
        let broken = || TurnFailure::Protocol { message: "broken".to_owned() };
        assert!(had_no_effect(&failed([], broken())));
        assert!(had_no_effect(&failed([error()], no_model())));
        assert!(!had_no_effect(&failed([error()], broken())), "the session may be continued");
        assert!(!had_no_effect(&failed([text(), error()], no_model())));
    }
}
