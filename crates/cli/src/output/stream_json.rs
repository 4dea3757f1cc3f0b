//! The objects that `--output-format stream-json` prints, one per line.

use super::report::{Report, to_json};
use opencode_run_core::TurnEvent;

/// Returns an event on one line.
pub(crate) fn event_line(event: &TurnEvent) -> String {
    // An event is a map with string keys: it can be written.
    let mut line = serde_json::to_string(event).unwrap_or_default();
    // Line breaks occur only between the tokens of opencode's JSON.
    line.retain(|c| !matches!(c, '\n' | '\r'));
    line.push('\n');
    line
}

/// Returns the last line: the report with its type.
pub(crate) fn result_line(report: &Report<'_>) -> String {
    let mut line = to_json(report);
    line.insert_str(line.len().min(1), "\"type\":\"result\",");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{Event, Observed, PartId, RawJson, SessionId, ToolCall, ToolState};
    use serde_json::{Value, json};
    use std::time::Duration;

    fn line(event: Event, raw: Option<&str>, sub_agent: Option<&str>) -> Value {
        let mut observed = Observed::new(event);
        observed.raw = raw.map(|raw| RawJson::parse(raw.to_owned()).unwrap());
        observed.sub_agent = sub_agent.map(SessionId::new);
        let line = event_line(&TurnEvent::new(0, Duration::from_millis(7), observed));
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line:?}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn each_line_is_one_object() {
        let text = Event::Text { part: PartId::new("p"), text: "a}\n}".to_owned() };
        assert_eq!(
            line(text, Some("{\"x\":\n {}}"), None),
            json!({"type": "text", "part": "p", "text": "a}\n}", "at_ms": 7, "raw": {"x": {}}})
        );
        assert_eq!(
            line(Event::StepStart, None, Some("ses_2")),
            json!({"type": "step_start", "at_ms": 7, "sub_agent": "ses_2"})
        );
        let state = ToolState::Completed { title: None, output: "}}".to_owned() };
        let call = ToolCall::new("1", "bash", json!({"a": {"b": {}}}), state);
        assert_eq!(line(Event::Tool(call), None, None)["state"]["output"], "}}");
        let raw = RawJson::parse("{\"type\":\"new\"}".to_owned()).unwrap();
        let unknown = Event::Unknown { kind: "new".to_owned(), raw };
        assert_eq!(
            line(unknown, Some("{\"type\":\"new\"}"), None),
            json!({"type": "unknown", "kind": "new", "raw": {"type": "new"}, "at_ms": 7})
        );
    }
}
