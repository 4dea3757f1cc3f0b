//! Reads a session's messages to find the events that a turn missed while it was disconnected.

use super::api;
use super::decoder::{Decoder, call, is_refusal, limit, step_finish, text_of};
use super::failures::ErrorInfo;
use crate::json_text::parse_repaired;
use crate::protocol::{ClientError, ids};
use opencode_run_core::{Event, ToolState};
use serde::Deserialize;
use serde_json::Value;

/// The missed part of a turn.
#[derive(Debug, Default)]
pub(crate) struct MissedEvents {
    /// Events that the stream has not delivered.
    pub(crate) events: Vec<Event>,
    /// Whether opencode has taken up the turn's prompt.
    pub(crate) was_delivered: bool,
    /// The outcome of the execution, if it has ended.
    pub(crate) outcome: Option<String>,
    /// The error of the last answer.
    pub(crate) error: Option<ErrorInfo>,
}

/// Messages of a session, the newest first, of which the server sends a limited number at a time.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    list: Vec<Message>,
}

impl Messages {
    /// Adds the older messages of an answer. Returns the cursor for still older ones, if there may be some.
    ///
    /// # Errors
    ///
    /// If the answer is not a list of messages.
    pub(crate) fn extend(&mut self, text: &str) -> Result<Option<String>, ClientError> {
        let Page { data, cursor } = parse_repaired(text).map_err(|_| ClientError::Unreadable)?;
        // A cursor does not mean that there are older messages: a page that is not full is the last one.
        let is_full = data.len() >= api::MAX_MESSAGES;
        self.list.extend(data);
        Ok(cursor.next.filter(|_| is_full))
    }

    /// Returns whether the prompt may be among older messages: ids ascend with time.
    pub(crate) fn lack_prompt(&self, prompt: &str) -> bool {
        self.list.last().is_none_or(|oldest| *oldest.id > *prompt)
    }

    /// Returns whether there may be older messages since a time.
    pub(crate) fn begin_after(&self, since: f64) -> bool {
        self.list.last().is_none_or(|oldest| oldest.is_since(since))
    }

    /// Returns the part that belongs to the turn of a prompt.
    pub(crate) fn since_prompt(self, prompt: &str) -> Snapshot {
        let mut list = self.list.into_iter();
        let mut messages = Vec::new();
        let prompt = list.by_ref().find_map(|message| {
            if message.id == prompt {
                return Some(message);
            }
            messages.push(message);
            None
        });
        Snapshot { messages, prompt }
    }
}

/// The messages of the turn's session since its prompt.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The messages after the prompt, or all messages if opencode has not taken it up; the newest first.
    messages: Vec<Message>,
    /// The prompt.
    prompt: Option<Message>,
}

impl Snapshot {
    /// Returns when opencode took up the prompt, in milliseconds since 1970 by the server's clock; `None` if it has not.
    pub(crate) fn since(&self) -> Option<f64> {
        self.prompt.as_ref().map(|prompt| prompt.time.created.as_f64().unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Message>,
    #[serde(default)]
    cursor: Cursor,
}

#[derive(Deserialize, Default)]
struct Cursor {
    #[serde(default)]
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(deserialize_with = "ids::read")]
    id: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    content: Vec<Content>,
    #[serde(default)]
    time: Time,
    #[serde(default)]
    finish: Value,
    #[serde(default)]
    cost: Value,
    #[serde(default)]
    tokens: Value,
    #[serde(default)]
    error: Option<ErrorInfo>,
}

impl Message {
    fn is_since(&self, since: f64) -> bool {
        self.time.created.as_f64().is_none_or(|created| created >= since)
    }
}

#[derive(Debug, Deserialize, Default)]
struct Time {
    #[serde(default)]
    created: Value,
    #[serde(default)]
    completed: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    state: State,
}

#[derive(Debug, Deserialize, Default)]
struct State {
    #[serde(default)]
    status: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    error: Option<ErrorInfo>,
}

impl Decoder {
    /// Reads the messages of the turn's session. After that, deltas are emitted again.
    pub(crate) fn resync(&mut self, snapshot: Snapshot) -> MissedEvents {
        let Snapshot { messages, prompt } = snapshot;
        let mut missed = MissedEvents { was_delivered: prompt.is_some(), ..MissedEvents::default() };
        if missed.was_delivered {
            for message in messages.into_iter().rev() {
                self.read(message, true, &mut missed);
            }
        } else if let Some(Message { outcome: Some(outcome), .. }) = messages.into_iter().next() {
            // This is the outcome of an execution that ended before it took up the prompt.
            missed.outcome = Some(outcome);
        }
        self.is_disconnected = false;
        missed
    }

    /// Reads the messages of a sub-agent since a time. It may have worked in an earlier turn too.
    pub(crate) fn missed_by_sub_agent(&mut self, messages: Messages, since: f64) -> Vec<Event> {
        let mut missed = MissedEvents::default();
        for message in messages.list.into_iter().rev().filter(|message| message.is_since(since)) {
            self.read(message, false, &mut missed);
        }
        missed.events
    }

    fn read(&mut self, message: Message, is_own: bool, missed: &mut MissedEvents) {
        let Message { id, kind, outcome, content, time, finish, cost, tokens, error } = message;
        match kind.as_str() {
            "idle" => missed.outcome = outcome,
            "assistant" => {
                // Another execution has begun.
                missed.outcome = None;
                missed.error = error;
                let is_whole = time.completed.is_some();
                let events = &mut missed.events;
                if !self.ended_steps.contains(&id) && self.open_steps.insert(id.clone()) {
                    if is_own {
                        self.last_text.clear();
                    }
                    events.push(Event::StepStart);
                }
                let mut texts = 0;
                let mut thoughts = 0;
                for part in content {
                    match part.kind.as_str() {
                        "text" | "reasoning" => {
                            let is_text = part.kind == "text";
                            let count = if is_text { &mut texts } else { &mut thoughts };
                            let ordinal = *count;
                            *count += 1;
                            if is_whole {
                                events.extend(self.whole_text(&id, is_text, ordinal, part.text, is_own));
                            }
                        }
                        "tool" => events.extend(self.missed_tool(&id, part)),
                        _ => {}
                    }
                }
                if finish.is_string() && missed.error.is_none() && self.ended_steps.insert(id) {
                    events.push(step_finish(&finish, &cost, &tokens));
                }
            }
            _ => {}
        }
    }

    fn missed_tool(&mut self, message: &str, part: Content) -> Option<Event> {
        let key = call(message, &part.id);
        let State { status, input, content, error } = part.state;
        let is_new = !self.calls.contains_key(&key);
        let state = match status.as_str() {
            _ if self.finished.contains(&key) => return None,
            "completed" => ToolState::Completed { title: None, output: text_of(&content) },
            "error" => {
                let error = error.map(|error| error.message).unwrap_or_default();
                ToolState::Failed { refused: self.rejected.contains(&key) || is_refusal(&error), error }
            }
            "running" if is_new => ToolState::Running { title: None, limit: limit(&part.name, &input) },
            _ => return None,
        };
        Some(Event::Tool(self.advance(key, part.name, input, state)))
    }
}
