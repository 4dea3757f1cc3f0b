//! The state machine of a turn: a plain value, without async, lock or channel.

use self::idle::IdleClock;
use crate::{
    Control, Ending, EntryContent, Event, LimitKind, Limits, ModelTraffic, Observed, PartId, PermissionAsk, Prompt,
    QuestionAsk, ReportedError, RunState, SessionId, StepReason, ToolCall, ToolState, TurnFailure, TurnRecord,
    TurnStart,
};
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

pub use idle::{LONGEST_TOOL_LIMIT, TOOL_LIMIT};

/// How many steps of the turn's own agent may end without a known reason, one after the other, before the turn is ended.
///
/// opencode goes on after such a step, at once and without end, where the provider never gives a reason. A provider that
/// leaves it out now and then gets over it within one or two.
pub const UNKNOWN_STEPS: u32 = 8;

/// How many entries the record of a turn holds at most. What begins after that is counted in
/// [`TurnRecord::dropped`] and otherwise not kept; real turns have hundreds.
pub const MOST_ENTRIES: usize = 100_000;

/// What can come to a turn.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// opencode named the session.
    Session(SessionId),
    /// Something happened.
    Event(Observed),
    /// A message of this many bytes had to be left out.
    Dropped {
        /// The length of what was left out, in bytes.
        bytes: u64,
    },
    /// The answer as a value that meets the schema that was asked for.
    Structured(Value),
    /// What opencode had asked, a permission or a question, was answered.
    Answered {
        /// The id of what was asked.
        id: String,
    },
    /// Bytes of an answer of the model came by; it moves the idle clock and nothing else.
    Progress,
    /// What went to the model and came from it so far.
    Traffic(ModelTraffic),
    /// Somebody asks to interrupt the turn.
    Interrupt,
    /// Somebody asks to kill the turn.
    Kill,
    /// A time limit was reached.
    LimitReached(LimitKind),
    /// The transport says that the turn is over.
    Ended(Ending),
    /// The transport went away without saying how the turn ended.
    Lost,
}

/// What an input changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// The turn ended, in this state.
    pub ended: Option<RunState>,
    /// This is to be told to the executor.
    pub control: Option<Control>,
    /// The session's name became known.
    pub session: Option<SessionId>,
}

/// Why a turn is being ended from our side.
#[derive(Debug, Clone)]
enum Stop {
    Asked,
    Failed(TurnFailure),
}

/// A sub-agent's session, or none for the turn's own agent.
type Agent = Option<SessionId>;

/// What grows by deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PartKind {
    Text,
    Reasoning,
}

/// One turn, from its start to its end.
///
/// A turn is [`RunState::Completed`] only if opencode said so: the transport finished without a failure **and** the last
/// step ended in a reason that can end a turn. Nothing that was produced is ever taken away, whatever the end.
#[derive(Debug, Clone)]
pub struct TurnMachine {
    record: TurnRecord,
    limits: Limits,
    /// Whether there is somebody who is asked for permissions.
    asks: bool,
    session: Option<SessionId>,
    /// Where in the record the text or reasoning with this id stands.
    parts: HashMap<(Agent, PartKind, PartId), usize>,
    /// Where in the record the text or reasoning stands that grew last.
    growing: Option<usize>,
    /// Takes what is not kept.
    overflow: String,
    /// Where in the record the tool call with this id stands. Ids come from the model's provider in part: two agents may
    /// have the same.
    tools: HashMap<(Agent, String), usize>,
    stop: Option<Stop>,
    /// The last control that was handed out: a kill follows an interrupt, never the other way round.
    told: Option<Control>,
    step_open: bool,
    /// How many steps ended without a known reason, since the last one that had one.
    unknown_steps: u32,
    /// The error that opencode reported and has not recovered from by a later step.
    error: Option<ReportedError>,
    /// What was refused in the last step and not followed by another.
    refusal: Option<String>,
    /// What is known to have happened last, progress or not, and when.
    last: (&'static str, Duration),
    /// The cause of the last retry, unless the turn has made progress since.
    retry: Option<String>,
    idle: IdleClock,
}

impl TurnMachine {
    /// Begins a turn in [`RunState::Running`].
    #[must_use]
    pub fn new(prompt: &Prompt, started_at: SystemTime) -> Self {
        Self::begin(TurnStart::new(prompt, started_at))
    }

