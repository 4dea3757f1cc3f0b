//! Decodes the events of one turn.

use super::failures::ErrorInfo;
use crate::json_text::parse_repaired;
use crate::protocol::SessionEvent;
use crate::protocol::v1::compaction::compaction_warning;
use opencode_run_core::{Event, Observed, PartId, PermissionRequest, QuestionRequest, SessionId, ToolCall, ToolState};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Decodes the events of a turn and of its sub-agents, each once: events may repeat what a resync has read from the
/// messages.
#[derive(Debug)]
pub(crate) struct Decoder {
    session: SessionId,
    /// The unfinished calls, by key.
    pub(super) calls: HashMap<String, Call>,
    /// The finished parts and calls, by key.
    pub(super) finished: HashSet<String>,
    /// The messages with an open step, and those whose step has ended.
    pub(super) open_steps: HashSet<String>,
    pub(super) ended_steps: HashSet<String>,
    /// The permission requests and forms that have been emitted.
    asked: HashSet<String>,
    /// The calls for which a permission was rejected.
    pub(super) rejected: HashSet<String>,
    /// Whether events were lost: deltas are dropped until their text is complete.
    pub(super) is_disconnected: bool,
    /// The last text of the turn's own session in the current step.
    pub(super) last_text: String,
}

/// A tool call that has not ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Call {
    tool: String,
    input: Value,
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

/// The part of a step that an event concerns.
#[derive(Deserialize)]
struct Part {
    #[serde(rename = "assistantMessageID")]
    message: String,
    #[serde(default)]
    ordinal: u64,
    #[serde(default)]
    delta: String,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct ToolData {
    #[serde(rename = "assistantMessageID")]
    message: String,
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    error: Option<ErrorInfo>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct StepEnd {
    #[serde(rename = "assistantMessageID")]
    message: String,
    finish: Value,
    cost: Value,
    tokens: Value,
}

#[derive(Deserialize)]
struct Retry {
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    at: f64,
    error: ErrorInfo,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(deserialize_with = "crate::protocol::ids::read")]
    id: String,
    action: String,
    #[serde(default)]
    resources: Vec<String>,
    /// The patterns that the answer `always` stores for the project.
    #[serde(default)]
    save: Option<Vec<String>>,
    #[serde(default)]
    source: Option<Source>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "messageID", default)]
    message: String,
    #[serde(default)]
    id: String,
}

#[derive(Deserialize)]
struct Created {
    form: Form,
}

/// A form, with which the agent asks its user.
#[derive(Deserialize)]
pub(crate) struct Form {
    #[serde(deserialize_with = "crate::protocol::ids::read")]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) fields: Vec<Field>,
}

/// A field of a form.
#[derive(Deserialize)]
pub(crate) struct Field {
    pub(crate) key: String,
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    description: String,
    /// Whether any text is valid.
    #[serde(default)]
    pub(crate) custom: bool,
    #[serde(default)]
    pub(crate) options: Vec<Value>,
}

impl Field {
    fn question(&self) -> String {
        if self.description.is_empty() { self.title.clone() } else { self.description.clone() }
    }
}

fn data<T: for<'a> Deserialize<'a>>(raw: &str) -> Option<T> {
    parse_repaired::<Envelope<T>>(raw).ok().map(|event| event.data)
}

/// Returns the id of a part of a message: opencode numbers texts and reasoning of a message separately.
pub(super) fn part(message: &str, kind: &str, ordinal: u64) -> String {
    format!("{message}/{kind}/{ordinal}")
}

/// Returns the id of a tool call. The provider's own id may occur in another message too.
pub(super) fn call(message: &str, id: &str) -> String {
    format!("{message}/{id}")
}

impl Decoder {
    pub(crate) fn new(session: SessionId) -> Self {
        Self {
            session,
            calls: HashMap::new(),
            finished: HashSet::new(),
            open_steps: HashSet::new(),
            ended_steps: HashSet::new(),
            asked: HashSet::new(),
            rejected: HashSet::new(),
            is_disconnected: false,
            last_text: String::new(),
        }
    }

    /// Returns the last text of the turn's own session in its last step.
    pub(crate) fn last_text(&self) -> &str {
        &self.last_text
    }

    /// Records that a permission for a call was rejected, so that its failure counts as a refusal.
    pub(crate) fn reject(&mut self, call: Option<String>) {
        self.rejected.extend(call);
    }

