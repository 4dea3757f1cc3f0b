//! Ending a turn early: no output is lost, and no process survives.

use crate::stage::{Running, Stage, bash, until};
use opencode_run_scripted_model::{Answer, Part, Script, Usage, When};
use rustix::process::Signal;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Returns a turn whose first step is finished and whose second step has a long-running tool, with processes that try
/// to survive.
fn long_tool() -> Script {
    let survivors = "trap '' INT TERM HUP; setsid sleep 300 & echo $! > new; \
                     env -i setsid sleep 300 & echo $! >> new; mv new pids; sleep 300";
    Script::new()
        .rule(
            When::agent()
                .after_tools(0)
                .reply(Answer::new([Part::text("I look."), bash("echo seen")]).usage(Usage::new(1000, 20))),
        )
        .rule(When::agent().after_tools(1).reply(vec![Part::text("I wait."), bash(survivors)]))
}

/// Starts the turn of [`long_tool`] and waits until its tool is running.
fn at_work(stage: &Stage, more: &[&str]) -> Running {
    let arguments = ["-m", "stub/gpt-4", "--save-markdown=../talk.md"].into_iter().chain(more.iter().copied());
    let running = Running::start(stage.command(arguments.chain(["look"])));
    until("the tool", || stage.task_dirs().iter().any(|directory| directory.join("pids").exists()));
    running
}

/// Asserts that the tool's processes are gone.
#[track_caller]
fn survivors_are_gone(stage: &Stage) {
    let pids = std::fs::read_to_string(stage.task_dirs()[0].join("pids")).unwrap();
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(status.is_empty() || status.contains(") Z "), "{pid} is alive: {status}");
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn interrupt_keeps_output_without_survivors() {
    let stage = Stage::new(long_tool());
    let running = at_work(&stage, &["--output-format", "json"]);
    running.signal(Signal::INT);
    let since = Instant::now();
    let done = running.end().with_code(130);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    survivors_are_gone(&stage);
    let json = done.json();
    assert_eq!((&json["state"], &json["error"]), (&"interrupted".into(), &Value::Null));
    assert_eq!(json["output"], "I look.\n\nI wait.");
    assert_eq!((&json["steps"], &json["usage"]["input"]), (&1.into(), &1000.into()));
    let transcript = std::fs::read_to_string(stage.sandbox.path("talk.md")).unwrap();
    for part in ["echo seen", "I wait.", "nterrupted"] {
        assert!(transcript.contains(part), "{part} is not in {transcript}");
    }
    assert!(done.stderr.contains("interrupted"), "{}", done.stderr);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn second_interrupt_does_not_wait() {
    let stage = Stage::new(long_tool());
    let running = at_work(&stage, &[]);
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(20));
    running.signal(Signal::INT);
    let done = running.end().with_code(130);
    assert_eq!(done.stdout, "I look.\n\nI wait.\n");
    survivors_are_gone(&stage);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn sigterm_ends_stream_json_with_result() {
    let stage = Stage::new(long_tool());
    let running = at_work(&stage, &["--output-format", "stream-json"]);
    running.signal(Signal::TERM);
    let done = running.end().with_code(143);
    let result: Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&result["type"], &result["state"]), (&"result".into(), &"interrupted".into()));
    survivors_are_gone(&stage);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn interrupt_ends_chat_without_terminal() {
    let script = Script::new()
        .rule(When::agent().turn(1).reply(vec![Part::text("Half of "), Part::stall()]))
        .rule(When::agent().reply("Turn {turn}."));
    let stage = Stage::new(script);
    let mut command = stage.command(["chat", "-m", "stub/gpt-4"]);
    command.stdin(std::process::Stdio::piped());
    let mut chat = Running::start(command);
    chat.say("first\nsecond\n");
    stage.wait_for_requests(1);
    chat.signal(Signal::INT);
    // Without a terminal no person could continue the chat.
    chat.end().with_code(130);
    assert_eq!(stage.requests().len(), 1);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn time_limits_have_their_exit_code() {
    let play = |option: &str, limit: u64, kind: &str| {
        let stage = Stage::new(Script::always(vec![Part::text("Half of "), Part::stall()]));
        let began = Instant::now();
        let json = stage.turn([option, &format!("{limit}s"), "look"]).with_code(124).json();
        assert_eq!((&json["state"], &json["error"]["kind"]), (&"error".into(), &kind.into()));
        // The limit counts from the start of the command, the duration in the JSON from that of the turn.
        assert!(began.elapsed() >= Duration::from_secs(limit), "{json}");
        stage.end();
    };
    // Each waits most of the time.
    std::thread::scope(|scope| {
        scope.spawn(|| play("--timeout", 8, "timeout"));
        scope.spawn(|| play("--idle-timeout", 7, "idle_timeout"));
    });
}
