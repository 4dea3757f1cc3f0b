//! An event as it was seen, and in its place in a turn.

use crate::{Event, RawJson, SessionId};
use serde::{Serialize, Serializer};
use std::time::Duration;

/// An event as received by an executor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Observed {
    /// The event, as decoded.
    pub event: Event,
    /// The session of the sub-agent; `None` if the event belongs to the turn's own session.
    pub sub_agent: Option<SessionId>,
    /// The original JSON, if opencode sent the event.
    pub raw: Option<RawJson>,
}

impl Observed {
    /// Wraps an event of the turn's own session that has no original JSON.
    #[must_use]
    pub fn new(event: Event) -> Self {
        Self { event, sub_agent: None, raw: None }
    }

    /// Adds the original JSON.
    #[must_use]
    pub fn with_raw(mut self, raw: RawJson) -> Self {
        self.raw = Some(raw);
        self
    }

    /// Marks the event as one of a sub-agent's session.
    #[must_use]
    pub fn from_sub_agent(mut self, session: SessionId) -> Self {
        self.sub_agent = Some(session);
        self
    }
}

/// An event with its sequence number and time.
///
/// As JSON it is the object that `opencode-run --output-format stream-json` prints for it: the fields of the event, then `at_ms` in
/// milliseconds, `sub_agent` if it is a sub-agent's, and `raw` if opencode wrote the event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TurnEvent {
    /// The event's number in its turn, from 0. Numbers of events that a reader skips are missing.
    pub seq: u64,
    /// The time since the start of the turn.
    pub at: Duration,
    /// The event, its sub-agent and its original JSON.
    pub observed: Observed,
}

impl TurnEvent {
    /// Creates an event from its sequence number, time and content.
    #[must_use]
    pub fn new(seq: u64, at: Duration, observed: Observed) -> Self {
        Self { seq, at, observed }
    }

    /// Returns whether the event is of an unknown kind.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.observed.event, Event::Unknown { .. })
    }
}

impl Serialize for TurnEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Observed { event, sub_agent, raw } = &self.observed;
        // The fields of an unknown event already contain the original JSON.
        let raw = raw.as_ref().filter(|_| !self.is_unknown());
        let at_ms = u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX);
        Fields { event, at_ms, sub_agent: sub_agent.as_ref(), raw }.serialize(serializer)
    }
}

#[derive(Serialize)]
struct Fields<'a> {
    #[serde(flatten)]
    event: &'a Event,
    at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_agent: Option<&'a SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a RawJson>,
}