    /// Decodes an event; `None` if it was emitted before. `now_ms` is the time, in milliseconds since 1970.
    pub(crate) fn decode(&mut self, event: SessionEvent, now_ms: f64) -> Option<Observed> {
        let SessionEvent { session, kind, raw, .. } = event;
        let is_own = session == self.session;
        let observed = match self.known(&kind, raw.get(), now_ms, is_own) {
            Known::Event(event) => event,
            Known::AlreadyEmitted => return None,
            Known::Unknown => Event::Unknown { kind, raw: raw.clone() },
        };
        let observed = Observed::new(observed).with_raw(raw);
        Some(if is_own { observed } else { observed.from_sub_agent(session) })
    }

    fn known(&mut self, kind: &str, raw: &str, now_ms: f64, is_own: bool) -> Known {
        let known = match kind {
            // A started part is emitted without text, so that it precedes a tool that is called before its first words
            // arrive.
            "session.text.started" | "session.text.delta" => data(raw).map(|part| self.delta(true, part)),
            "session.reasoning.started" | "session.reasoning.delta" => data(raw).map(|part| self.delta(false, part)),
            "session.text.ended" | "session.reasoning.ended" => data(raw).map(|part| self.text(kind, part, is_own)),
            "session.step.started" => data(raw).map(|Part { message, .. }| self.step_started(message, is_own)),
            "session.step.ended" => data(raw).map(|end| self.step_ended(end)),
            "session.tool.input.started" | "session.tool.called" | "session.tool.success" | "session.tool.failed" => {
                data(raw).map(|tool| self.tool(kind, tool))
            }
            "session.retry.scheduled" => data(raw).map(|retry| Known::Event(retried(retry, now_ms))),
            "permission.asked" => data(raw).map(|asked| self.permission(asked)),
            "form.created" => data(raw).map(|Created { form }| self.form(&form)),
            // The summary is in no text event, and opencode does not report whether the provider refused a request.
            "session.compaction.ended" if is_own => Some(Known::Event(Event::Warning(compaction_warning(false)))),
            "session.execution.failed" => {
                data(raw).map(|Failed { error }| Known::Event(Event::Error(error.reported())))
            }
            _ => None,
        };
        known.unwrap_or(Known::Unknown)
    }

    fn delta(&mut self, is_text: bool, Part { message, ordinal, delta, .. }: Part) -> Known {
        let id = part(&message, if is_text { "text" } else { "reasoning" }, ordinal);
        if self.is_disconnected || self.finished.contains(&id) {
            return Known::AlreadyEmitted;
        }
        let part = PartId::new(id);
        Known::Event(if is_text { Event::TextDelta { part, delta } } else { Event::ReasoningDelta { part, delta } })
    }

    fn text(&mut self, kind: &str, Part { message, ordinal, text, .. }: Part, is_own: bool) -> Known {
        self.whole_text(&message, kind == "session.text.ended", ordinal, text, is_own)
            .map_or(Known::AlreadyEmitted, Known::Event)
    }

    /// Returns the event of a finished text, unless it was emitted.
    pub(super) fn whole_text(
        &mut self,
        message: &str,
        is_text: bool,
        ordinal: u64,
        text: String,
        is_own: bool,
    ) -> Option<Event> {
        let id = part(message, if is_text { "text" } else { "reasoning" }, ordinal);
        if !self.finished.insert(id.clone()) {
            return None;
        }
        if is_text && is_own {
            self.last_text.clone_from(&text);
        }
        let part = PartId::new(id);
        Some(if is_text { Event::Text { part, text } } else { Event::Reasoning { part, text } })
    }

    /// A retried step keeps its message, and is not emitted again.
    fn step_started(&mut self, message: String, is_own: bool) -> Known {
        if is_own {
            self.last_text.clear();
        }
        if self.open_steps.insert(message) { Known::Event(Event::StepStart) } else { Known::AlreadyEmitted }
    }

    pub(super) fn step_ended(&mut self, end: StepEnd) -> Known {
        let StepEnd { message, finish, cost, tokens } = end;
        if !self.ended_steps.insert(message) {
            return Known::AlreadyEmitted;
        }
        Known::Event(step_finish(&finish, &cost, &tokens))
    }

