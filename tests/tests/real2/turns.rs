//! The course of a turn.

use crate::stage;
use opencode_run_scripted_model::{Answer, ErrorReply, Part, Script, Usage, When};
use serde_json::{Value, json};

/// Returns the known events of a turn's `stream-json`, by their kinds.
fn kinds(stdout: &str) -> Vec<String> {
    let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kinds = lines.filter_map(|line| Some(line["type"].as_str()?.to_owned()));
    kinds.filter(|kind| !["unknown", "result", "session"].contains(&kind.as_str())).collect()
}

fn tools_then(answer: &str, parts: Vec<Part>) -> Script {
    Script::new()
        .rule(When::agent().after_tools(0).reply(Answer::new(parts).usage(Usage::new(120, 12))))
        .rule(When::agent().after_tools(1).reply(Answer::text(answer).usage(Usage::new(120, 12))))
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn turn_has_text_reasoning_tools_and_usage() {
    let parts = vec![
        Part::reasoning("Let me think."),
        Part::text("I make a file."),
        Part::tool_call("shell", json!({"command": "echo made > made.txt; pwd"})),
    ];
    let stage = stage(tools_then("All done.", parts));
    let result = stage.turn(["go"]).with_code(0).json();
    assert_eq!((&result["state"], &result["steps"]), (&json!("completed"), &json!(2)), "{result}");
    assert!(result["output"].as_str().unwrap().ends_with("All done."), "{result}");
    assert_eq!((&result["usage"]["input"], &result["usage"]["output"]), (&json!(240), &json!(24)));
    let directory = stage.task_dirs().pop().unwrap();
    assert!(directory.join("made.txt").exists(), "the tool worked in the task's directory");
    assert!(stage.requests()[1].messages_text().contains(&*directory.to_string_lossy()));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn events_are_those_of_opencode_1() {
    let stage = stage(tools_then("Done.", vec![Part::tool_call("shell", json!({"command": "true"}))]));
    let done = stage.run(["-m", "stub/gpt-4", "--output-format", "stream-json", "go"]).with_code(0);
    let expected =
        ["step_start", "tool", "tool", "tool", "step_finish", "step_start", "text_delta", "text", "step_finish"];
    let mut told = kinds(&done.stdout);
    // A text may be split into any number of pieces, of which the first has no text.
    told.dedup_by(|one, next| one == next && one == "text_delta");
    assert_eq!(told, expected, "{}", done.stdout);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn permission_is_refused_or_allowed_by_policy() {
    for (more, output) in [(&[][..], "Unable to read"), (&["--permission", "allow"][..], "Read file /etc/hostname")] {
        let stage = stage(tools_then("Done.", vec![Part::tool_call("read", json!({"path": "/etc/hostname"}))]));
        let result = stage.turn(more.iter().copied().chain(["go"])).with_code(0).json();
        assert_eq!(result["output"], "Done.");
        assert!(stage.requests()[1].messages_text().contains(output), "{more:?}");
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn sub_agents_permission_is_answered() {
    let delegate =
        Part::tool_call("subagent", json!({"description": "Look", "prompt": "SUBTASK: look", "agent": "general"}));
    let script = Script::new()
        .rule(
            When::agent()
                .said("SUBTASK")
                .after_tools(0)
                .reply(Part::tool_call("read", json!({"path": "/etc/hostname"}))),
        )
        .rule(When::agent().said("SUBTASK").reply("I have looked."))
        .rule(When::agent().after_tools(0).reply(delegate))
        .rule(When::agent().after_tools(1).reply("Done."));
    let stage = stage(script);
    let done = stage.run(["-m", "stub/gpt-4", "--output-format", "stream-json", "go"]).with_code(0);
    assert!(done.stdout.lines().any(|line| line.contains("\"sub_agent\":\"ses_") && line.contains("\"permission\"")));
    assert_eq!(stage.requests().len(), 4);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn answered_question_lets_agent_continue() {
    let options = json!([{"label": "A", "description": "a"}]);
    let question = json!({"questions": [{"question": "Which?", "header": "Which", "options": options}]});
    let stage = stage(tools_then("I decided.", vec![Part::tool_call("question", question)]));
    assert_eq!(stage.turn(["go"]).with_code(0).json()["output"], "I decided.");
    assert!(stage.requests()[1].messages_text().contains("the run is unattended"));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn retries_are_events_and_the_turn_recovers() {
    let limited = ErrorReply::new(429).message("slow down").header("retry-after", "1");
    let stage =
        stage(Script::new().rule(When::agent().reply(limited).times(1)).rule(When::agent().reply("Recovered.")));
    let done = stage.run(["-m", "stub/gpt-4", "--output-format", "stream-json", "go"]).with_code(0);
    assert!(kinds(&done.stdout).contains(&"retry".to_owned()), "{}", done.stdout);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn failures_are_typed_and_send_nothing_more() {
    let stage = stage(Script::always(ErrorReply::new(401).message("no such key")));
    let error = |arguments: &[&str], code: i32| {
        let arguments = ["--output-format", "json"].iter().chain(arguments).copied();
        stage.run(arguments.chain(["go"])).with_code(code).json()["error"].take()
    };
    let refused = error(&["-m", "stub/gpt-4"], 1);
    assert_eq!((&refused["kind"], stage.requests().len()), (&json!("provider"), 1), "{refused}");
    assert_eq!(error(&["-m", "stub/gpt-4", "--agent", "nope"], 2)["message"], "agent `nope` was not found by opencode");
    let unknown = error(&["-m", "stub/gpt-9"], 1);
    assert_eq!(unknown["kind"], "model_not_found", "{unknown}");
    assert!(unknown["message"].as_str().unwrap().contains("stub/gpt-4"), "{unknown}");
    assert_eq!(stage.requests().len(), 1);
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn answer_matches_schema_after_repair() {
    let script = Script::new()
        .rule(When::agent().reply("The city is Bern.").times(1))
        .rule(When::agent().reply("{\"city\": \"Bern\"}"));
    let stage = stage(script);
    let schema = stage.write("schema.json", r#"{"type": "object", "required": ["city"]}"#);
    let schema = schema.to_str().unwrap();
    let result = stage.turn(["--json-schema", schema, "Where?"]).with_code(0).json();
    assert_eq!(result["structured"], json!({"city": "Bern"}), "{result}");
    assert!(stage.requests()[0].system_text().contains("\"required\":[\"city\"]"));
    stage.end();
}

#[test]
#[cfg_attr(not(real_opencode2), ignore = "no real opencode 2")]
fn file_is_in_the_message() {
    let stage = stage(Script::always("I see it."));
    let file = stage.write("notes.txt", "PERIWINKLE");
    stage.turn(["--file", file.to_str().unwrap(), "look"]).with_code(0);
    assert!(stage.request().messages_text().contains("PERIWINKLE"));
    stage.end();
}
