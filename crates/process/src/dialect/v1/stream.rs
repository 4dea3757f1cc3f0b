//! The server's stream of events: whose an event is, and what it says.

use super::parts::{TextPart, reported, step_finish, tool};
use opencode_run_core::{Event, Observed, PartId, PermissionAsk, QuestionAsk, RawJson, ReportedError, SessionId};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// An event of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SessionEvent {
    /// The session that it happened in.
    pub(crate) session: SessionId,
    /// The session that this one is a sub-agent's of, where the event says so.
    pub(crate) parent: Option<SessionId>,
    /// The kind, by opencode's name.
    pub(crate) kind: String,
    /// The event as it came, without the envelope that says which directory it is about.
    pub(crate) raw: RawJson,
}

impl SessionEvent {
    /// Returns whether the session is at work from now on, where the event says so.
    pub(crate) fn works(&self) -> Option<bool> {
        match self.kind.as_str() {
            "session.status" => properties(self.raw.get()).map(|Status { status }| status.kind != "idle"),
            "session.idle" => Some(false),
            _ => None,
        }
    }

    /// Returns whether it tells of an error, which a step that follows may have got over.
    pub(crate) fn is_error(&self) -> bool {
        self.kind == "session.error"
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
}

/// Where an event may name its session.
#[derive(Deserialize)]
struct Scope {
    #[serde(rename = "sessionID", default)]
    session: Option<SessionId>,
    #[serde(default)]
    info: Option<InfoScope>,
    #[serde(default)]
    part: Option<PartScope>,
}

#[derive(Deserialize)]
struct InfoScope {
    #[serde(default)]
    id: Option<String>,
    #[serde(rename = "sessionID", default)]
    session: Option<SessionId>,
    #[serde(rename = "parentID", default)]
    parent: Option<String>,
}

#[derive(Deserialize)]
struct PartScope {
    #[serde(rename = "sessionID", default)]
    session: Option<SessionId>,
}

/// Reads whose an event is; none for events that are about no session, and for those that repeat others.
pub(crate) fn route(data: &str) -> Option<SessionEvent> {
    let envelope: Envelope<'_> = serde_json::from_str(data).ok()?;
    let payload: Payload<'_> = serde_json::from_str(envelope.payload.get()).ok()?;
    // Every lasting event comes a second time as this.
    if payload.kind == "sync" {
        return None;
    }
    let scope: Scope = serde_json::from_str(payload.properties?.get()).ok()?;
    let about_session = payload.kind.starts_with("session.");
    let (info_session, parent) = match scope.info {
        Some(info) if about_session => (info.id.map(SessionId::new), info.parent.map(SessionId::new)),
        Some(info) => (info.session, None),
        None => (None, None),
    };
    let session = scope.session.or(info_session).or(scope.part.and_then(|part| part.session))?;
    let raw = RawJson::from(envelope.payload.to_owned());
    Some(SessionEvent { session, parent, kind: payload.kind.into_owned(), raw })
}

/// Makes the event by which a permission was asked of what the list of those that wait says of it.
pub(crate) fn permission_asked(waiting: &RawValue) -> Option<SessionEvent> {
    asked("permission.asked", waiting)
}

/// Makes the event by which a question was asked of what the list of those that wait says of it.
pub(crate) fn question_asked(waiting: &RawValue) -> Option<SessionEvent> {
    asked("question.asked", waiting)
}

fn asked(kind: &str, properties: &RawValue) -> Option<SessionEvent> {
    route(&format!(r#"{{"payload":{{"type":"{kind}","properties":{properties}}}}}"#))
}

/// Reads the events of one turn.
///
/// Not all that happens in a session belongs to the turn: the user's own message comes as parts too, and what is left of
/// an earlier turn may come late. opencode's ids ascend with time, so what belongs to the turn is younger than its prompt.
#[derive(Debug)]
pub(crate) struct TurnDecoder {
    session: SessionId,
    prompt: String,
    /// The agent's messages.
    messages: HashSet<String>,
    parts: HashMap<PartId, GrowingText>,
    /// The parts whose last word has been said.
    finished: HashSet<String>,
    /// The messages whose last word has been said.
    completed: HashSet<String>,
    /// What was asked has been told, by its id.
    asked: HashSet<String>,
    /// opencode has nothing more to do in the turn's session.
    idle: bool,
    /// Events were lost, and the gap is not made up for: what happens is not told until it is.
    torn: bool,
    reading: Reading,
}

/// What the parts come from that are being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// The stream.
    Stream,
    /// A message as far as it goes.
    SoFar,
    /// A message that is as long as it will ever be.
    Whole,
}

/// A text that is being written.
#[derive(Debug, Clone, Copy)]
struct GrowingText {
    kind: PartKind,
    /// Something of it has been told.
    has_grown: bool,
    /// Some of it may have been lost: it is told when it is finished.
    is_torn: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    Text,
    Reasoning,
}

#[derive(Deserialize)]
struct Properties<T> {
    properties: T,
}

#[derive(Deserialize)]
struct MessageInfo {
    info: Message,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    role: String,
    /// The agent's own summary of a conversation that grew too long: no answer to anybody.
    #[serde(default)]
    summary: Option<Value>,
    #[serde(default)]
    time: MessageTime,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize, Default)]
struct MessageTime {
    #[serde(default)]
    completed: Option<Value>,
}

impl Message {
    fn is_completed(&self) -> bool {
        self.time.completed.is_some()
    }

