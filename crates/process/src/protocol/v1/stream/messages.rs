//! The messages of a session, which are the truth about a turn: what the stream has not told is read from them.

use super::TurnDecoder;
use super::decoder::{Known, Reading};
use super::properties::{Message, PartHead, is_abort};
use crate::json_text::parse_repaired;
use crate::protocol::v1::parts::reported;
use opencode_run_core::{Observed, RawJson, ReportedError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// What is in the answer to a message, or in the list of a session's messages.
///
/// It owns its parts, so that they go on as the raw form of what is told of them, and the text that it was read from can go.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MessageWithParts {
    pub(super) info: Box<RawValue>,
    #[serde(default)]
    pub(super) parts: Vec<Box<RawValue>>,
}

impl TurnDecoder {
    /// Makes up for a gap in the stream: reads the messages of the turn's own session as far as they go, and returns what
    /// was lost. From then on the stream is read as ever, but for the texts that are being written.
    pub(crate) fn resync(&mut self, messages: Vec<MessageWithParts>) -> Vec<Observed> {
        self.parts.values_mut().for_each(|part| part.is_disconnected = true);
        self.latest = None;
        let told = messages.into_iter().flat_map(|message| self.read(message, Reading::SoFar)).collect();
        self.torn = false;
        told
    }

    /// Reads a message of the turn's own session, when the turn is over, and returns what the stream has not told of it.
    pub(crate) fn reconcile(&mut self, message: MessageWithParts) -> Vec<Observed> {
        self.read(message, Reading::Whole)
    }

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
            // What failed keeps what it had, though opencode may not.
            self.parts.values_mut().for_each(|part| part.has_grown = false);
            self.latest = None;
        }
        self.pass_over_begun_steps(&message.parts);
        self.reading = reading;
        let told = message.parts.into_iter().filter_map(|part| match self.part(&part, None) {
            Known::Event(event) => Some(Observed::new(event).with_raw(RawJson::from(part))),
            Known::Nothing | Known::Unknown => None,
        });
        let told = told.collect();
        self.reading = Reading::Stream;
        told
    }

    /// Takes the beginnings of steps for told whose end has been told: told now, they would seem to begin another one.
    fn pass_over_begun_steps(&mut self, parts: &[Box<RawValue>]) {
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

    /// Returns whether all that a message holds has been told, and that it is complete: what else there is to tell of its
    /// turn, such as an error, was told before.
    pub(crate) fn has_emitted(&self, message: &Expected) -> bool {
        message.completed.iter().all(|id| self.completed.contains(id))
            && message.parts.iter().all(|id| self.finished.contains(id))
    }
}

/// The ids whose last word the stream must have for a message to be told. It is read once: a message can be long, and is compared with
/// every event that follows.
#[derive(Debug)]
pub(crate) struct Expected {
    completed: Option<String>,
    parts: Vec<String>,
}

impl MessageWithParts {
    /// Returns the events of this message.
    pub(crate) fn expected(&self) -> Expected {
        let info = parse_repaired::<Message>(self.info.get());
        let heads = self.parts.iter().filter_map(|part| parse_repaired::<PartHead>(part.get()).ok());
        let is_told = |head: &PartHead| {
            matches!(head.kind.as_str(), "text" | "reasoning" | "tool" | "step-start" | "step-finish")
        };
        Expected {
            completed: info.ok().filter(Message::is_completed).map(|info| info.id),
            parts: heads.filter(|head| is_told(head) && !head.synthetic).map(|head| head.id).collect(),
        }
    }
}

/// What the answer to a message says of the turn's end.
#[derive(Deserialize)]
struct AnswerInfo {
    #[serde(default)]
    finish: Value,
    #[serde(default)]
    error: Value,
    #[serde(default, alias = "structured_output")]
    structured: Option<Value>,
}

/// How a turn ended, as the answer to its message has it.
#[derive(Debug, PartialEq)]
pub(crate) struct AnswerEnd {
    /// The turn was aborted.
    pub(crate) aborted: bool,
    /// The error that it ended with.
    pub(crate) error: Option<ReportedError>,
    /// The value that meets the schema.
    pub(crate) structured: Option<Value>,
    /// It ends with calls of tools, after which the model has not been asked again.
    pub(crate) stops_at_tools: bool,
}

impl MessageWithParts {
    /// Reads how a turn ended, in the answer to its message.
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

/// Reads the answer to a message.
pub(crate) fn read_message(text: &str) -> Option<MessageWithParts> {
    parse_repaired(text).ok()
}

/// Reads the list of a session's messages.
pub(crate) fn read_messages(text: &str) -> Option<Vec<MessageWithParts>> {
    parse_repaired(text).ok()
}
