//! A program that embeds the library and ends while a tool is running.

use crate::stage::{Stage, bash, until};
use opencode_run_scripted_model::{Script, When};
use opencode_run_tests::locate;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The maximum time for which processes of a program may outlive it.
const PROMISED: Duration = Duration::from_secs(5);

/// Starts the program and waits until its tool is running: in the foreground, in the background, in its own session,
/// and without an environment.
fn at_work(line: &str, transport: &str, end: &str) -> (Stage, Child) {
    let tool = "setsid sleep 120 & (env -i setsid sleep 120 &) ; touch ready; sleep 120";
    let stage = Stage::new(Script::new().rule(When::agent().reply(bash(tool))));
    let mut command = stage.sandbox.command(locate("embedding-program", env!("CARGO_BIN_EXE_embedding-program")));
    command.args([transport, &stage.opencode.to_string_lossy(), end]).env("LINE", line).env("MODEL", "stub/gpt-4");
    let program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the tool", || stage.task_dirs().iter().any(|directory| directory.join("ready").exists()));
    (stage, program)
}

fn end(stage: &Stage, program: &mut Child, signal: Option<Signal>) {
    match signal {
        Some(signal) => kill_process(Pid::from_child(program), signal).unwrap(),
        None => drop(stage.write("workspace/end", "")),
    }
    program.wait().unwrap();
}

/// A turn takes seconds, so the fake plays all other ends: for a supervisor and a watchdog they are the same.
const ENDS: [(&str, Option<Signal>); 3] = [("run", Some(Signal::INT)), ("serve", Some(Signal::KILL)), ("serve", None)];

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn program_with_supervisor_leaves_nothing() {
    for (transport, signal) in ENDS {
        let (stage, mut program) = at_work("first", transport, "exit");
        end(&stage, &mut program, signal);
        stage.sandbox.assert_nothing_alive_within(PROMISED);
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn program_without_supervisor_leaves_no_opencode() {
    for (transport, signal) in ENDS {
        let (stage, mut program) = at_work("none", transport, "exit");
        let is_tool = |line: &String| line.contains("sleep 120");
        let others =
            || stage.sandbox.suspects().alive().into_iter().map(|(_, line)| line).filter(|line| !is_tool(line));
        assert!(others().count() > 1, "opencode is at work");
        end(&stage, &mut program, signal);
        let began = Instant::now();
        while others().next().is_some() {
            let left: Vec<_> = others().collect();
            assert!(began.elapsed() < PROMISED, "{transport}, {signal:?}: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        stage.sandbox.suspects().kill_all();
    }
}
