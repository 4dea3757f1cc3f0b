//! Every recorded line of the real opencode.

use super::*;
use opencode_run_core::StepReason;
use std::collections::BTreeMap;

/// The kinds of lines that the real opencode writes, and their names here.
const KINDS: [(&str, &str); 6] = [
    ("step_start", "step_start"),
    ("text", "text"),
    ("reasoning", "reasoning"),
    ("tool_use", "tool"),
    ("step_finish", "step_finish"),
    ("error", "error"),
];

/// Returns the lines of every recording, except for that of 1.0, which prompts a person on stdout: that is why `run` of
/// 1.0 is not supported.
fn supported() -> impl Iterator<Item = (String, Vec<String>)> {
    let recordings = recordings().into_iter().filter(|recording| recording.name != "1.0.185/refused");
    recordings.map(|recording| (recording.name, recording.stdout))
}

#[test]
fn invalid_json_is_kept_verbatim() {
    let asking = recordings().into_iter().find(|recording| recording.name == "1.0.185/refused").unwrap();
    for line in &asking.stdout {
        let Decoded { session, observed } = decode(line.as_bytes());
        let Event::Unknown { kind, raw } = observed.event else { panic!("{line}") };
        assert_eq!((session, kind.as_str()), (None, "unreadable"));
        assert_eq!(crate::json_text::parse_repaired::<String>(raw.get()).unwrap(), *line);
    }
}

#[test]
fn every_recorded_line_is_known() {
    let mut seen = BTreeMap::new();
    for (name, stdout) in supported() {
        for line in stdout {
            let json: Value = crate::json_text::parse_repaired(&line).unwrap();
            let theirs = json["type"].as_str().unwrap();
            let Decoded { session, observed } = decode(line.as_bytes());
            let ours = KINDS.iter().find(|(kind, _)| *kind == theirs).map(|(_, ours)| *ours);
            assert_eq!(Some(observed.event.kind()), ours, "{name}: {line}");
            assert_eq!(observed.raw.unwrap().get(), line, "{name}");
            assert_eq!(session.unwrap().as_str(), json["sessionID"].as_str().unwrap(), "{name}");
            *seen.entry(theirs.to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.len(), KINDS.len(), "each kind was recorded: {seen:?}");
}

#[test]
fn recorded_content_is_complete() {
    for (name, stdout) in supported() {
        for line in stdout {
            let json: Value = crate::json_text::parse_repaired(&line).unwrap();
            let part = &json["part"];
            match decode(line.as_bytes()).observed.event {
                Event::Text { part: id, text } | Event::Reasoning { part: id, text } => {
                    assert_eq!((json!(id), json!(text)), (part["id"].clone(), part["text"].clone()), "{name}");
                }
                Event::Tool(call) => {
                    assert_eq!((json!(call.tool), &call.input), (part["tool"].clone(), &part["state"]["input"]));
                    assert!(call.state.is_final(), "{name}: `run` tells of a call when it is over");
                }
                Event::StepFinish { reason, usage, cost } => {
                    assert!(!matches!(reason, StepReason::Other(_)), "{name}: {line}");
                    assert_eq!(json!(usage.input), part["tokens"]["input"], "{name}");
                    assert_eq!(json!(usage.output), part["tokens"]["output"], "{name}");
                    assert_eq!(json!(usage.cache_read), part["tokens"]["cache"]["read"], "{name}");
                    assert_eq!(Some(cost), part["cost"].as_f64(), "{name}");
                }
                Event::Error(error) => {
                    assert_eq!(json!(error.name), json["error"]["name"], "{name}");
                    assert_eq!(json!(error.message), json["error"]["data"]["message"], "{name}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn recorded_lines_become_the_expected_events() {
    let mut spread = BTreeMap::new();
    for name in ["tool-then-text", "refused", "reasoning", "plain-text-priced", "error-429", "subagent"] {
        let recording = recordings().into_iter().find(|recording| recording.name == format!("1.18.33/{name}")).unwrap();
        let events = recording.stdout.iter().map(|line| decode(line.as_bytes()).observed.event);
        spread.insert(name, events.collect::<Vec<_>>());
    }
    insta::assert_json_snapshot!(spread);
}