    fn is_answer(&self) -> bool {
        self.role == "assistant" && self.summary != Some(Value::Bool(true))
    }
}

#[derive(Deserialize)]
struct PartUpdate<'a> {
    #[serde(borrow)]
    part: &'a RawValue,
    /// What came to the text, in versions before 1.2.
    #[serde(default)]
    delta: Option<String>,
}

#[derive(Deserialize)]
struct PartHead {
    id: String,
    #[serde(rename = "messageID")]
    message: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    time: Option<PartTime>,
    #[serde(default)]
    synthetic: bool,
}

#[derive(Deserialize)]
struct PartTime {
    #[serde(default)]
    end: Option<Value>,
}

#[derive(Deserialize)]
struct PartDelta {
    #[serde(rename = "partID")]
    part: PartId,
    delta: String,
}

#[derive(Deserialize)]
struct Status {
    status: StatusKind,
}

#[derive(Deserialize)]
struct StatusKind {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    attempt: Option<u32>,
    #[serde(default)]
    message: Option<String>,
    /// When, in milliseconds since 1970.
    #[serde(default)]
    next: Option<f64>,
}

#[derive(Deserialize)]
struct ErrorProperties {
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Asked {
    id: String,
    permission: String,
    #[serde(default)]
    patterns: Vec<String>,
}

#[derive(Deserialize)]
struct Questions {
    id: String,
    #[serde(default)]
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    #[serde(default)]
    question: String,
}

/// What is in the answer to a message, or in the list of a session's messages.
///
/// It owns its parts, so that they go on as the raw form of what is told of them, and the text that it was read from can go.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MessageWithParts {
    info: Box<RawValue>,
    #[serde(default)]
    parts: Vec<Box<RawValue>>,
}

impl TurnDecoder {
    /// Reads a turn of `session` that begins with the message `prompt`.
    pub(crate) fn new(session: SessionId, prompt: String) -> Self {
        Self {
            session,
            prompt,
            messages: HashSet::new(),
            parts: HashMap::new(),
            finished: HashSet::new(),
            completed: HashSet::new(),
            asked: HashSet::new(),
            idle: false,
            torn: false,
            reading: Reading::Stream,
        }
    }

    /// Notes that events of the turn were lost.
    pub(crate) fn tear(&mut self) {
        self.torn = true;
    }