    fn tool(&mut self, kind: &str, data: ToolData) -> Known {
        let ToolData { message, id, name, input, content, error } = data;
        let key = call(&message, &id);
        if self.finished.contains(&key) {
            return Known::AlreadyEmitted;
        }
        let known = self.calls.entry(key.clone()).or_default();
        if !name.is_empty() {
            known.tool = name;
        }
        if !input.is_null() {
            known.input = input;
        }
        let Call { tool, input } = known.clone();
        let state = match kind {
            "session.tool.input.started" => ToolState::Pending,
            "session.tool.called" => ToolState::Running { title: None, limit: limit(&tool, &input) },
            "session.tool.success" => ToolState::Completed { title: None, output: text_of(&content) },
            _ => {
                let error = error.map(|error| error.message).unwrap_or_default();
                ToolState::Failed { refused: self.rejected.contains(&key) || is_refusal(&error), error }
            }
        };
        Known::Event(Event::Tool(self.advance(key, tool, input, state)))
    }

    /// Returns a call in a new state, and forgets it after its final state.
    pub(super) fn advance(&mut self, key: String, tool: String, input: Value, state: ToolState) -> ToolCall {
        if state.is_final() {
            self.calls.remove(&key);
            self.finished.insert(key.clone());
        }
        ToolCall::new(key, tool, crate::protocol::v1::parts::shallow(input), state)
    }

    fn permission(&mut self, Asked { id, action, resources, save, source }: Asked) -> Known {
        if !self.asked.insert(id.clone()) {
            return Known::AlreadyEmitted;
        }
        let call = source.filter(|source| !source.id.is_empty()).map(|source| call(&source.message, &source.id));
        let save = save.unwrap_or_default();
        let is_kept = !save.is_empty();
        let ask = PermissionRequest::new(action, resources).always(save).always_is_kept(is_kept);
        Known::Event(Event::Permission(ask.id(id).call(call)))
    }

    fn form(&mut self, form: &Form) -> Known {
        if !self.asked.insert(form.id.clone()) {
            return Known::AlreadyEmitted;
        }
        let questions = form.fields.iter().map(Field::question).collect();
        Known::Event(Event::Question(QuestionRequest::new(form.id.clone(), questions)))
    }
}

/// The outcome of decoding an event.
pub(super) enum Known {
    Event(Event),
    /// It was emitted before.
    AlreadyEmitted,
    Unknown,
}

/// The end of a failed execution.
#[derive(Deserialize)]
pub(super) struct Failed {
    pub(super) error: ErrorInfo,
}

/// Returns the form in an event.
pub(crate) fn form_of(raw: &str) -> Option<Form> {
    data::<Created>(raw).map(|created| created.form)
}
/// Returns the error of a failed execution.
pub(crate) fn error_of(raw: &str) -> Option<ErrorInfo> {
    data::<Failed>(raw).map(|failed| failed.error)
}

/// Returns the text field of this name in an event.
pub(crate) fn field(raw: &str, name: &str) -> Option<String> {
    data::<Value>(raw)?.get(name)?.as_str().map(str::to_owned)
}

fn retried(Retry { attempt, at, error }: Retry, now_ms: f64) -> Event {
    let next = Duration::try_from_secs_f64((at - now_ms).max(0.0) / 1000.0).ok();
    // opencode counts the next attempt.
    Event::Retry { attempt: attempt.saturating_sub(1).max(1), message: error.message, next }
}

/// Returns the event of a step's end.
pub(super) fn step_finish(finish: &Value, cost: &Value, tokens: &Value) -> Event {
    let part = serde_json::json!({ "reason": finish, "tokens": tokens, "cost": cost });
    crate::protocol::v1::parts::step_finish(serde_json::from_value(part).unwrap_or_default())
}

/// Returns the texts of a tool's result.
pub(super) fn text_of(content: &Value) -> String {
    let texts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// Returns whether the error of a tool is a refusal, which opencode reports to the model in one of these phrases.
pub(super) fn is_refusal(error: &str) -> bool {
    ["The user declined this tool call", "The user dismissed this question", "Permission denied"]
        .iter()
        .any(|words| error.starts_with(words))
}

/// Returns the time limit of a call. Among the tools that can take minutes, calls of the shell specify one, in
/// milliseconds; 0 means no limit.
pub(super) fn limit(tool: &str, input: &Value) -> Option<Duration> {
    let millis = input["timeout"].as_f64().filter(|millis| tool == "shell" && *millis > 0.0)?;
    Duration::try_from_secs_f64(millis / 1000.0).ok()
}
