//! A batch on a scripted model: a dozen tasks, some of which fail.

use super::stage::{environment, sources, workspace};
use crate::args::DemoArgs;
use crate::commands::batch::drive;
use crate::commands::setup;
use crate::console::Console;
use crate::error::CommandError;
use crate::exit_code::Code;
use crate::signals::Signals;
use opencode_run_batch::report::{Page, PageOptions};
use opencode_run_batch::run::{Batch, BatchFolder, BatchOptions, HostRunner, HostRunnerOptions, Plan, Redo};
use opencode_run_batch::scheduler::Settings;
use opencode_run_batch::workspace::WorkspaceOptions;
use opencode_run_batch::{Ledger, LoadOptions, TaskSet};
use opencode_run_core::{ErrorChain, FailureKind};
use opencode_run_process::LocateError;
use opencode_run_scripted_model::{Answer, ErrorReply, Part, Script, ScriptedModel, Usage, When};
use opencode_runner::supervisor;
use opencode_runner::{BuildError, Host};
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The number of tasks in the batch.
const TASKS: u32 = 12;
/// The time limit on the slow task.
const TIMEOUT: &str = "20s";

/// Runs the batch and writes its report.
pub(super) async fn play(args: DemoArgs, signals: Signals, console: Console) -> Result<Code, CommandError> {
    let io = |error: &(dyn std::error::Error + 'static)| CommandError::of(FailureKind::Io, error);
    let model = ScriptedModel::start(script()).map_err(|error| io(&error))?;
    let folder = workspace(args.workspace.as_deref())?;
    let tasks_file = folder.join("tasks.jsonl");
    let results = folder.join("results.jsonl");
    std::fs::write(&tasks_file, tasks()).map_err(|error| io(&error))?;
    let host = host(args.opencode, console).await?;
    console.note(&format!("{TASKS} tasks in {}", tasks_file.display()));

    let failed = |error: &(dyn std::error::Error + 'static)| {
        CommandError::new(FailureKind::Io, ErrorChain::new(error).to_string())
    };
    let tasks = TaskSet::load(&tasks_file, &LoadOptions::default()).map_err(|error| failed(&error))?;
    let (ledger, history, _) = Ledger::open(&results).map_err(|error| failed(&error))?;
    let mut settings = Settings::default();
    settings.retry_delay = Duration::from_secs(2);
    let plan = Plan::new(&tasks, history, settings, false, Redo::No).map_err(|error| failed(&error))?;
    let beside = BatchFolder::of(&results).map_err(|error| failed(&error))?;
    beside.create().map_err(|error| failed(&error))?;
    let workspaces = WorkspaceOptions::new(folder.join("cache"), beside.clones()).supervisor(supervisor::current());
    let mut options = HostRunnerOptions::new(beside.clone(), workspaces);
    options.sources = sources(&model);
    let runner = Arc::new(HostRunner::new(host, options));
    let Some(writer) = ledger.writer() else { return Ok(Code::TURN_FAILED) };
    let batch = Batch::new(tasks, plan, writer, runner, BatchOptions::default());
    let (summary, code) = drive(batch, ledger, &beside, None, &signals, console).await;

    let report = folder.join("report.html");
    let page = Page::read(&[&results], &PageOptions::default()).and_then(|page| page.write(&report));
    page.map_err(|error| failed(&error))?;
    console.note(&format!("\nresults: {}\nreport: {}", results.display(), report.display()));
    // Three of the tasks are expected to fail.
    let is_as_meant = summary.status.totals.passed + 3 == u64::from(TASKS);
    Ok(if is_as_meant { Code::OK } else { code })
}

/// Finds opencode, or installs it.
async fn host(opencode: Option<PathBuf>, console: Console) -> Result<Host, CommandError> {
    let builder = |opencode: Option<&Path>| {
        let builder =
            Host::builder().lean(true).isolated(true).environment(environment()).supervisor(supervisor::current());
        match opencode {
            Some(path) => builder.opencode(path),
            None => builder,
        }
    };
    match builder(opencode.as_deref()).build().await {
        Err(BuildError::Opencode(LocateError::NotFound | LocateError::TooOld { .. } | LocateError::TooNew { .. }))
            if opencode.is_none() =>
        {
            let installed = setup::install(false, console).await?;
            Ok(builder(Some(&installed)).build().await?)
        }
        built => Ok(built?),
    }
}

/// Returns the tasks: most write a file that their check looks for.
fn tasks() -> String {
    let mut lines = String::new();
    for number in 1..=TASKS {
        let mut task = json!({
            "id": format!("task-{number:02}"),
            "prompt": format!("Write the file number {number}."),
            "check": format!("test -f file-{number}.txt"),
        });
        match number {
            // The agent writes another file.
            10 => task["check"] = json!("grep opencode file-10.txt"),
            11 => task["setup"] = json!("echo 'the service is not reachable' >&2; exit 1"),
            12 => task["timeout"] = json!(TIMEOUT),
            _ => {}
        }
        // Writing to a string cannot fail.
        writeln!(lines, "{task}").ok();
    }
    lines
}

/// The answers of the model.
fn script() -> Script {
    let said = |number: u32| When::agent().said(format!("the file number {number}."));
    // The provider refuses the third task once, and the last one answers too late.
    let refusal = ErrorReply::new(400).message("the model is being moved");
    let script = Script::new().rule(said(3).reply(refusal).times(1));
    let slow = Answer::text("Here it is.").delay(Duration::from_mins(2));
    let script = script.rule(said(TASKS).reply(slow));
    (1..TASKS).fold(script, |script, number| {
        let write = format!("echo {number} > file-{number}.txt");
        let call = Part::tool_call("bash", json!({"command": write, "description": "Write the file"}));
        let first = Answer::new([call]).usage(Usage::new(900, 40));
        let last = Answer::text(format!("The file number {number} is written.")).usage(Usage::new(1000, 20));
        script.rule(said(number).after_tools(0).reply(first)).rule(said(number).after_tools(1).reply(last))
    })
}
