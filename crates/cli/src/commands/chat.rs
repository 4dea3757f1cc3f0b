//! Many turns of one session: each line of stdin is a turn, or on a terminal each message from a line editor.

#[cfg(unix)]
mod complete;
#[cfg(unix)]
mod editor;
mod input;
mod settings;
mod slash;

use self::input::{ChatInput, NextInput};
use self::settings::ChatSettings;
use self::slash::Typed;
use super::run::{close, note_transport, read_builder, within};
use crate::args::{ChatArgs, OutputFormat, PermissionArg, TransportArg};
use crate::asking::Asking;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::{OutputError, Printer, report};
use crate::signals::Signals;
use crate::turn_session::{Presentation, Presented, TurnSession};
use crate::{surroundings, turn};
use opencode_run_core::Prompt;
use opencode_runner::{PermissionPolicy, Runner};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::time::Instant;

/// Runs turns until the end of the input. An interrupt ends the running turn; without one it ends the chat.
pub(crate) async fn chat(args: ChatArgs, mut signals: Signals, console: Console) -> Code {
    // A chat continues after an interrupt, so it decides itself when to end.
    signals.disable_shutdown_timeout();
    let has_editor = ChatInput::can_edit() && args.output_format == OutputFormat::Text;
    let asking = Asking::new(has_editor);
    console.wait_for("locating opencode");
    let runner = tokio::select! {
        runner = within(args.task.timeout, Instant::now(), prepare(&args, &asking, console)) => runner,
        received = signals.reach(1) => return received.code.unwrap_or(Code::INTERRUPT),
    };
    console.end_live();
    let runner = match runner {
        Ok(runner) => runner,
        Err(error) => {
            Console::error(&error);
            let report = report::of_error(args.task.name(), None, &error);
            Printer::new(args.output_format, true).end(&report, Some("")).await.ok();
            return Code::of_kind(error.kind);
        }
    };
    let input = ChatInput::new(has_editor, &args, &runner, &asking.keyboard);
    let code = Chat { runner: &runner, asking: &asking, args: &args, console }.run(input, signals).await;
    if runner.conversation().turns.is_empty() {
        // Nothing was asked: the directory is useless, and harmless if it stays.
        runner.task_dir().remove_if_untouched().ok();
    }
    close(&runner, code).await
}

/// A running chat.
struct Chat<'a> {
    runner: &'a Arc<Runner>,
    asking: &'a Asking,
    args: &'a ChatArgs,
    console: Console,
}

impl Chat<'_> {
    /// Runs one turn per message until there are no more. Returns the code of the last turn that failed.
    async fn run(&self, mut input: ChatInput, mut signals: Signals) -> Code {
        let on_terminal = std::io::stdin().is_terminal();
        if on_terminal {
            self.console.note(input.greeting());
        }
        let received = signals.clone();
        let mut settings = ChatSettings::default();
        let mut code = Code::OK;
        loop {
            let before = signals.count();
            let next = tokio::select! {
                next = input.next(self.console) => next,
                _ = signals.reach(before + 1) => return signals.code().unwrap_or(code),
            };
            let line = match next {
                Ok(NextInput::Line(line)) if line.trim().is_empty() => continue,
                Ok(NextInput::Line(line)) => line,
                Ok(NextInput::Interrupt) => return Code::INTERRUPT,
                Ok(NextInput::End) => return code,
                Err(error) => {
                    Console::error(&CommandError::usage(format!("stdin cannot be read: {error}")));
                    return Code::USAGE;
                }
            };
            let typed = if input.has_commands() { Typed::read(&line) } else { Typed::Message(line) };
            let Some(message) = settings.apply(typed, self.runner, self.console).await else { continue };
            let Some(message) = message else { return code };
            let prompt = settings.prompt(message);
            match self.turn(prompt, &received, on_terminal).await {
                ControlFlow::Continue(Code::OK) => {}
                ControlFlow::Continue(failed) => code = failed,
                ControlFlow::Break(ended) => return ended,
            }
        }
    }

    /// Runs a turn and presents it. Breaks with the code of the chat if that is over.
    async fn turn(&self, prompt: Prompt, signals: &Signals, on_terminal: bool) -> ControlFlow<Code, Code> {
        let Self { runner, asking, args, console } = self;
        let presentation = Presentation { transcript: args.save_markdown.as_ref(), ..Presentation::default() };
        let session = TurnSession { runner, signals, console: *console, presentation };
        let mut printer = Printer::new(args.output_format, false).rendering(args.plain, *console);
        printer = printer.telling(asking.said.clone());
        let (ended, not_run) = match session.turn((prompt, Instant::now()), &mut printer).await {
            Ok(Some(Presented { code, is_stdout_lost: true })) => return ControlFlow::Break(code),
            Ok(Some(presented)) => (presented.code, None),
            Ok(None) => {
                turn::note_interrupted_early(*console);
                let report = report::of_interruption(args.task.name(), Some(runner));
                (signals.code().unwrap_or(Code::INTERRUPT), Some(report))
            }
            Err(error) => {
                Console::error(&error);
                (Code::of_kind(error.kind), Some(report::of_error(args.task.name(), Some(runner), &error)))
            }
        };
        // A program gets one result per turn, even for a turn that did not run.
        if let Some(report) = not_run.filter(|_| args.output_format != OutputFormat::Text)
            && let Err(OutputError::Gone) = printer.end(&report, None).await
        {
            return ControlFlow::Break(Code::PIPE);
        }
        match ended {
            // On a terminal the user sees the reason and continues.
            Code::INTERRUPT if on_terminal => ControlFlow::Continue(Code::OK),
            Code::TERMINATE | Code::HANGUP | Code::INTERRUPT | Code::PIPE => ControlFlow::Break(ended),
            code => ControlFlow::Continue(code),
        }
    }
}

async fn prepare(args: &ChatArgs, asking: &Asking, console: Console) -> Result<Arc<Runner>, CommandError> {
    let (mut builder, key_files) = read_builder(&args.task, console).await?;
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    match args.task.permission {
        Some(PermissionArg::Ask) if !can_ask => {
            let error = CommandError::usage("permission requests can be answered only on a terminal");
            return Err(error.hint("use --permission allow or deny"));
        }
        Some(PermissionArg::Ask) if args.task.transport == Some(TransportArg::Run) => {
            let error = CommandError::usage("`opencode run` denies permission requests without asking");
            return Err(error.hint("remove --transport run"));
        }
        None | Some(PermissionArg::Ask) if can_ask => {
            builder = builder.permissions(PermissionPolicy::Ask(Arc::new(asking.clone())));
        }
        _ => {}
    }
    let runner = Arc::new(builder.build().await?);
    note_transport(&runner);
    key_files.warn(runner.task_dir().path());
    surroundings::warn(&args.task, &runner).await;
    console.note(&format!("working in {}", runner.task_dir().path().display()));
    Ok(runner)
}
