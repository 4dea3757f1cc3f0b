//! Decodes the events of a turn on a server.

use super::properties::{
    Asked, AskedTool, ErrorProperties, MessageInfo, PartDelta, PartHead, PartUpdate, Questions, Status, StatusKind,
    is_abort, properties,
};
use crate::json_text::parse_repaired;
use crate::protocol::SessionEvent;
use crate::protocol::v1::compaction::compaction_warning;
use crate::protocol::v1::parts::{TextPart, reported, step_finish, tool};
use opencode_run_core::{Event, Observed, PartId, PermissionRequest, QuestionRequest, SessionId};
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Decodes the events of one turn.
///
/// A session has events of other turns too: the user's own message arrives as parts, and the end of an earlier turn may
/// arrive late. opencode's ids ascend with time, so the turn's own events are younger than its prompt.
#[derive(Debug)]
pub(crate) struct TurnDecoder {
    session: SessionId,
    pub(super) prompt: String,
    /// The agent's messages.
    pub(super) messages: HashSet<String>,
    pub(super) parts: HashMap<PartId, GrowingText>,
    /// The part that grew last, until another part changes: it is nearly always the next one to grow.
    pub(super) latest: Option<(PartId, PartKind)>,
    /// The completed parts.
    pub(super) finished: HashSet<String>,
    /// The completed messages.
    pub(super) completed: HashSet<String>,
    /// The parts of unfinished tool calls, by their message and the provider's id. A provider may reuse an id within a
    /// message.
    calls: HashMap<(String, String), HashSet<String>>,
    /// The ids of the permission requests and questions that were emitted.
    asked: HashSet<String>,
    /// Whether opencode has become idle in the turn's session.
    idle: bool,
    /// Whether events were lost, and there was no resync yet: parts are not emitted until then.
    pub(super) is_out_of_sync: bool,
    pub(super) reading: Reading,
    /// Whether the current compaction follows a request that the provider refused as too large.
    is_oversized: bool,
}

/// The source of the parts that are being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The event stream.
    Stream,
    /// A message that may still grow.
    SoFar,
    /// A message in its final form.
    Whole,
}

/// A text that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct GrowingText {
    kind: PartKind,
    /// Whether some of it was emitted.
    pub(super) has_grown: bool,
    /// Whether some of it may have been lost: it is emitted when it is finished.
    pub(super) is_disconnected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    Text,
    Reasoning,
}

impl TurnDecoder {
    /// Returns a decoder for a turn of `session` that begins with the message `prompt`.
    pub(crate) fn new(session: SessionId, prompt: String) -> Self {
        Self {
            session,
            prompt,
            messages: HashSet::new(),
            parts: HashMap::new(),
            latest: None,
            finished: HashSet::new(),
            completed: HashSet::new(),
            calls: HashMap::new(),
            asked: HashSet::new(),
            idle: false,
            is_out_of_sync: false,
            reading: Reading::Stream,
            is_oversized: false,
        }
    }

    /// Records that events of the turn were lost.
    pub(crate) fn mark_disconnected(&mut self) {
        self.is_out_of_sync = true;
    }

