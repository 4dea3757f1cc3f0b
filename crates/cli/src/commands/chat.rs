//! Many turns of one session: each line of stdin is a turn.

use super::run::{close, read_builder, say_transport, within};
use crate::args::{ChatArgs, OutputFormat, PermissionArg, TransportArg};
use crate::asking::Asking;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::Printer;
use crate::signals::Signals;
use crate::stderr::Stderr;
use crate::turn_session::{Presentation, Presented, TurnSession};
use crate::{surroundings, turn};
use opencode_run_core::Prompt;
use opencode_runner::{PermissionPolicy, Runner};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use tokio::time::Instant;

/// Runs turns until the input ends. An interrupt ends the turn that is running; with none running it ends the chat.
pub(crate) async fn chat(args: ChatArgs, mut signals: Signals, console: Console) -> Code {
    // A chat goes on after an interrupt, so that it alone says when it is over.
    signals.be_patient();
    let asking = Asking::new();
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
            return Code::of_kind(error.kind);
        }
    };
    let code = talk(&runner, &asking, &args, signals, console).await;
    if runner.conversation().turns.is_empty() {
        // Nothing was said: the directory is of no use, and does no harm if it stays.
        runner.task_dir().remove_if_untouched().ok();
    }
    close(&runner, code).await
}

/// Takes the lines, one turn each, until there are no more.
async fn talk(runner: &Arc<Runner>, asking: &Asking, args: &ChatArgs, mut signals: Signals, console: Console) -> Code {
    let on_terminal = std::io::stdin().is_terminal();
    if on_terminal {
        console.note("Each line is a turn. Ctrl-C ends a turn, Ctrl-D the chat.");
    }
    let received = signals.clone();
    let presentation = Presentation { transcript: args.save_markdown.as_ref(), ..Presentation::default() };
    let session = TurnSession { runner, signals: &received, console, presentation };
    let mut code = Code::OK;
    loop {
        if on_terminal {
            Stderr.write_all(b"> ").ok();
        }
        let before = signals.count();
        let line = tokio::select! {
            line = asking.keyboard.next_line() => line,
            _ = signals.reach(before + 1) => {
                code = signals.code().unwrap_or(code);
                break;
            }
        };
        let message = match line {
            Ok(Some(line)) if line.trim().is_empty() => continue,
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                Console::error(&CommandError::usage(format!("stdin cannot be read: {error}")));
                return Code::USAGE;
            }
        };
        let mut printer =
            Printer::new(OutputFormat::Text, false).rendering(args.plain, console).telling(asking.said.clone());
        match session.turn((Prompt::new(message), Instant::now()), &mut printer).await {
            Ok(Some(Presented { code: ended, is_stdout_lost: true })) => {
                code = ended;
                break;
            }
            Ok(presented) => match presented.map_or_else(|| interrupted_early(&signals, console), |turn| turn.code) {
                Code::OK => {}
                // On a terminal the user sees the reason and continues.
                Code::INTERRUPT if on_terminal => {}
                ended @ (Code::TERMINATE | Code::HANGUP | Code::INTERRUPT | Code::PIPE) => {
                    code = ended;
                    break;
                }
                failed => code = failed,
            },
            Err(error) => {
                Console::error(&error);
                code = Code::of_kind(error.kind);
            }
        }
    }
    code
}

async fn prepare(args: &ChatArgs, asking: &Asking, console: Console) -> Result<Arc<Runner>, CommandError> {
    let (mut builder, key_files) = read_builder(&args.task, console).await?;
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    match args.task.permission {
        Some(PermissionArg::Ask) if !can_ask => {
            let error = CommandError::usage("permissions can be asked for on a terminal only");
            return Err(error.hint("use --permission allow or deny"));
        }
        Some(PermissionArg::Ask) if args.task.transport == Some(TransportArg::Run) => {
            let error = CommandError::usage("`opencode run` asks nobody for permissions, it refuses them");
            return Err(error.hint("leave --transport run out"));
        }
        None | Some(PermissionArg::Ask) if can_ask => {
            builder = builder.permissions(PermissionPolicy::Ask(Arc::new(asking.clone())));
        }
        _ => {}
    }
    let runner = Arc::new(builder.build().await?);
    say_transport(&runner);
    key_files.warn(runner.task_dir().path());
    surroundings::warn(&args.task, &runner).await;
    console.note(&format!("working in {}", runner.task_dir().path().display()));
    Ok(runner)
}

/// Reports that a signal came before a turn had begun. Returns its exit code.
fn interrupted_early(signals: &Signals, console: Console) -> Code {
    turn::say_interrupted_early(console);
    signals.code().unwrap_or(Code::INTERRUPT)
}
