//! Reads a session's messages to find the events that a turn missed while it was disconnected.

use super::decoder::{Decoder, call, is_refusal, limit, step_finish, text_of};
use super::failures::ErrorInfo;
use crate::json_text::parse_repaired;
use crate::protocol::ids;
use opencode_run_core::{Event, Observed, ToolState};
use serde::Deserialize;
use serde_json::Value;

/// The missed part of a turn.
#[derive(Debug, Default)]
pub(crate) struct MissedEvents {
    /// Events that the stream has not delivered.
    pub(crate) events: Vec<Observed>,
    /// Whether opencode has taken up the turn's prompt.
    pub(crate) was_delivered: bool,
    /// The outcome of the execution, if it has ended.
    pub(crate) outcome: Option<String>,
    /// The error of the last answer.
    pub(crate) error: Option<ErrorInfo>,
}

#[derive(Deserialize)]
struct Messages {
    data: Vec<Message>,
}

#[derive(Deserialize)]
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

#[derive(Deserialize, Default)]
struct Time {
    #[serde(default)]
    completed: Option<Value>,
}

#[derive(Deserialize)]
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

#[derive(Deserialize, Default)]
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
    /// Reads a session's messages, the newest first, back to the turn's message `prompt`. After that, deltas are
    /// emitted again.
    pub(crate) fn resync(&mut self, text: &str, prompt: &str) -> Option<MissedEvents> {
        let Messages { data } = parse_repaired(text).ok()?;
        let mut missed = MissedEvents::default();
        let for_turn: Vec<_> = data
            .into_iter()
            .take_while(|message| {
                missed.was_delivered |= message.id == prompt;
                message.id != prompt
            })
            .collect();
        if missed.was_delivered {
            for message in for_turn.into_iter().rev() {
                self.read(message, &mut missed);
            }
        } else if let Some(Message { outcome: Some(outcome), .. }) = for_turn.into_iter().next() {
            // This is the outcome of an execution that ended before it took up the prompt.
            missed.outcome = Some(outcome);
        }
        self.is_disconnected = false;
        Some(missed)
    }

    fn read(&mut self, message: Message, missed: &mut MissedEvents) {
        let Message { id, kind, outcome, content, time, finish, cost, tokens, error } = message;
        match kind.as_str() {
            "idle" => missed.outcome = outcome,
            "assistant" => {
                // Another execution has begun.
                missed.outcome = None;
                missed.error = error;
                let is_whole = time.completed.is_some();
                let mut tell = |event: Option<Event>| missed.events.extend(event.map(Observed::new));
                if !self.ended_steps.contains(&id) && self.open_steps.insert(id.clone()) {
                    self.last_text.clear();
                    tell(Some(Event::StepStart));
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
                                tell(self.whole_text(&id, is_text, ordinal, part.text, true));
                            }
                        }
                        "tool" => tell(self.missed_tool(&id, part)),
                        _ => {}
                    }
                }
                if finish.is_string() && missed.error.is_none() && self.ended_steps.insert(id) {
                    tell(Some(step_finish(&finish, &cost, &tokens)));
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
