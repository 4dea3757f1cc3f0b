//! The state machine of a turn: a plain value without async code, locks or channels.

use self::idle::IdleClock;
use self::unknown_steps::err_no_finish_reason;
use crate::{
    Control, Ending, EntryContent, Event, LimitKind, Limits, ModelTraffic, Observed, PartId, PermissionRequest, Prompt,
    QuestionRequest, ReportedError, RunState, SessionId, StepReason, ToolCall, ToolState, TurnFailure, TurnRecord,
    TurnStart,
};
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

pub use idle::{MAX_TOOL_TIMEOUT, TOOL_TIMEOUT};
pub use unknown_steps::MAX_UNKNOWN_STEPS;

/// The maximum number of entries in the record of a turn. Later ones are only counted, in [`TurnRecord::dropped`].
/// Real turns have hundreds.
pub const MAX_ENTRIES: usize = 100_000;
/// The maximum number of warnings in the record of a turn.
const MAX_WARNINGS: usize = 100;

/// An input of a turn's state machine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// opencode named the session.
    Session(SessionId),
    /// An event.
    Event(Observed),
    /// A message was dropped.
    Dropped {
        /// The size of the dropped message in bytes.
        bytes: u64,
    },
    /// The answer as a value that matches the requested schema.
    Structured(Value),
    /// A permission request or a question of opencode was answered.
    Answered {
        /// The id of the request.
        id: String,
    },
    /// Bytes of a model's answer passed through. Only resets the idle clock.
    Progress,
    /// The traffic with the model so far.
    Traffic(ModelTraffic),
    /// A request to interrupt the turn.
    Interrupt,
    /// A request to kill the turn.
    Kill,
    /// A time limit was reached.
    LimitReached(LimitKind),
    /// The transport reports that the turn is over.
    Ended(Ending),
    /// The transport is gone without reporting the end of the turn.
    Lost,
}

/// The effects of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// The final state, if the turn ended.
    pub ended: Option<RunState>,
    /// A control to send to the executor.
    pub control: Option<Control>,
    /// The session, if it became known.
    pub session: Option<SessionId>,
}

/// The reason for which we end a turn.
#[derive(Debug, Clone)]
enum Stop {
    Asked,
    Failed(TurnFailure),
}

/// The session of a sub-agent; `None` for the turn's own agent.
type Agent = Option<SessionId>;

/// The kinds of entries that grow by deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PartKind {
    Text,
    Reasoning,
}

/// One turn, from its start to its end.
///
/// A turn is [`RunState::Completed`] only if opencode reported success: the transport finished without a failure
/// **and** the last step ended for a reason that can end a turn. Output is never removed, however the turn ends.
#[derive(Debug, Clone)]
pub struct TurnMachine {
    record: TurnRecord,
    limits: Limits,
    /// Whether a handler answers permission requests.
    asks: bool,
    session: Option<SessionId>,
    /// The index in the record of each text and piece of reasoning.
    parts: HashMap<(Agent, PartKind, PartId), usize>,
    /// The index in the record of the text or reasoning that grew last.
    growing: Option<usize>,
    /// A scratch buffer for text that the full record does not keep.
    overflow: String,
    /// The index in the record of each tool call. Some ids come from the model's provider, so two agents may use
    /// the same.
    tools: HashMap<(Agent, String), usize>,
    stop: Option<Stop>,
    /// The last control that was returned: a kill may follow an interrupt, but not the reverse.
    sent: Option<Control>,
    step_open: bool,
    /// The number of steps without a known reason since the last step with one.
    unknown_steps: u32,
    /// The last reported error, unless a later step shows that opencode recovered from it.
    error: Option<ReportedError>,
    /// The permission that was refused in the last step.
    refusal: Option<String>,
    /// The last known event, whether it was progress or not, and its time.
    last: (&'static str, Duration),
    /// The error of the last retry, unless the turn has made progress since.
    retry: Option<String>,
    idle: IdleClock,
}

impl TurnMachine {
    /// Begins a turn in [`RunState::Running`].
    #[must_use]
    pub fn new(prompt: &Prompt, started_at: SystemTime) -> Self {
        Self::begin(TurnStart::new(prompt, started_at))
    }

