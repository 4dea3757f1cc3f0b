//! The checks after a case.

use crate::course::{Expected, PLAIN, PLAIN_TEXT};
use crate::outcome::{Outcome, message};
use crate::plan::{Fault, Plan, When};
use opencode_run_bench::programs::Programs;
use opencode_run_tests::{FakeScript, Sandbox};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

/// Returns an error with a description unless the condition holds.
fn hold(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Checks the result of the command. `untouched` is whether opencode was never started.
pub(crate) fn check(plan: &Plan, sandbox: &Sandbox, outcome: &Outcome, untouched: bool) -> Result<(), String> {
    hold(!outcome.stderr.contains("panicked"), || "there was a panic".to_owned())?;
    let Some(code) = outcome.code() else { return check_signal(plan, outcome, untouched) };
    let object = outcome.stdout.as_deref().filter(|_| plan.prints_json()).map(last_object).transpose()?;
    if let Some(object) = &object {
        check_agreement(code, object)?;
    }
    let kind = object.as_ref().and_then(|object| object["error"]["kind"].as_str());
    hold(is_allowed(plan, code, kind), || format!("exit code {code} with kind {kind:?} is not allowed in this case"))?;
    if let (0, Expected::Completed(answer)) = (code, &plan.course.expected) {
        let output = match (&object, &outcome.stdout) {
            (Some(object), _) => object["output"].as_str().unwrap_or_default(),
            (None, Some(stdout)) => stdout.as_str(),
            (None, None) => answer,
        };
        hold(output.trim() == answer.trim(), || format!("a success with another answer: {output:?}"))?;
    }
    object.map_or(Ok(()), |object| check_transcript(plan, sandbox, &object))
}

/// Checks the end by a signal: the expected one, or one that arrived before the command had begun.
fn check_signal(plan: &Plan, outcome: &Outcome, untouched: bool) -> Result<(), String> {
    let expected = match plan.fault {
        Fault::Kill => return Ok(()),
        Fault::Interrupt | Fault::InterruptTwice => 2,
        Fault::Terminate => 15,
        Fault::HangUp => 1,
        _ => 0,
    };
    let is_early = untouched && matches!(plan.when, When::Start(_));
    hold(outcome.status.signal() == Some(expected) && is_early, || "it ended by a signal".to_owned())
}

/// Parses all lines as JSON and returns the last one.
fn last_object(stdout: &str) -> Result<Value, String> {
    let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).map_err(|error| error.to_string()));
    let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
    lines.into_iter().next_back().ok_or_else(|| "nothing was printed".to_owned())
}

/// Checks that the exit code matches the state in the JSON object.
fn check_agreement(code: i32, object: &Value) -> Result<(), String> {
    let state = object["state"].as_str().unwrap_or_default();
    let kind = object["error"]["kind"].as_str();
    let agrees = match code {
        0 => state == "completed" && kind.is_none(),
        124 => state == "error" && matches!(kind, Some("timeout" | "idle_timeout")),
        129 | 130 | 143 => state == "interrupted" && kind.is_none(),
        _ => state == "error" && kind.is_some(),
    };
    hold(agrees, || format!("exit code {code} with {state:?} and {kind:?}"))
}

/// Returns whether a case may end like this. `kind` is `None` if it was not printed.
fn is_allowed(plan: &Plan, code: i32, kind: Option<&str>) -> bool {
    let printed = plan.prints_json() && plan.fault != Fault::CloseStdout;
    let by_itself = match &plan.course.expected {
        Expected::Completed(_) => code == 0,
        Expected::Failed(kinds) => code == 1 && (!printed || kind.is_some_and(|kind| kinds.contains(&kind))),
        Expected::NotBegun => code == 4 && (!printed || kind == Some("opencode")),
        Expected::Nothing => false,
    };
    let is = |kinds: &[&str]| !printed || kind.is_some_and(|kind| kinds.contains(&kind));
    by_itself
        || match plan.fault {
            Fault::Nothing | Fault::Kill => false,
            Fault::Interrupt | Fault::InterruptTwice => code == 130,
            Fault::Terminate => code == 143,
            Fault::HangUp => code == 129,
            Fault::KillOpencode => code == 1 && is(&["crashed", "server_lost"]),
            Fault::CloseStdout => matches!(code, 141 | 124),
            Fault::Timeout(_) => code == 124 && is(&["timeout"]),
            Fault::IdleTimeout(_) => code == 124 && is(&["idle_timeout"]),
        }
}

