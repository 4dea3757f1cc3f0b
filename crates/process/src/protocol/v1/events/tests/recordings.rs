//! Every line that the real opencode wrote.

use super::*;
use opencode_run_core::StepReason;
use std::collections::BTreeMap;

/// The kinds that the real opencode writes, and what they are here.
const KINDS: [(&str, &str); 6] = [
    ("step_start", "step_start"),
    ("text", "text"),
    ("reasoning", "reasoning"),
    ("tool_use", "tool"),
    ("step_finish", "step_finish"),
    ("error", "error"),
];

/// Returns the lines of every recording, but for the one of 1.0 that asks a person on stdout: that is why `run` of 1.0 is not
/// driven.
fn driven() -> impl Iterator<Item = (String, Vec<String>)> {
    let recordings = recordings().into_iter().filter(|recording| recording.name != "1.0.185/refused");
    recordings.map(|recording| (recording.name, recording.stdout))
}

#[test]
fn what_is_no_json_is_kept_as_it_came() {
    let asking = recordings().into_iter().find(|recording| recording.name == "1.0.185/refused").unwrap();
    for line in &asking.stdout {
        let Decoded { session, observed } = decode(line.as_bytes());
        let Event::Unknown { kind, raw } = observed.event else { panic!("{line}") };
        assert_eq!((session, kind.as_str()), (None, "unreadable"));
        assert_eq!(crate::json_text::parse_repaired::<String>(raw.get()).unwrap(), *line);
    }
}

#[test]
fn every_recorded_line_is_of_a_known_kind() {
    let mut seen = BTreeMap::new();
    for (name, stdout) in driven() {
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
fn nothing_of_a_recorded_line_that_matters_is_lost() {
    for (name, stdout) in driven() {
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
fn a_spread_of_recorded_lines() {
    let mut spread = BTreeMap::new();
    for name in ["tool-then-text", "refused", "reasoning", "plain-text-priced", "error-429", "subagent"] {
        let recording = recordings().into_iter().find(|recording| recording.name == format!("1.18.33/{name}")).unwrap();
        let events = recording.stdout.iter().map(|line| decode(line.as_bytes()).observed.event);
        spread.insert(name, events.collect::<Vec<_>>());
    }
    insta::assert_json_snapshot!(spread);
}