    /// Begins a turn in [`RunState::Running`] from its recorded start.
    #[must_use]
    pub fn begin(start: TurnStart) -> Self {
        Self {
            limits: start.limits,
            asks: start.asks,
            record: TurnRecord::new(start),
            session: None,
            parts: HashMap::new(),
            growing: None,
            overflow: String::new(),
            tools: HashMap::new(),
            stop: None,
            sent: None,
            step_open: false,
            unknown_steps: 0,
            error: None,
            refusal: None,
            last: ("nothing", Duration::ZERO),
            retry: None,
            idle: IdleClock::default(),
        }
    }

    /// Starts the idle clock at `prepared`: the preparation before it does not count as idle.
    pub(crate) fn with_preparation(mut self, prepared: Duration) -> Self {
        self.idle.progress(prepared);
        self
    }

    /// Returns the record so far.
    #[must_use]
    pub fn record(&self) -> &TurnRecord {
        &self.record
    }

    /// Consumes the turn and returns its record.
    #[must_use]
    pub fn into_record(self) -> TurnRecord {
        self.record
    }

    /// Returns the state of the turn.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.record.state
    }

    /// Returns the time since the turn's start at which this limit will be reached if nothing happens; `None` if
    /// there is no such limit or the turn is being ended.
    ///
    /// The idle limit counts from the last progress: texts, reasoning, steps, tools, errors, bytes that passed
    /// through, an answer of the user. Retries of the provider and unknown events, which include heartbeats, are
    /// not progress. The time in which a tool runs does not count, up to the tool's time limit ([`TOOL_TIMEOUT`]
    /// unless its call sets one, at most [`MAX_TOOL_TIMEOUT`]), and there is no idle limit while the user is asked.
    #[must_use]
    pub fn limit_at(&self, limit: LimitKind) -> Option<Duration> {
        if self.stop.is_some() || self.state().is_final() {
            return None;
        }
        match limit {
            LimitKind::Total => self.limits.total,
            LimitKind::Idle => Some(self.idle.since()?.saturating_add(self.limits.idle?)),
        }
    }

    /// Applies an input that arrived `at` after the turn's start and returns its effects.
    ///
    /// A finished turn ignores further input.
    pub fn apply(&mut self, at: Duration, input: &Input) -> Changes {
        let mut changes = Changes::default();
        if self.state().is_final() {
            return changes;
        }
        self.record.duration = at.max(self.record.duration);
        match input {
            Input::Session(session) => {
                if self.session.is_none() {
                    self.session = Some(session.clone());
                    changes.session = Some(session.clone());
                }
            }
            Input::Event(observed) => {
                self.observe(at, observed);
                if self.unknown_steps >= MAX_UNKNOWN_STEPS {
                    changes.control = self.stop(Stop::Failed(err_no_finish_reason()), Control::Interrupt);
                }
            }
            Input::Dropped { bytes } => {
                self.record.dropped.count(*bytes);
                self.note_progress("a message too long to keep", at);
            }
            Input::Structured(value) => {
                self.record.structured = Some(value.clone());
                self.note_progress("a structured answer", at);
            }
            Input::Answered { id } => {
                self.last = ("an answer to a question", at);
                self.idle.answered(at, id);
            }
            Input::Progress => self.note_progress("bytes of the model's answer", at),
            Input::Traffic(traffic) => self.record.traffic = Some(traffic.clone()),
            Input::Interrupt => changes.control = self.stop(Stop::Asked, Control::Interrupt),
            Input::Kill => changes.control = self.stop(Stop::Asked, Control::Kill),
            Input::LimitReached(limit) => {
                changes.control = self.stop(Stop::Failed(self.limit_failure(*limit)), Control::Interrupt);
            }
            Input::Ended(ending) => changes.ended = Some(self.end(ending.clone())),
            Input::Lost => {
                let message = "the executor is gone and has not reported how the turn ended".to_owned();
                changes.ended = Some(self.end(Ending::Failed(TurnFailure::Protocol { message })));
            }
        }
        changes
    }