    /// Returns whether events of the turn were lost.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Returns whether opencode has nothing more to do in the turn's session, as far as the stream has told.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Reads one event. `now_ms` is the time, in milliseconds since 1970.
    pub(crate) fn decode(&mut self, event: &SessionEvent, now_ms: f64) -> Option<Observed> {
        let sub_agent = (event.session != self.session).then(|| event.session.clone());
        let known = self.known(event, now_ms, sub_agent.is_some());
        let decoded = match known {
            Known::Event(decoded) => decoded,
            Known::Nothing => return None,
            Known::Unknown => Event::Unknown { kind: event.kind.clone(), raw: event.raw.clone() },
        };
        Some(Observed { event: decoded, sub_agent, raw: Some(event.raw.clone()) })
    }

    fn known(&mut self, event: &SessionEvent, now_ms: f64, foreign: bool) -> Known {
        let raw = event.raw.get();
        let read = match event.kind.as_str() {
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
            // An abort of ours looks like an error.
            "session.error" => properties::<ErrorProperties>(raw)
                .map(|properties| properties.error)
                .filter(|error| !error.is_null() && !is_abort(error))
                .map(|error| Event::Error(reported(&error))),
            "permission.asked" => match properties(raw) {
                Some(Asked { id, .. }) if !self.asked.insert(id.clone()) => return Known::Nothing,
                asked => asked.map(|Asked { id, permission, patterns }| {
                    Event::Permission(PermissionAsk { id: Some(id), permission, patterns, refused: false })
                }),
            },
            "question.asked" => match properties(raw) {
                Some(Questions { id, .. }) if !self.asked.insert(id.clone()) => return Known::Nothing,
                asked => asked.map(|Questions { id, questions }| {
                    let questions = questions.into_iter().map(|question| question.question).collect();
                    Event::Question(QuestionAsk { id, questions })
                }),
            },
            _ => None,
        };
        read.map_or(Known::Unknown, Known::Event)
    }

    fn delta(&mut self, raw: &str) -> Known {
        let Some(PartDelta { part, delta }) = properties(raw) else { return Known::Unknown };
        if self.torn {
            return Known::Nothing;
        }
        let Some(growing) = self.parts.get_mut(&part) else { return Known::Unknown };
        if growing.is_torn {
            return Known::Nothing;
        }
        growing.has_grown = true;
        Known::Event(growing.kind.delta(part, delta))
    }

    /// Reads a part as it stands. What has been told of it before is not told again.
    fn part(&mut self, raw: &RawValue, delta: Option<&str>) -> Known {
        let Ok(head) = serde_json::from_str::<PartHead>(raw.get()) else { return Known::Unknown };
        if !self.messages.contains(&head.message) {
            return Known::Unknown;
        }
        // What was lost before it is to be told first, or a step that is over would seem to be the last.
        if self.finished.contains(&head.id) || (self.torn && self.reading == Reading::Stream) {
            return Known::Nothing;
        }
        let is_whole = head.time.as_ref().is_some_and(|time| time.end.is_some());
        let event = match head.kind.as_str() {
            "text" | "reasoning" if head.synthetic => return Known::Unknown,
            "text" => self.text(raw, PartKind::Text, is_whole, delta),
            "reasoning" => self.text(raw, PartKind::Reasoning, is_whole, delta),
            "tool" => serde_json::from_str(raw.get()).ok().and_then(tool).map(|call| {
                if call.state.is_final() {
                    self.finished.insert(head.id);
                }
                Event::Tool(call)
            }),
            "step-start" => {
                self.finished.insert(head.id);
                Some(Event::StepStart)
            }
            "step-finish" => serde_json::from_str(raw.get()).ok().map(|part| {
                self.finished.insert(head.id);
                step_finish(part)
            }),
            _ => return Known::Unknown,
        };
        event.map_or(Known::Nothing, Known::Event)
    }