/// Checks that the transcript contains the message and the answer.
fn check_transcript(plan: &Plan, sandbox: &Sandbox, object: &Value) -> Result<(), String> {
    let Some(path) = object["transcript"].as_str() else {
        // A turn that did not start has neither a transcript nor a directory.
        return hold(object["task_dir"].is_null(), || "there is no transcript".to_owned());
    };
    if object["task_dir"].is_null() && !Path::new(path).starts_with(sandbox.workspace()) {
        return Err(format!("a transcript elsewhere: {path}"));
    }
    let Ok(text) = std::fs::read_to_string(path) else {
        return hold(object["task_dir"].is_null(), || format!("{path} cannot be read"));
    };
    let output = object["output"].as_str().unwrap_or_default();
    let is_whole = text.contains(&message(plan)) && output.lines().all(|line| text.contains(line.trim()));
    hold(is_whole, || format!("the transcript is incomplete: {text}"))
}

/// Checks that each journal is readable and unused, and that `resume` continues from it.
pub(crate) fn resume(plan: &Plan, sandbox: &Sandbox, programs: &Programs) -> Result<(), String> {
    for journal in journals(sandbox) {
        let shown = journal.display();
        let recovered = opencode_run_journal::read(&journal).map_err(|error| format!("{shown}: {error}"))?;
        hold(!recovered.in_use, || format!("{shown} is in use"))?;
        hold(recovered.skipped_lines == 0, || format!("{shown} has unreadable lines"))?;
        let conversation = recovered.conversation;
        let Some(turn) = conversation.turns.first() else { continue };
        hold(turn.message == message(plan), || format!("{shown} contains another conversation"))?;
        let directory = conversation.directory();
        let output = turn.output();
        hold(directory.is_dir(), || format!("{shown} belongs to a missing directory"))?;
        go_on(sandbox, programs, directory, &output).map_err(|why| format!("resume: {why}"))?;
    }
    Ok(())
}

fn go_on(sandbox: &Sandbox, programs: &Programs, directory: &Path, earlier_output: &str) -> Result<(), String> {
    let fake = FakeScript::named(sandbox, &programs.fake, "resumed").replay("run", PLAIN).write();
    // It is the version of the executable, which is the fake's: it may have been an opencode 2 before.
    std::fs::remove_file(sandbox.home().join(".cache/opencode-run/version.json")).ok();
    let mut command = sandbox.command(&programs.opencode_run);
    command.arg("resume").arg(directory).args(["--transport", "run", "--opencode"]).arg(fake.executable());
    let output = command.args(["--output-format", "json", "go on"]).output().map_err(|error| error.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    hold(output.status.success(), || format!("{:?}: {stderr}", output.status))?;
    let object = last_object(&String::from_utf8_lossy(&output.stdout))?;
    let earlier = object["earlier_turns"][0]["output"].as_str().unwrap_or_default();
    let goes_on = object["state"] == "completed" && object["output"] == PLAIN_TEXT && earlier == earlier_output;
    hold(goes_on, || format!("{object}"))?;
    hold(sandbox.suspects().alive().is_empty(), || "a process is still alive".to_owned())
}

fn journals(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folder = sandbox.home().join(".local/state/opencode-run/journals");
    let inside = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let files = inside(&folder).into_iter().flat_map(|folder| inside(&folder));
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}