    /// Returns whether events of the turn were lost.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.is_out_of_sync
    }

    /// Returns whether opencode has become idle in the turn's session, according to the stream.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Decodes one event. `now_ms` is the time, in milliseconds since 1970.
    pub(crate) fn decode(&mut self, event: SessionEvent, now_ms: f64) -> Option<Observed> {
        let SessionEvent { session, kind, raw, .. } = event;
        let is_foreign = session != self.session;
        let event = match self.known(&kind, raw.get(), now_ms, is_foreign) {
            Known::Event(event) => event,
            Known::Nothing => return None,
            Known::Unknown => Event::Unknown { kind, raw: raw.clone() },
        };
        let observed = Observed::new(event).with_raw(raw);
        Some(if is_foreign { observed.from_sub_agent(session) } else { observed })
    }

    fn known(&mut self, kind: &str, raw: &str, now_ms: f64, foreign: bool) -> Known {
        let read = match kind {
            "message.part.delta" => return self.delta(raw),
            "message.part.updated" => {
                return properties::<PartUpdate<'_>>(raw)
                    .map_or(Known::Unknown, |update| self.part(update.part, update.delta.as_deref()));
            }
            "message.updated" => {
                if let Some(MessageInfo { info }) = properties(raw)
                    && info.is_answer()
                    && (foreign || info.id > self.prompt)
                {
                    if info.is_completed() {
                        self.completed.insert(info.id.clone());
                    }
                    self.messages.insert(info.id);
                }
                None
            }
            "session.status" => properties(raw).and_then(|Status { status }| {
                if !foreign {
                    self.idle = status.kind == "idle";
                }
                retry(status, now_ms)
            }),
            // An abort that we requested looks like an error.
            "session.error" => properties::<ErrorProperties>(raw)
                .map(|properties| properties.error)
                .filter(|error| !error.is_null() && !is_abort(error))
                .map(|error| Event::Error(reported(&error))),
            "permission.asked" => match properties(raw) {
                Some(Asked { id, .. }) if !self.asked.insert(id.clone()) => return Known::Nothing,
                asked => asked.map(|Asked { id, permission, patterns, always, tool }| {
                    let call = tool.and_then(|tool| self.call_of(tool));
                    Event::Permission(PermissionRequest::new(permission, patterns).always(always).id(id).call(call))
                }),
            },
            "question.asked" => match properties(raw) {
                Some(Questions { id, .. }) if !self.asked.insert(id.clone()) => return Known::Nothing,
                asked => asked.map(|Questions { id, questions }| {
                    let questions = questions.into_iter().map(|question| question.question).collect();
                    Event::Question(QuestionRequest::new(id, questions))
                }),
            },
            "session.compacted" if !foreign => {
                let was_refused = std::mem::take(&mut self.is_oversized);
                Some(Event::Warning(compaction_warning(was_refused)))
            }
            _ => None,
        };
        read.map_or(Known::Unknown, Known::Event)
    }

    /// Returns the id of the call that needs a permission; `None` if it is ambiguous.
    fn call_of(&self, AskedTool { message, call }: AskedTool) -> Option<String> {
        let mut parts = self.calls.get(&(message, call))?.iter();
        parts.next().filter(|_| parts.next().is_none()).cloned()
    }

    fn delta(&mut self, raw: &str) -> Known {
        let Some(PartDelta { part, delta }) = properties::<PartDelta<'_>>(raw) else { return Known::Unknown };
        if self.is_out_of_sync {
            return Known::Nothing;
        }
        if let Some((latest, kind)) = &self.latest
            && latest.as_str() == part
        {
            return Known::Event(kind.delta(latest.clone(), delta));
        }
        let Some((part, &growing)) = self.parts.get_key_value(&*part) else { return Known::Unknown };
        if growing.is_disconnected {
            return Known::Nothing;
        }
        let part = part.clone();
        if !growing.has_grown {
            self.parts.insert(part.clone(), GrowingText { has_grown: true, ..growing });
        }
        self.latest = Some((part.clone(), growing.kind));
        Known::Event(growing.kind.delta(part, delta))
    }

    /// Decodes a part in its current state. Content that was emitted before is not emitted again.
    pub(super) fn part(&mut self, raw: &RawValue, delta: Option<&str>) -> Known {
        let Ok(head) = parse_repaired::<PartHead>(raw.get()) else { return Known::Unknown };
        self.latest = None;
        if head.kind == "compaction" {
            self.is_oversized = head.overflow;
        }
        if !self.messages.contains(&head.message) {
            return Known::Unknown;
        }
        // Lost parts must be emitted first, or a finished step would look like the last one.
        if self.finished.contains(&head.id) || (self.is_out_of_sync && self.reading == Reading::Stream) {
            return Known::Nothing;
        }
        let is_whole = head.time.as_ref().is_some_and(|time| time.end.is_some());
        let event = match head.kind.as_str() {
            "text" | "reasoning" if head.synthetic => return Known::Unknown,
            "text" => self.text(raw, PartKind::Text, is_whole, delta),
            "reasoning" => self.text(raw, PartKind::Reasoning, is_whole, delta),
            "tool" => parse_repaired(raw.get()).ok().and_then(tool).map(|call| {
                if let Some(id) = head.call {
                    let parts = self.calls.entry((head.message, id)).or_default();
                    if call.state.is_final() {
                        parts.remove(&head.id)
                    } else {
                        parts.insert(head.id.clone())
                    };
                }
                if call.state.is_final() {
                    self.finished.insert(head.id);
                }
                Event::Tool(call)
            }),
            "step-start" => {
                self.finished.insert(head.id);
                Some(Event::StepStart)
            }
            "step-finish" => parse_repaired(raw.get()).ok().map(|part| {
                self.finished.insert(head.id);
                step_finish(part)
            }),
            _ => return Known::Unknown,
        };
        event.map_or(Known::Nothing, Known::Event)
    }

    fn text(&mut self, raw: &RawValue, kind: PartKind, is_whole: bool, delta: Option<&str>) -> Option<Event> {
        let TextPart { id, text } = parse_repaired(raw.get()).ok()?;
        let has_grown = false;
        let is_disconnected = self.reading != Reading::Stream;
        let growing = self.parts.entry(id.clone()).or_insert(GrowingText { kind, has_grown, is_disconnected });
        if is_whole {
            self.finished.insert(id.as_str().to_owned());
        } else {
            match self.reading {
                Reading::Stream => {
                    let delta = delta.filter(|_| !growing.is_disconnected)?.to_owned();
                    growing.has_grown = true;
                    return Some(kind.delta(id, delta));
                }
                // Some versions store a text when it is finished, and others from time to time.
                Reading::SoFar => return None,
                // This is its final form: empty, if opencode discarded it and retried the request.
                Reading::Whole if text.is_empty() && !growing.has_grown => return None,
                Reading::Whole => {
                    self.finished.insert(id.as_str().to_owned());
                }
            }
        }
        Some(match kind {
            PartKind::Text => Event::Text { part: id, text },
            PartKind::Reasoning => Event::Reasoning { part: id, text },
        })
    }
}

impl PartKind {
    fn delta(self, part: PartId, delta: String) -> Event {
        match self {
            Self::Text => Event::TextDelta { part, delta },
            Self::Reasoning => Event::ReasoningDelta { part, delta },
        }
    }
}

/// The result of decoding an event.
pub(super) enum Known {
    Event(Event),
    /// It contains nothing new.
    Nothing,
    Unknown,
}

fn retry(status: StatusKind, now_ms: f64) -> Option<Event> {
    if status.kind != "retry" {
        return None;
    }
    let next = status.next.and_then(|at| Duration::try_from_secs_f64((at - now_ms).max(0.0) / 1000.0).ok());
    Some(Event::Retry { attempt: status.attempt.unwrap_or(1), message: status.message.unwrap_or_default(), next })
}
