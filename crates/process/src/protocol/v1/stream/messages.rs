//! The messages of a session, which are authoritative: events that the stream has lost are read from them.

use super::TurnDecoder;
use super::decoder::{Known, Reading};
use super::properties::{Message, PartHead, is_abort};
use crate::json_text::parse_repaired;
use crate::protocol::v1::parts::reported;
use opencode_run_core::{Observed, RawJson, ReportedError, SessionId};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The answer to a message, or an item in the list of a session's messages.
///
/// It owns its parts, which become the raw form of the emitted events, so that the text from which it was parsed can be
/// freed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MessageWithParts {
    pub(super) info: Box<RawValue>,
    #[serde(default)]
    pub(super) parts: Vec<Box<RawValue>>,
}

impl TurnDecoder {
    /// Resyncs after a disconnect: reads the current messages of the turn's own session, and returns the lost events.
    /// After that the stream is decoded as usual, except for unfinished texts.
    pub(crate) fn resync(&mut self, messages: Vec<MessageWithParts>) -> Vec<Observed> {
        self.parts.values_mut().for_each(|part| part.is_disconnected = true);
        self.latest = None;
        let told = messages.into_iter().flat_map(|message| self.read(message, Reading::SoFar)).collect();
        self.is_out_of_sync = false;
        told
    }

    /// Reads the current messages of a sub-agent, and returns the events that the stream has lost.
    pub(crate) fn missed_by_sub_agent(
        &mut self,
        messages: Vec<MessageWithParts>,
        sub_agent: &SessionId,
    ) -> Vec<Observed> {
        let missed = messages.into_iter().flat_map(|message| self.read(message, Reading::SoFar));
        missed.map(|observed| observed.from_sub_agent(sub_agent.clone())).collect()
    }

    /// Reads a message of the turn's own session at the end of the turn, and returns the events that the stream has
    /// lost.
    pub(crate) fn reconcile(&mut self, message: MessageWithParts) -> Vec<Observed> {
        self.read(message, Reading::Whole)
    }

    /// Reads a message if it is younger than the turn's prompt.
    fn read(&mut self, message: MessageWithParts, reading: Reading) -> Vec<Observed> {
        let Ok(info) = parse_repaired::<Message>(message.info.get()) else { return Vec::new() };
        if !info.is_answer() || info.id <= self.prompt {
            return Vec::new();
        }
        if info.is_completed() {
            self.completed.insert(info.id.clone());
        }
        self.messages.insert(info.id);
        if !info.error.is_null() && reading == Reading::Whole {
            // A failed attempt keeps its text, although opencode may not.
            self.parts.values_mut().for_each(|part| part.has_grown = false);
            self.latest = None;
        }
        self.skip_started_steps(&message.parts);
        self.reading = reading;
        let told = message.parts.into_iter().filter_map(|part| match self.part(&part, None) {
            Known::Event(event) => Some(Observed::new(event).with_raw(RawJson::from(part))),
            Known::Nothing | Known::Unknown => None,
        });
        let told = told.collect();
        self.reading = Reading::Stream;
        told
    }

    /// Marks the start of steps as emitted if their end was: emitted now, it would look like the start of another step.
    fn skip_started_steps(&mut self, parts: &[Box<RawValue>]) {
        let heads = parts.iter().filter_map(|part| parse_repaired::<PartHead>(part.get()).ok());
        let mut begun = Vec::new();
        for head in heads {
            match head.kind.as_str() {
                "step-start" => begun.push(head.id),
                "step-finish" if self.finished.contains(&head.id) => self.finished.extend(begun.drain(..)),
                _ => {}
            }
        }
    }

    /// Returns whether a message was emitted completely: other events of its turn, such as an error, precede its
    /// completion.
    pub(crate) fn has_emitted(&self, message: &Expected) -> bool {
        message.completed.iter().all(|id| self.completed.contains(id))
            && message.parts.iter().all(|id| self.finished.contains(id))
    }
}

/// The ids that the stream must complete before a message counts as emitted. Computed once: a message can be long, and
/// is compared after every event.
#[derive(Debug)]
pub(crate) struct Expected {
    completed: Option<String>,
    parts: Vec<String>,
}

impl MessageWithParts {
    /// Returns the expected ids of this message.
    pub(crate) fn expected(&self) -> Expected {
        let info = parse_repaired::<Message>(self.info.get());
        let heads = self.parts.iter().filter_map(|part| parse_repaired::<PartHead>(part.get()).ok());
        let is_emitted = |head: &PartHead| {
            matches!(head.kind.as_str(), "text" | "reasoning" | "tool" | "step-start" | "step-finish")
        };
        Expected {
            completed: info.ok().filter(Message::is_completed).map(|info| info.id),
            parts: heads.filter(|head| is_emitted(head) && !head.synthetic).map(|head| head.id).collect(),
        }
    }
}

/// The fields of an answer that describe the end of the turn.
#[derive(Deserialize)]
struct AnswerInfo {
    #[serde(default)]
    finish: Value,
    #[serde(default)]
    error: Value,
    #[serde(default, alias = "structured_output")]
    structured: Option<Value>,
}

/// The end of a turn, according to the answer to its message.
#[derive(Debug, PartialEq)]
pub(crate) struct AnswerEnd {
    /// The turn was aborted.
    pub(crate) aborted: bool,
    /// The error that it ended with.
    pub(crate) error: Option<ReportedError>,
    /// The value that matches the schema.
    pub(crate) structured: Option<Value>,
    /// The answer ends with tool calls after which the model was not requested again.
    pub(crate) stops_at_tools: bool,
}

impl MessageWithParts {
    /// Returns the end of the turn, from the answer to its message.
    pub(crate) fn end(&self) -> Option<AnswerEnd> {
        let info: AnswerInfo = parse_repaired(self.info.get()).ok()?;
        let aborted = is_abort(&info.error);
        Some(AnswerEnd {
            aborted,
            error: (!aborted && !info.error.is_null()).then(|| reported(&info.error)),
            structured: info.structured.filter(|value| !value.is_null()),
            stops_at_tools: info.finish == "tool-calls",
        })
    }
}

/// Parses the answer to a message.
pub(crate) fn read_message(text: &str) -> Option<MessageWithParts> {
    parse_repaired(text).ok()
}

/// Parses the list of a session's messages.
pub(crate) fn read_messages(text: &str) -> Option<Vec<MessageWithParts>> {
    parse_repaired(text).ok()
}
