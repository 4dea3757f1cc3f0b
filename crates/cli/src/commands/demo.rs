//! A demonstration with a scripted model: needs no account, and the network only for npm.

mod batch;
mod stage;

use self::stage::{environment, sources, workspace};
use super::setup;
use crate::args::{DemoArgs, OutputFormat};
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::output::Printer;
use crate::signals::Signals;
use crate::turn_session::{Presentation, TurnSession};
use opencode_run_core::{FailureKind, Prompt};
use opencode_run_process::LocateError;
use opencode_run_scripted_model::{Answer, Part, Script, ScriptedModel, Usage, When};
use opencode_runner::supervisor;
use opencode_runner::{BuildError, Runner, RunnerBuilder};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The interval between the chunks of the scripted model.
const TYPING: Duration = Duration::from_millis(40);

const FIRST: &str = "Write hello.txt, which says hello from opencode, and show me what is in it.";
const SECOND: &str = "What did I ask you to write?";

/// Runs two turns of one session on the real opencode and prints the path of the transcript.
pub(crate) async fn demo(args: DemoArgs, signals: Signals, console: Console) -> Code {
    let played = if args.batch {
        Box::pin(batch::play(args, signals, console)).await
    } else {
        Box::pin(play(args, signals, console)).await
    };
    match played {
        Ok(code) => code,
        Err(error) => {
            Console::error(&error);
            Code::of_kind(error.kind)
        }
    }
}

async fn play(args: DemoArgs, mut signals: Signals, console: Console) -> Result<Code, CommandError> {
    let model = ScriptedModel::start(script()).map_err(|error| CommandError::of(FailureKind::Io, &error))?;
    let workspace = workspace(args.workspace.as_deref())?;
    let builder = |opencode: Option<PathBuf>| {
        let builder = runner(&model, &workspace);
        match opencode {
            Some(path) => builder.opencode(path),
            None => builder,
        }
    };
    let building = async {
        match builder(args.opencode.clone()).build().await {
            Err(BuildError::Opencode(
                LocateError::NotFound | LocateError::TooOld { .. } | LocateError::TooNew { .. },
            )) if args.opencode.is_none() => {
                let installed = setup::install(false, console).await?;
                Ok(builder(Some(installed)).build().await?)
            }
            built => built.map_err(CommandError::from),
        }
    };
    console.wait_for("locating opencode");
    let runner = tokio::select! {
        built = building => Arc::new(built?),
        received = signals.reach(1) => return Ok(received.code.unwrap_or(Code::INTERRUPT)),
    };
    console.end_live();
    if let Some(opencode) = runner.opencode() {
        console.note(&format!("opencode {} at {}", opencode.version(), opencode.path().display()));
    }
    console.note(&format!("a scripted model at {}", model.base_url()));
    console.note(&format!("the task works in {}", runner.task_dir().path().display()));

    let presentation = Presentation::default();
    let session = TurnSession { runner: &runner, signals: &signals, console, presentation };
    let mut code = Code::OK;
    for message in [FIRST, SECOND] {
        console.note(&format!("\n> {message}"));
        let mut printer = Printer::new(OutputFormat::Text, false).rendering(false, console);
        let Some(presented) = session.turn((Prompt::new(message), Instant::now()), &mut printer).await? else {
            code = signals.code().unwrap_or(Code::INTERRUPT);
            break;
        };
        code = presented.code;
        if code != Code::OK {
            break;
        }
    }
    runner.close().await?;
    let transcript = runner.save_markdown(None).await.map_err(|error| CommandError::of(FailureKind::Io, &error))?;
    console.note(&format!("\ntranscript: {}", transcript.display()));
    Ok(code)
}

fn runner(model: &ScriptedModel, workspace: &Path) -> RunnerBuilder {
    // The user's own configuration and history do not belong in a demonstration.
    let builder = Runner::builder().task_name("demo").workspace(workspace).model_source(sources(model)).isolated(true);
    builder.environment(environment()).supervisor(supervisor::current())
}

/// Returns the script of the model.
fn script() -> Script {
    let write = "printf 'Hello from opencode!\\n' > hello.txt && cat hello.txt";
    Script::new()
        .rule(
            When::agent().said("hello.txt").after_tools(0).reply(
                Answer::new([
                    Part::chunked_text("I will write the file and look at it.", 4, TYPING),
                    Part::tool_call("bash", json!({"command": write, "description": "Write hello.txt and show it"})),
                ])
                .usage(Usage::new(1200, 60)),
            ),
        )
        .rule(
            When::agent().said("hello.txt").after_tools(1).reply(
                Answer::new([Part::chunked_text("Done: hello.txt says hello from opencode.", 4, TYPING)])
                    .usage(Usage::new(1300, 40)),
            ),
        )
        .rule(
            When::agent().said("What did I ask").reply(
                Answer::new([Part::chunked_text(
                    "You asked for hello.txt. This is turn {turn} of the same session.",
                    4,
                    TYPING,
                )])
                .usage(Usage::new(1400, 30)),
            ),
        )
}