    /// Stores the reason for ending the turn (the first one stays) and returns a control that was not sent yet.
    fn stop(&mut self, why: Stop, control: Control) -> Option<Control> {
        self.stop.get_or_insert(why);
        let news = match (self.sent, control) {
            (None, _) | (Some(Control::Interrupt), Control::Kill) => Some(control),
            _ => None,
        };
        self.sent = news.or(self.sent);
        news
    }

    /// Records progress.
    fn note_progress(&mut self, what: &'static str, at: Duration) {
        self.last = (what, at);
        self.idle.progress(at);
    }

    fn observe(&mut self, at: Duration, Observed { event, sub_agent, raw: _ }: &Observed) {
        // Unknown events reveal nothing about the state of the turn, and the server sends them at any time.
        if !matches!(event, Event::Unknown { .. }) {
            self.last = (event.kind(), at);
        }
        if event.is_progress() {
            self.idle.progress(at);
            self.retry = None;
        }
        let main = sub_agent.is_none();
        match event {
            Event::StepStart if main => {
                self.step_open = true;
                // A further step means that opencode continued despite an earlier error or refusal.
                self.error = None;
                self.refusal = None;
            }
            Event::TextDelta { part, delta } => {
                self.part(sub_agent, PartKind::Text, part, delta.len()).push_str(delta);
            }
            Event::ReasoningDelta { part, delta } => {
                self.part(sub_agent, PartKind::Reasoning, part, delta.len()).push_str(delta);
            }
            Event::Text { part, text } => {
                replace(self.part(sub_agent, PartKind::Text, part, text.len()), text);
            }
            Event::Reasoning { part, text } => {
                replace(self.part(sub_agent, PartKind::Reasoning, part, text.len()), text);
            }
            Event::Tool(call) => {
                if main && call.state.is_refused() {
                    // The permission request has more details and may arrive before or after the call.
                    self.refusal.get_or_insert_with(|| describe_refusal(call));
                }
                self.tool(at, call, sub_agent);
            }
            Event::StepFinish { reason, usage, cost } => {
                self.record.usage += *usage;
                // JSON cannot represent non-finite numbers, so a record with one could not be read again.
                let sum = self.record.cost + cost;
                self.record.cost = if sum.is_finite() { sum } else { self.record.cost };
                if main {
                    self.step_open = false;
                    self.record.steps += 1;
                    self.unknown_steps = if *reason == StepReason::Unknown { self.unknown_steps + 1 } else { 0 };
                    self.record.finish = Some(reason.clone());
                }
            }
            Event::Permission(ask) if main && ask.refused => {
                self.refusal = Some(format!("{} ({})", ask.permission, ask.patterns.join(", ")));
            }
            Event::Error(error) => {
                if main {
                    self.error = Some(error.clone());
                }
                if !self.drop_if_full(error.message.len()) {
                    self.record.push(sub_agent.clone(), EntryContent::Error(error.clone()));
                }
            }
            Event::Permission(PermissionRequest { id: Some(id), refused: false, .. })
            | Event::Question(QuestionRequest { id, .. })
                if self.asks =>
            {
                self.idle.asked(id.clone());
            }
            Event::Retry { message, .. } => self.retry = Some(message.clone()),
            Event::Warning(warning) => self.warn(warning),
            Event::StepStart | Event::Permission(_) | Event::Question(_) | Event::Unknown { .. } => {}
        }
    }
}

/// Replaces a grown text by the whole text, reusing its allocation.
fn replace(grown: &mut String, whole: &str) {
    whole.clone_into(grown);
    // It rarely grows further.
    grown.shrink_to_fit();
}

fn describe_refusal(call: &ToolCall) -> String {
    match &call.state {
        ToolState::Failed { error, .. } => format!("{}: {error}", call.tool),
        _ => call.tool.clone(),
    }
}

mod entries;
mod idle;
mod unknown_steps;
mod verdict;

#[cfg(test)]
mod tests;
