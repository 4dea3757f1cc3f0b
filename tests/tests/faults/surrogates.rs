//! JSON from opencode with half of a UTF-16 surrogate pair, which no Rust string can contain.

use crate::support::{Case, Transport, plain, stdout};
use opencode_run_tests::recording::Recording;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct, TurnRule};
use serde_json::Value;

/// Half of an emoji, as JavaScript writes it.
const HALF: &str = "\\ud83d";

fn events(stream: &str) -> Vec<Value> {
    stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn half_pair_in_tool_is_read() {
    let recording = Recording::named("1.18.33/tool-then-text").unwrap();
    let acts = recording.stdout.iter().map(|line| {
        stdout(&(line.replace("made by a tool\\n\",\"metadata", &format!("made by a tool{HALF}\",\"metadata")) + "\n"))
    });
    let case = Case::doing(acts.collect::<Vec<Act>>());
    let outcome = case.run(&["--output-format", "stream-json", "hello"]);
    outcome.assert_code(0);
    let events = events(&outcome.stdout);
    let tool = events.iter().find(|event| event["type"] == "tool").unwrap();
    assert!(tool["state"]["output"].as_str().unwrap().ends_with("made by a tool\u{fffd}"), "{tool}");
    assert!(!events.iter().any(|event| event["kind"] == "unreadable"), "{events:?}");
}

#[test]
fn half_pair_in_error_fails_turn() {
    let error = format!(r#"{{"type":"error","error":{{"name":"APIError","data":{{"message":"too long{HALF}"}}}}}}"#);
    let (outcome, object) = Case::doing([plain(0, 1), stdout(&(error + "\n"))]).run_json(&["hello"]);
    outcome.assert_code(1);
    assert_eq!(object["error"]["kind"], "provider", "{object}");
    assert!(object["error"]["message"].as_str().unwrap().contains("too long\u{fffd}"), "{object}");
}

#[test]
fn half_pair_is_read_on_serve() {
    let part = |status: &str| {
        format!(
            r#"{{"directory":"{{{{cwd}}}}","payload":{{"type":"message.part.updated","properties":{{"part":{{"id":"prt_{{{{answer}}}}","sessionID":"{{{{session}}}}","messageID":"{{{{answer}}}}","type":"tool","tool":"read","callID":"c","state":{{"status":"{status}","input":{{"filePath":"a{HALF}"}},"output":"cut{HALF}","title":"{HALF}"}}}}}}}}}}"#
        )
    };
    let message = r#"{"directory":"{{cwd}}","payload":{"type":"message.updated","properties":{"info":{"id":"{{answer}}","role":"assistant","sessionID":"{{session}}","parentID":"{{message}}"}}}}"#;
    let serving = Serving::default().turn(TurnRule::every([
        TurnAct::Event { data: message.to_owned() },
        TurnAct::Event { data: part("running") },
        TurnAct::Event { data: part("completed") },
        TurnAct::replay("1.18.33/plain-text"),
    ]));
    let case = Case::new(|script, _| script.on("serve", [serving.act()])).on(Transport::Serve);
    let outcome = case.run(&["--output-format", "stream-json", "--idle-timeout", "20s", "hello"]);
    outcome.assert_code(0);
    let events = events(&outcome.stdout);
    let tools: Vec<_> = events.iter().filter(|event| event["type"] == "tool").collect();
    assert_eq!(tools.len(), 2, "{events:?}");
    assert_eq!(tools[0]["input"]["filePath"], "a\u{fffd}");
    assert_eq!(tools[1]["state"]["output"], "cut\u{fffd}");
}
