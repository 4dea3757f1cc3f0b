//! The memory that the command needs for an opencode that writes without end.

use crate::figures::mib;
use crate::processes::sample_until_exit;
use crate::report::Report;
use opencode_run_bench::programs::Programs;
use opencode_run_tests::script::{Act, Stream};
use opencode_run_tests::serve_script::{Serving, TurnAct};
use opencode_run_tests::{Fake, FakeScript, Sandbox};
use serde_json::Value;
use std::error::Error;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The maximum memory of the command in bytes, in addition to the text of the answer.
const MAX_BYTES: u64 = 100 << 20;
/// The timeout of a flood.
const LIMIT: Duration = Duration::from_mins(30);
const PLAIN: &str = "1.18.33/plain-text";
const PLAIN_TEXT: &str = "Hello from the model.";

/// Measures the memory of our own process during floods of all kinds.
pub(crate) async fn measure(programs: &Programs, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let (bytes, amount) = if quick { (100_000_000, "100 MB") } else { (1_000_000_000, "1 GB") };
    let events = bytes / 100;
    let flood = |stream, one_line| Act::Flood { stream, bytes, line_length: None, one_line };
    for (what, act, dropped) in [
        (format!("{amount} of stdout in {events} lines"), flood(Stream::Stdout, false), 0),
        // The line break is not counted.
        (format!("one line of {amount} on stdout"), flood(Stream::Stdout, true), bytes - 1),
        (format!("{amount} of stderr"), flood(Stream::Stderr, false), 0),
        (format!("one line of {amount} on stderr"), flood(Stream::Stderr, true), 0),
    ] {
        let sandbox = Sandbox::new();
        let lines = |from, to| Act::EmitRecording { recording: PLAIN.to_owned(), from, to: Some(to), line_pause_ms: 0 };
        let fake = FakeScript::new(&sandbox, &programs.fake).on("run", [lines(0, 2), act, lines(2, 3)]).write();
        let object = turn(programs, &sandbox, &fake, "run", &what, 0, report).await?;
        if object["output"] != PLAIN_TEXT || object["dropped_bytes"] != dropped {
            return Err(format!("{what}: {object}").into());
        }
    }
    let sandbox = Sandbox::new();
    let speak = TurnAct::Speak { delta: "a ".to_owned(), count: events, at_once: 200, pause_ms: 0 };
    let fake = FakeScript::new(&sandbox, &programs.fake).on("serve", [Serving::doing([speak]).act()]).write();
    let text = 2 * events;
    let what = format!("{events} text deltas of a server");
    let object = turn(programs, &sandbox, &fake, "serve", &what, text, report).await?;
    let answer = object["output"].as_str().map(str::len);
    if answer.is_none_or(|answer| (answer as u64) < text - 1) {
        return Err(format!("{what}: {answer:?} of {text} bytes").into());
    }
    Ok(())
}

/// Runs a turn and reports the peak memory of the command; returns its output.
async fn turn(
    programs: &Programs,
    sandbox: &Sandbox,
    fake: &Fake,
    transport: &str,
    what: &str,
    text: u64,
    report: &mut Report,
) -> Result<Value, Box<dyn Error>> {
    let mut command = Command::from(sandbox.command(&programs.opencode_run));
    command
        .args(["--output-format", "json", "--transport", transport, "--opencode"])
        .arg(fake.executable())
        .arg("flood");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let began = Instant::now();
    let child = command.spawn()?;
    let taken = sample_until_exit(child.id().ok_or("the command has already ended")?);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await??;
    let taken = taken.join().map_err(|_| "the sampling thread panicked")?;
    let object: Value = serde_json::from_slice(&output.stdout)?;
    if !output.status.success() || object["state"] != "completed" {
        return Err(format!("{what}: {:?}, {}", output.status, object["error"]).into());
    }
    report.detail(what, &format!("{:.0} s", began.elapsed().as_secs_f64()));
    let bound = MAX_BYTES + text;
    let target = format!("<= {:.0} MiB", mib(bound));
    let measured = format!("{:.1} MiB", mib(taken.peak));
    report.row(&format!("our own memory with {what}"), &target, &measured, taken.peak > 0 && taken.peak <= bound);
    Ok(object)
}
