//! Printed and saved output.

use crate::stage::{Running, Stage, bash, entries, until};
use opencode_run_scripted_model::{Answer, Finish, Part, Script, Usage, When};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Returns a turn of two steps with reasoning, text and a tool, whose tokens are counted.
fn two_steps(command: &str) -> Script {
    let first = Answer::new([Part::reasoning("Let me think."), Part::text("I look."), bash(command)]);
    Script::new()
        .rule(When::agent().after_tools(0).reply(first.usage(Usage::new(1000, 20).reasoning(5).cache_read(300))))
        .rule(When::agent().after_tools(1).reply(Answer::text("I saw.").usage(Usage::new(2000, 30))))
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn text_is_streamed_immediately() {
    let stage = Stage::new(two_steps("until [ -e ../go ]; do sleep 0.1; done; echo out"));
    let mut running = Running::start(stage.command(["-m", "stub/gpt-4", "look"]));
    until("the first text", || running.stdout_so_far() == "I look.");
    assert!(running.is_running() && stage.requests().len() == 1);
    stage.write("workspace/go", "");
    let done = running.end().with_code(0);
    assert_eq!(done.stdout, "I look.\n\nI saw.\n");
    assert!(done.stderr.contains("completed in") && done.stderr.contains("session ses_"), "{}", done.stderr);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn watching_shows_state_without_loss() {
    let stage = Stage::new(two_steps("sleep 2"));
    let done = stage.run(["-m", "stub/gpt-4", "--no-wait", "--quiet", "look"]).with_code(0);
    assert_eq!(done.stdout, "I look.\n\nI saw.\n");
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert!(
        lines.contains(&"running: 0 bytes of output") && lines.contains(&"running: 7 bytes of output"),
        "{lines:?}"
    );
    assert_eq!(lines.last(), Some(&"completed: 15 bytes of output"), "{lines:?}");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn json_result_sums_the_steps() {
    let stage = Stage::new(two_steps("echo out"));
    stage.dot_env(
        "MODEL_DEFAULT_BASEURL={url}\nMODEL_DEFAULT_MODEL=priced\n\
         MODEL_DEFAULT_PRICE_INPUT=1.5\nMODEL_DEFAULT_PRICE_OUTPUT=10\n",
    );
    let done = stage.run(["--output-format", "json", "--save-markdown", "look"]).with_code(0);
    assert_eq!(done.stdout.matches('\n').count(), 1);
    let mut json = done.json();
    let fields: BTreeSet<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    for field in [
        "task_name",
        "task_dir",
        "session_id",
        "state",
        "output",
        "model",
        "usage",
        "cost",
        "duration_ms",
        "transcript",
        "error",
    ] {
        assert!(fields.contains(field), "{field} is missing in {fields:?}");
    }
    let usage = json!({"input": 3000, "output": 50, "reasoning": 5, "cache_read": 300, "cache_write": 0});
    assert_eq!(json["usage"], usage);
    assert_eq!((json["state"].take(), json["output"].take()), ("completed".into(), "I look.\n\nI saw.".into()));
    assert_eq!((json["error"].take(), json["steps"].take()), (Value::Null, 2.into()));
    assert!(json["model"].as_str().unwrap().contains("priced"), "{}", json["model"]);
    // Reasoning costs as much as output; cached input has no configured price.
    let cost = (3000.0 * 1.5 + 55.0 * 10.0) / 1e6;
    assert!((json["cost"].as_f64().unwrap() - cost).abs() < 1e-9, "{} is not {cost}", json["cost"]);
    assert!(json["duration_ms"].as_u64().unwrap() > 100);

    let directory = Path::new(json["task_dir"].as_str().unwrap());
    let transcript = directory.join("conversation.md");
    assert_eq!(json["transcript"].as_str(), transcript.to_str());
    let text = std::fs::read_to_string(&transcript).unwrap();
    for part in ["look", "I look.", "echo out", "I saw.", "priced"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(entries(directory).len(), 2, ".git and the transcript alone");
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn stream_json_has_tokens_and_tool_states() {
    let stage = Stage::new(two_steps("echo out"));
    let done = stage.run(["-m", "stub/gpt-4", "--output-format", "stream-json", "look"]).with_code(0);
    let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, events) = lines.split_last().unwrap();
    assert_eq!((&result["type"], &result["state"]), (&"result".into(), &"completed".into()));
    assert_eq!(result["output"], "I look.\n\nI saw.");
    let known = events.iter().filter(|event| event["type"] != "unknown");
    let told: Vec<_> =
        known.map(|event| (event["type"].as_str().unwrap(), event["state"]["status"].as_str())).collect();
    let expected = [
        ("step_start", None),
        ("reasoning_delta", None),
        ("text_delta", None),
        ("tool", Some("pending")),
        ("tool", Some("running")),
        ("tool", Some("completed")),
        ("step_finish", None),
        ("step_start", None),
        ("text_delta", None),
        ("step_finish", None),
    ];
    // When opencode reports that a text is finished, the next tool may be running; and it reports that more than once.
    let whole = |kind: &str| ["text", "reasoning"].contains(&kind);
    let mut grown: Vec<_> = told.iter().filter(|(kind, _)| !whole(kind)).copied().collect();
    grown.dedup();
    assert_eq!(grown, expected);
    assert_eq!(told.iter().filter(|(kind, _)| whole(kind)).count(), 3, "{told:?}");
    assert!(events.iter().all(|event| event["raw"].is_object()), "{}", done.stdout);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn stream_json_contains_opencodes_lines() {
    let stage = Stage::new(two_steps("echo out"));
    // An opencode that also writes its output to a file.
    let raw = stage.sandbox.path("raw.jsonl");
    let real = stage.opencode.display();
    let script = format!(
        "#!/bin/sh\ncase $1 in run) '{real}' \"$@\" > '{0}'; code=$?; cat '{0}'; exit $code;; esac\nexec '{real}' \"$@\"\n",
        raw.display()
    );
    let wrapper = stage.write("wrapper/opencode", &script);
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    let format = ["-m", "stub/gpt-4", "--output-format", "stream-json", "--transport", "run"];
    let done = stage.run(format.into_iter().chain(["--opencode", wrapper.to_str().unwrap(), "look"])).with_code(0);
    let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, events) = lines.split_last().unwrap();
    assert_eq!((&result["type"], &result["state"]), (&"result".into(), &"completed".into()));
    assert_eq!(result["output"], "I look.\n\nI saw.");
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["step_start", "reasoning", "text", "tool", "step_finish", "step_start", "text", "step_finish"]);

    let written = std::fs::read_to_string(&raw).unwrap();
    assert_eq!(written.lines().count(), events.len());
    for line in written.lines() {
        assert!(done.stdout.contains(&format!("\"raw\":{line}")), "{line} is not in {}", done.stdout);
    }
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn transcript_is_printed_and_saved() {
    let stage = Stage::new(two_steps("echo out"));
    let arguments =
        ["-m", "stub/gpt-4", "--print-markdown", "--save-markdown=../talk.md", "--context", "Be kind.", "look"];
    let done = stage.run(arguments).with_code(0);
    let saved = std::fs::read_to_string(stage.sandbox.path("talk.md")).unwrap();
    assert_eq!(done.stdout, saved);
    for part in ["look", "Be kind.", "I look.", "echo out", "I saw."] {
        assert!(saved.contains(part), "{part} is not in {saved}");
    }
    assert!(done.stderr.contains("talk.md"), "{}", done.stderr);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn cut_answer_completes_with_warning() {
    let cut = Answer::text("Cut at the limit of").finish(Finish::Length);
    let stage = Stage::new(Script::always(cut));
    let done = stage.turn(["--quiet", "write"]).with_code(0);
    let json = done.json();
    assert_eq!((&json["state"], &json["finish_reason"]), (&"completed".into(), &"length".into()));
    assert!(done.stderr.contains("warning: ") && done.stderr.contains("cut"), "{}", done.stderr);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn broken_pipe_interrupts_quietly() {
    let first = vec![Part::text("I look."), bash("sleep 1")];
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(first))
        .rule(When::agent().after_tools(1).reply(vec![Part::text("More."), bash("sleep 300")]));
    let stage = Stage::new(script);
    let mut command = stage.command(["-m", "stub/gpt-4", "look"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(command);
    let mut code = None;
    until("the end", || {
        code = child.try_wait().unwrap().and_then(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(141));
    stage.sandbox.assert_nothing_alive_within(Duration::from_secs(3));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn stdout_has_only_the_structured_value() {
    let said = [Part::text("Here you are."), Part::tool_call("StructuredOutput", json!({"count": 3}))];
    let stage = Stage::new(Script::new().rule(When::agent().reply(Answer::new(said))));
    stage.write(
        "workspace/count.json",
        r#"{"type":"object","properties":{"count":{"type":"integer"}},"required":["count"]}"#,
    );
    let arguments = ["-m", "stub/gpt-4", "--json-schema", "count.json"];
    let done = stage.run(arguments.into_iter().chain(["count"])).with_code(0);
    assert_eq!(done.stdout, "{\"count\":3}\n");
    assert!(done.stderr.contains("beside the value: Here you are."), "{}", done.stderr);
    for format in ["json", "stream-json"] {
        let done = stage.run(arguments.into_iter().chain(["--output-format", format, "count"])).with_code(0);
        let result: Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
        assert_eq!((&result["output"], &result["structured"]), (&json!("{\"count\":3}"), &json!({"count": 3})));
    }
    stage.end();
}
