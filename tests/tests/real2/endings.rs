//! Ends of turns, without survivors.

use crate::stage;
use crate::stage::{Running, until};
use opencode_run_scripted_model::{Answer, Part, Script, When};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

fn slow() -> Script {
    Script::always(Answer::new([Part::chunked_text("word ".repeat(600), 5, Duration::from_millis(100))]))
}

/// Returns a tool that ignores SIGTERM, and has a child in its own session.
fn stubborn() -> Script {
    let command = "trap '' TERM INT HUP; setsid sh -c 'exec sleep 300' & touch ready; sleep 300";
    Script::new()
        .rule(When::agent().after_tools(0).reply(Part::tool_call("shell", json!({"command": command}))))
        .rule(When::agent().reply("Answer {turn}."))
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn interrupt_keeps_the_text_and_the_session() {
    let stage = stage(slow());
    let mut running = Running::start(stage.command(["-m", "stub/gpt-4", "--output-format", "stream-json", "go"]));
    until("text", || running.stdout_so_far().contains("word"));
    assert!(running.is_running());
    running.signal(Signal::INT);
    let done = running.end();
    assert_eq!(done.code, 130, "{}", done.stderr);
    let result: Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
    let result = if result["result"].is_object() { result["result"].clone() } else { result };
    assert_eq!(result["state"], "interrupted", "{result}");
    assert!(result["output"].as_str().unwrap().starts_with("word"), "{result}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn stubborn_tool_is_killed_at_every_ending() {
    for (signal, code) in [(Some(Signal::INT), 130), (Some(Signal::TERM), 143), (Some(Signal::KILL), -1), (None, 124)] {
        let stage = stage(stubborn());
        let limit = if signal.is_none() { "12s" } else { "10m" };
        let running = Running::start(stage.command(["-m", "stub/gpt-4", "--timeout", limit, "go"]));
        until("the tool", || stage.task_dirs().iter().any(|directory| directory.join("ready").exists()));
        if let Some(signal) = signal {
            running.signal(signal);
        }
        assert_eq!(running.end().code, code, "{signal:?}");
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn background_command_ends_with_its_turn() {
    let command = json!({"command": "sleep 300; echo later", "background": true});
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(Part::tool_call("shell", command)))
        .rule(When::agent().after_tools(1).reply("Started it."));
    let stage = stage(script);
    stage.dot_env("MODEL_DEFAULT_BASEURL={url}\nMODEL_DEFAULT_APIKEY=sk-1\nMODEL_DEFAULT_MODEL=m\n");
    assert_eq!(stage.run(["--output-format", "json", "go"]).with_code(0).json()["output"], "Started it.");
    // The gateway refuses the requests of the execution that opencode starts when the command has ended.
    assert_eq!(stage.requests().len(), 2);
    stage.end();
}