    fn text(&mut self, raw: &RawValue, kind: PartKind, is_whole: bool, delta: Option<&str>) -> Option<Event> {
        let TextPart { id, text } = serde_json::from_str(raw.get()).ok()?;
        let (has_grown, is_torn) = (false, self.reading != Reading::Stream);
        let growing = self.parts.entry(id.clone()).or_insert(GrowingText { kind, has_grown, is_torn });
        if is_whole {
            self.finished.insert(id.as_str().to_owned());
        } else {
            match self.reading {
                Reading::Stream => {
                    let delta = delta.filter(|_| !growing.is_torn)?.to_owned();
                    growing.has_grown = true;
                    return Some(kind.delta(id, delta));
                }
                // Some versions write a text down when it is finished, and others from time to time.
                Reading::SoFar => return None,
                // It is as far as it will ever go: empty, if opencode gave it up and the model was asked again.
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

    /// Makes up for a gap in the stream: reads the messages of the turn's own session as far as they go, and returns what
    /// was lost. From then on the stream is read as ever, but for the texts that are being written.
    pub(crate) fn mend(&mut self, messages: Vec<MessageWithParts>) -> Vec<Observed> {
        self.parts.values_mut().for_each(|part| part.is_torn = true);
        let told = messages.into_iter().flat_map(|message| self.read(message, Reading::SoFar)).collect();
        self.torn = false;
        told
    }

    /// Reads a message of the turn's own session, when the turn is over, and returns what the stream has not told of it.
    pub(crate) fn reconcile(&mut self, message: MessageWithParts) -> Vec<Observed> {
        self.read(message, Reading::Whole)
    }

    fn read(&mut self, message: MessageWithParts, reading: Reading) -> Vec<Observed> {
        let Ok(info) = serde_json::from_str::<Message>(message.info.get()) else { return Vec::new() };
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
        }
        self.reading = reading;
        let told = message.parts.into_iter().filter_map(|part| match self.part(&part, None) {
            Known::Event(event) => Some(Observed { event, sub_agent: None, raw: Some(RawJson::from(part)) }),
            Known::Nothing | Known::Unknown => None,
        });
        let told = told.collect();
        self.reading = Reading::Stream;
        told
    }

    /// Returns whether all that a message holds has been told, and that it is complete: what else there is to tell of its
    /// turn, such as an error, was told before.
    pub(crate) fn has_told(&self, message: &MessageWithParts) -> bool {
        let info = serde_json::from_str::<Message>(message.info.get());
        let is_open = info.is_ok_and(|info| info.is_completed() && !self.completed.contains(&info.id));
        !is_open
            && message.parts.iter().all(|part| {
                serde_json::from_str::<PartHead>(part.get()).map_or(true, |head| {
                    let told =
                        matches!(head.kind.as_str(), "text" | "reasoning" | "tool" | "step-start" | "step-finish");
                    !told || head.synthetic || self.finished.contains(&head.id)
                })
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

/// What is known of an event.
enum Known {
    Event(Event),
    /// It says nothing new.
    Nothing,
    Unknown,
}

fn properties<'a, T: Deserialize<'a>>(raw: &'a str) -> Option<T> {
    serde_json::from_str::<Properties<T>>(raw).ok().map(|event| event.properties)
}

fn retry(status: StatusKind, now_ms: f64) -> Option<Event> {
    if status.kind != "retry" {
        return None;
    }
    let next = status.next.and_then(|at| Duration::try_from_secs_f64((at - now_ms).max(0.0) / 1000.0).ok());
    Some(Event::Retry { attempt: status.attempt.unwrap_or(1), message: status.message.unwrap_or_default(), next })
}

/// Whether an error is what an abort looks like.
fn is_abort(error: &Value) -> bool {
    error["name"] == "MessageAbortedError"
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
        let info: AnswerInfo = serde_json::from_str(self.info.get()).ok()?;
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
    serde_json::from_str(text).ok()
}

/// Reads the list of a session's messages.
pub(crate) fn read_messages(text: &str) -> Option<Vec<MessageWithParts>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests;
