//! Describes a turn as a text that does not depend on the transport.

use crate::differences::{has_no_counterpart, is_anywhere};
use crate::second::tool;
use crate::stage::Transport;
use crate::versions::Order;
use opencode_run_core::{EntryContent, Event, Observed, PartId, ToolState, TurnEvent, TurnRecord};
use std::collections::HashMap;
use std::sync::Arc;

/// Describes the events, without those of only one transport, and with those of arbitrary position at the end.
pub(crate) fn events(transport: Transport, asks: Order, events: &[Arc<TurnEvent>]) -> String {
    let mut story = Vec::new();
    let mut anywhere = Vec::new();
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event.seq, place as u64, "no gaps");
        if !has_no_counterpart(transport, &event.observed) {
            let place = if is_anywhere(transport, asks, &event.observed) { &mut anywhere } else { &mut story };
            place.push(line(&event.observed));
        }
    }
    story.append(&mut anywhere);
    text(story)
}

/// Joins lines, with parallel tools sorted by name: the order of their ends depends on timing, and `run` does not
/// report the order of their starts.
fn text(mut lines: Vec<String>) -> String {
    let is_tool = |line: &String| line.starts_with("tool ") || line.starts_with("=> tool ");
    for together in lines.chunk_by_mut(|one, next| is_tool(one) && is_tool(next)) {
        together.sort();
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn line(seen: &Observed) -> String {
    match &seen.event {
        Event::StepStart => "step".to_owned(),
        Event::Text { text, .. } => format!("text {text:?}"),
        Event::Reasoning { text, .. } => format!("reasoning {text:?}"),
        Event::Tool(call) => format!("tool {} {}", tool(&call.tool), state(&call.state)),
        Event::StepFinish { reason, usage, cost } => {
            format!(
                "step ends: {reason}, {} in, {} out, {} cached, {cost} USD",
                usage.input, usage.output, usage.cache_read
            )
        }
        Event::Permission(ask) => {
            let no = if ask.refused { ", refused" } else { "" };
            format!("permission {} {}{no}", ask.permission, ask.patterns.join(" "))
        }
        Event::Question(ask) => format!("question {}", ask.questions.join(" ")),
        Event::Error(error) => format!("error {} {:?} {}", error.name, error.status, error.message),
        other => format!("{other:?}"),
    }
}

fn state(state: &ToolState) -> &'static str {
    match state {
        ToolState::Completed { .. } => "completed",
        ToolState::Failed { refused: true, .. } => "refused",
        ToolState::Failed { .. } => "failed",
        _ => "not over",
    }
}

/// Describes the end and the record of a turn, without the figures of sub-agents, which `run` does not report.
pub(crate) fn record(record: &TurnRecord) -> String {
    let failure = record.failure.as_ref().map(|failure| format!(", {}: {failure}", failure.kind())).unwrap_or_default();
    let finish = record.finish.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let mut lines =
        vec![format!("=> {}{failure}", record.state), format!("=> {} steps, the last {finish}", record.steps)];
    let own = record.entries.iter().filter(|entry| entry.sub_agent.is_none());
    lines.extend(own.filter_map(|entry| match &entry.content {
        EntryContent::Text { text, .. } => (!text.is_empty()).then(|| format!("=> text {text:?}")),
        EntryContent::Reasoning { text, .. } => Some(format!("=> reasoning {text:?}")),
        EntryContent::Tool(call) => Some(format!("=> tool {} {}", tool(&call.tool), state(&call.state))),
        EntryContent::Error(error) => Some(format!("=> error {}", error.name)),
        _ => None,
    }));
    text(lines)
}

/// Asserts that the deltas of each text add up to the final text.
pub(crate) fn assert_deltas_add_up(events: &[Arc<TurnEvent>]) {
    let mut grown: HashMap<&PartId, String> = HashMap::new();
    for event in events {
        match &event.observed.event {
            Event::TextDelta { part, delta } | Event::ReasoningDelta { part, delta } => {
                grown.entry(part).or_default().push_str(delta);
            }
            Event::Text { part, text } | Event::Reasoning { part, text } => {
                // An empty text was discarded.
                if let Some(grown) = grown.get(part).filter(|_| !text.is_empty()) {
                    // opencode trims the end of a finished text.
                    assert_eq!(grown.trim_end(), text.trim_end());
                }
            }
            _ => {}
        }
    }
}
