//! Compaction: opencode replaces a conversation that grew too long by a summary, which it requests from the model.

use super::events::is_synthetic;
use opencode_run_core::{Event, Observed, PartId, RawJson, Warning, WarningCode};

/// opencode's name of the error for a request that is too large for the model or the provider.
pub(super) const OVERFLOW: &str = "ContextOverflowError";
/// The kind of the events that contain the text of a summary.
const SUMMARY: &str = "compaction_summary";
/// The kind of the event that contains opencode's own request to continue after a compaction.
const CONTINUATION: &str = "compaction_continuation";

/// Returns the warning that opencode has replaced the conversation by a summary. `was_refused` is whether the provider
/// refused a request before.
pub(crate) fn compaction_warning(was_refused: bool) -> Warning {
    let message = if was_refused {
        "the provider refused a request as too large: opencode replaced the conversation by a summary, without its images \
         and files"
    } else {
        "the conversation became too long for the model: opencode replaced it by a summary"
    };
    Warning::new(WarningCode::Compacted, message)
        .hint("check whether the answer lost earlier details, or split the task")
}

/// Separates summaries from the answer in the output of `opencode run`, which prints both in the same way.
///
/// A summary is known by what surrounds it: it is the step after the error of a request that was too large, or the step
/// before opencode's own request to continue. In the second case its text has already been emitted, and is replaced by
/// an empty one.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// Whether the next step is a summary.
    is_expected: bool,
    /// Whether the current step is a summary.
    is_summary: bool,
    /// Whether the current step calls tools, which a summary does not.
    calls_tools: bool,
    /// The texts of the current step; empty if it calls tools.
    texts: Vec<PartId>,
}

impl Compaction {
    /// Returns the events for one of the output.
    pub(crate) fn apply(&mut self, observed: Observed) -> Vec<Observed> {
        match &observed.event {
            Event::Error(error) if error.name == OVERFLOW => self.is_expected = true,
            Event::StepStart => {
                self.calls_tools = false;
                self.texts.clear();
                self.is_summary = std::mem::take(&mut self.is_expected);
                if self.is_summary {
                    return vec![warning(true), observed];
                }
            }
            Event::Text { .. } if observed.raw.as_ref().is_some_and(|raw| is_synthetic(raw.get())) => {
                return self.end(observed);
            }
            Event::Text { .. } | Event::Reasoning { .. } if self.is_summary => return vec![marked(observed, SUMMARY)],
            Event::Text { part, .. } if !self.calls_tools => self.texts.push(part.clone()),
            Event::Tool(_) => {
                self.calls_tools = true;
                self.texts.clear();
            }
            _ => {}
        }
        vec![observed]
    }

    /// Returns the events for opencode's own request to continue, after which the step before it is known as a summary.
    fn end(&mut self, continuation: Observed) -> Vec<Observed> {
        let mut events: Vec<_> = std::mem::take(&mut self.texts)
            .into_iter()
            .map(|part| Observed::new(Event::Text { part, text: String::new() }))
            .collect();
        if !std::mem::take(&mut self.is_summary) {
            events.push(warning(false));
        }
        events.push(marked(continuation, CONTINUATION));
        events
    }
}

fn warning(was_refused: bool) -> Observed {
    Observed::new(Event::Warning(compaction_warning(was_refused)))
}

/// Returns an event that is not part of the answer, with its original JSON.
fn marked(observed: Observed, kind: &str) -> Observed {
    match observed.raw {
        Some(raw) => unknown(raw, kind),
        None => observed,
    }
}

fn unknown(raw: RawJson, kind: &str) -> Observed {
    Observed::new(Event::Unknown { kind: kind.to_owned(), raw: raw.clone() }).with_raw(raw)
}

#[cfg(test)]
mod tests {
    use super::super::events::decode;
    use super::*;
    use serde_json::json;

    /// Returns the kinds of the events for these lines; a text is its words.
    fn kinds(lines: &[serde_json::Value]) -> Vec<String> {
        let mut compaction = Compaction::default();
        let observed = lines.iter().map(|line| decode(line.to_string().as_bytes()).observed);
        let events = observed.flat_map(|observed| compaction.apply(observed));
        let kind = |observed: Observed| match observed.event {
            Event::Text { text, .. } => format!("text {text:?}"),
            Event::Unknown { kind, .. } => kind,
            other => other.kind().to_owned(),
        };
        events.map(kind).collect()
    }

    fn text(id: &str, text: &str) -> serde_json::Value {
        json!({"type": "text", "part": {"id": id, "text": text}})
    }

    #[test]
    fn step_after_overflow_is_a_summary() {
        let overflow = json!({"type": "error", "error": {"name": OVERFLOW, "data": {"message": "too long"}}});
        let start = json!({"type": "step_start", "part": {}});
        let lines = [overflow, start.clone(), text("a", "summary"), start, text("b", "answer")];
        assert_eq!(kinds(&lines), ["error", "warning", "step_start", SUMMARY, "step_start", "text \"answer\""]);
    }

    /// A summary calls no tools, so the texts around a call are part of the answer.
    #[test]
    fn texts_beside_tool_calls_stay() {
        let start = json!({"type": "step_start", "part": {}});
        let tool = json!({"type": "tool_use", "part": {"id": "t", "tool": "read", "state": {"status": "completed"}}});
        let go_on = json!({"type": "text", "part": {"id": "c", "text": "Continue", "synthetic": true}});
        let lines = [start, text("a", "answer"), tool, text("b", "more"), go_on];
        let expected = ["step_start", "text \"answer\"", "tool", "text \"more\"", "warning", CONTINUATION];
        assert_eq!(kinds(&lines), expected);
    }

    #[test]
    fn step_before_continuation_is_a_summary() {
        let start = json!({"type": "step_start", "part": {}});
        let go_on = json!({"type": "text", "part": {"id": "c", "text": "Continue", "synthetic": true}});
        let lines = [start.clone(), text("a", "summary"), go_on, start, text("b", "answer")];
        let expected =
            ["step_start", "text \"summary\"", "text \"\"", "warning", CONTINUATION, "step_start", "text \"answer\""];
        assert_eq!(kinds(&lines), expected);
    }
}
