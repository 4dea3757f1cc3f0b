//! One turn: the message, its output and its end.

use crate::MarkdownOptions;
use crate::figures::{cost, count, duration, time, tokens};
use crate::inline::code;
use crate::page::{Facts, MarkdownPage};
use crate::tool::tool_call;
use opencode_run_core::{Entry, EntryContent, ReportedError, RunState, SessionId, StepReason, TurnFailure, TurnRecord};
use serde_json::Value;

/// Adds a turn under its own heading.
pub(crate) fn turn(page: &mut MarkdownPage, number: usize, record: &TurnRecord, options: &MarkdownOptions) {
    page.heading(2, &format!("Turn {number}"));
    question(page, record);
    let mut hidden = 0;
    for entry in &record.entries {
        match &entry.content {
            EntryContent::Text { text, .. } | EntryContent::Reasoning { text, .. } if text.trim().is_empty() => {}
            EntryContent::Reasoning { .. } if !options.reasoning => hidden += 1,
            _ => produced(page, entry, record.state.is_final(), options.tool_text_limit),
        }
    }
    if let Some(value) = &record.structured {
        structured(page, value);
    }
    end(page, record, hidden);
}

/// Returns the requested model of a turn.
pub(crate) fn model(record: &TurnRecord) -> String {
    record.model.as_deref().map_or_else(|| "opencode's default".to_owned(), code)
}

fn question(page: &mut MarkdownPage, record: &TurnRecord) {
    let mut facts = vec![("Started", time(record.started_at))];
    if record.model.is_some() {
        facts.push(("Model", model(record)));
    }
    facts.extend(record.agent.iter().map(|agent| ("Agent", code(agent))));
    facts.extend(record.files.iter().map(|file| ("File", code(&file.to_string_lossy()))));
    page.facts(facts);
    if let Some(context) = &record.context {
        page.details("System prompt", |page| page.verbatim(context, "text"));
    }
    page.heading(3, "Message");
    page.quote(&record.message);
}

fn produced(page: &mut MarkdownPage, entry: &Entry, over: bool, limit: usize) {
    let session = entry.sub_agent.as_ref().map(SessionId::as_str);
    let owner = session.map(|session| format!(" of sub-agent {}", code(session))).unwrap_or_default();
    match &entry.content {
        EntryContent::Text { text, .. } => {
            page.heading(3, &format!("Answer{owner}"));
            page.quote(text);
        }
        EntryContent::Reasoning { text, .. } => {
            let owner = session.map(|session| format!(" of sub-agent {session}")).unwrap_or_default();
            page.details(&format!("Reasoning{owner}"), |page| page.quote(text));
        }
        EntryContent::Tool(call) => tool_call(page, call, &owner, over, limit),
        EntryContent::Error(error) => {
            page.heading(3, &format!("Error{owner}"));
            reported_error(page, error);
        }
        // An entry of an unknown kind from a later core is shown as such.
        _ => page.heading(3, &format!("Unsupported entry{owner}")),
    }
}

/// Adds the value that matches the turn's schema, which is the answer or its end.
fn structured(page: &mut MarkdownPage, value: &Value) {
    page.heading(3, "Answer");
    page.verbatim(&format!("{value:#}"), "json");
}

fn reported_error(page: &mut MarkdownPage, error: &ReportedError) {
    let ReportedError { name, message, status, retryable, url, .. } = error;
    let mut facts = Facts::new();
    if !name.is_empty() {
        facts.push(("Name", code(name)));
    }
    facts.extend(provider_facts(*status, *retryable, url.as_deref()));
    page.facts(facts);
    page.verbatim(message, "text");
}

fn provider_facts(status: Option<u16>, retryable: Option<bool>, url: Option<&str>) -> Facts {
    let mut facts = Facts::new();
    facts.extend(status.map(|status| ("HTTP status", status.to_string())));
    facts.extend(url.map(|url| ("Address", code(url))));
    facts.extend(retryable.map(|again| ("Retryable", if again { "yes" } else { "no" }.to_owned())));
    facts
}

fn end(page: &mut MarkdownPage, record: &TurnRecord, hidden: u64) {
    page.heading(3, "End");
    let state = match record.state {
        RunState::Interrupted => "interrupted; the output until then is above",
        RunState::Running => "running when this was written",
        state => state.as_str(),
    };
    let mut facts = vec![("State", state.to_owned())];
    let has_answer = record.structured.is_some() || !record.output().trim().is_empty();
    if record.state.is_final() && !has_answer {
        facts.push(("Answer", "none".to_owned()));
    }
    if let Some(failure) = &record.failure {
        facts.push(("Failure", code(failure.kind().as_str())));
        if let TurnFailure::Provider { status, retryable, url, .. } = failure {
            facts.extend(provider_facts(*status, *retryable, url.as_deref()));
        }
    }
    let submitted = record.structured.is_some();
    facts.extend(record.finish.as_ref().map(|reason| ("Finish reason", finish(reason, submitted))));
    facts.push(("Steps", record.steps.to_string()));
    facts.push(("Duration", duration(record.duration)));
    facts.push(("Tokens", tokens(record.usage)));
    facts.push(("Cost", cost(record.cost)));
    if record.dropped.messages > 0 {
        let messages = count(record.dropped.messages, "message", "messages");
        let bytes = count(record.dropped.bytes, "byte", "bytes");
        facts.push(("Lost", format!("{messages} of opencode, too long or unreadable ({bytes})")));
    }
    if hidden > 0 {
        facts.push(("Not shown", count(hidden, "piece of reasoning", "pieces of reasoning")));
    }
    page.facts(facts);
    if let Some(failure) = &record.failure {
        page.verbatim(&failure.to_string(), "text");
    }
}

/// Returns the reason why the last step ended, and its meaning unless it is the normal end of an answer.
///
/// `submitted` is whether there is a structured value: it is submitted by a tool call, and no step follows.
fn finish(reason: &StepReason, submitted: bool) -> String {
    let name = code(&reason.to_string());
    let meaning = match reason {
        StepReason::Length => "the answer was cut off at the limit on output tokens",
        StepReason::ContentFilter => "the provider's content filter cut off the answer",
        StepReason::ToolCalls if submitted => "the answer was submitted by a tool call",
        StepReason::ToolCalls => "the model called tools, and another step should have followed",
        StepReason::Error => "the provider ended the answer with an error",
        StepReason::Unknown => "the provider gave no reason",
        _ => return name,
    };
    format!("{name}: {meaning}")
}