    /// Begins a turn in [`RunState::Running`] from what was kept of its start.
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
            told: None,
            step_open: false,
            unknown_steps: 0,
            error: None,
            refusal: None,
            last: ("nothing", Duration::ZERO),
            retry: None,
            idle: IdleClock::default(),
        }
    }

    /// Counts the time without progress from here on: what was done for the turn until then is not opencode's.
    pub(crate) fn prepared_for(mut self, prepared: Duration) -> Self {
        self.idle.progress(prepared);
        self
    }

    /// Returns the record as far as it goes.
    #[must_use]
    pub fn record(&self) -> &TurnRecord {
        &self.record
    }

    /// Takes the record out.
    #[must_use]
    pub fn into_record(self) -> TurnRecord {
        self.record
    }

    /// Returns where the turn stands.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.record.state
    }

    /// Returns when, counted from the turn's start, this limit will be reached if nothing happens; none where there is no
    /// such limit, and none once the turn is being ended.
    ///
    /// The idle limit counts from the last progress: texts, reasoning, steps, tools, errors, bytes that came by, an answer.
    /// A retry of the provider is none, nor is an event that is not known, which heartbeats are. While a tool is at work the
    /// time does not count, no longer than the tool may take ([`TOOL_LIMIT`] unless its call says how long, and
    /// [`LONGEST_TOOL_LIMIT`] at most), and there is no limit while somebody is asked.
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

    /// Takes what happened `at` after the turn's start and returns what changed by it.
    ///
    /// A finished turn accepts nothing more: nothing changes.
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
                if self.unknown_steps >= UNKNOWN_STEPS {
                    changes.control = self.stop(Stop::Failed(verdict::no_reason()), Control::Interrupt);
                }
            }
            Input::Dropped { bytes } => {
                self.record.dropped.count(*bytes);
                self.moved("a message too long to keep", at);
            }
            Input::Structured(value) => {
                self.record.structured = Some(value.clone());
                self.moved("a structured answer", at);
            }
            Input::Answered { id } => {
                self.last = ("an answer to a question", at);
                self.idle.answered(at, id);
            }
            Input::Progress => self.moved("bytes of the model's answer", at),
            Input::Traffic(traffic) => self.record.traffic = Some(traffic.clone()),
            Input::Interrupt => changes.control = self.stop(Stop::Asked, Control::Interrupt),
            Input::Kill => changes.control = self.stop(Stop::Asked, Control::Kill),
            Input::LimitReached(limit) => {
                changes.control = self.stop(Stop::Failed(self.limit_failure(*limit)), Control::Interrupt);
            }
            Input::Ended(ending) => changes.ended = Some(self.end(ending.clone())),
            Input::Lost => {
                let message = "the executor went away without saying how the turn ended".to_owned();
                changes.ended = Some(self.end(Ending::Failed(TurnFailure::Protocol { message })));
            }
        }
        changes
    }

    /// Notes why the turn is to end (the first reason stands) and returns what the executor is to be told, once each.
    fn stop(&mut self, why: Stop, control: Control) -> Option<Control> {
        self.stop.get_or_insert(why);
        let news = match (self.told, control) {
            (None, _) | (Some(Control::Interrupt), Control::Kill) => Some(control),
            _ => None,
        };
        self.told = news.or(self.told);
        news
    }

    /// Notes that the turn made progress.
    fn moved(&mut self, what: &'static str, at: Duration) {
        self.last = (what, at);
        self.idle.progress(at);
    }

    fn observe(&mut self, at: Duration, Observed { event, sub_agent, raw: _ }: &Observed) {
        // What is not known says nothing of where the turn stands, and the server sends it at any time.
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
                // A further step means that opencode went on in spite of what was reported or refused before it.
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
                    // What was asked for says more, and may come before or after.
                    self.refusal.get_or_insert_with(|| describe_refusal(call));
                }
                self.tool(at, call, sub_agent);
            }
            Event::StepFinish { reason, usage, cost } => {
                self.record.usage += *usage;
                // JSON has no number for what is not finite: a record that held it could not be read again.
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
                if !self.is_full(error.message.len()) {
                    self.record.push(sub_agent.clone(), EntryContent::Error(error.clone()));
                }
            }
            Event::Permission(PermissionAsk { id: Some(id), refused: false, .. })
            | Event::Question(QuestionAsk { id, .. })
                if self.asks =>
            {
                self.idle.asked(id.clone());
            }
            Event::Retry { message, .. } => self.retry = Some(message.clone()),
            Event::StepStart | Event::Permission(_) | Event::Question(_) | Event::Unknown { .. } => {}
        }
    }
}

/// Puts a whole text in the place of one that grew, where there is room for it already.
fn replace(grown: &mut String, whole: &str) {
    whole.clone_into(grown);
    // It seldom grows any further.
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
mod verdict;

#[cfg(test)]
mod tests;
