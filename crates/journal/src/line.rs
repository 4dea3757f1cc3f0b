//! The lines of a journal.

use opencode_run_core::{Ending, Event, Input, LimitKind, ModelTraffic, Observed, RawJson, SessionId, Task, TurnStart};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;

/// The written format, and the latest readable one. New kinds of lines do not change it: older readers skip them.
pub(crate) const FORMAT: u32 = 1;

/// The maximum size in bytes of opencode's original JSON that is written beside an event.
const MAX_RAW_BYTES: usize = 16 << 20;

/// The time since the start of the turn in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Nanos(u64);

impl From<Duration> for Nanos {
    fn from(time: Duration) -> Self {
        Self(time.as_nanos().try_into().unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for Duration {
    fn from(Nanos(nanos): Nanos) -> Self {
        Self::from_nanos(nanos)
    }
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JournalLine<'a> {
    /// The first line.
    Journal {
        format: u32,
        task: Cow<'a, Task>,
        session: Option<Cow<'a, SessionId>>,
    },
    /// A turn begins.
    Turn(Cow<'a, TurnStart>),
    Session {
        at: Nanos,
        session: Cow<'a, SessionId>,
    },
    Event {
        at: Nanos,
        event: Cow<'a, Event>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub_agent: Option<Cow<'a, SessionId>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        raw: Option<Cow<'a, RawJson>>,
    },
    /// An event of an unknown kind, which consists only of opencode's JSON.
    Unknown {
        at: Nanos,
        kind: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub_agent: Option<Cow<'a, SessionId>>,
        raw: Cow<'a, RawJson>,
    },
    Dropped {
        at: Nanos,
        bytes: u64,
    },
    Structured {
        at: Nanos,
        value: Cow<'a, Value>,
    },
    Answered {
        at: Nanos,
        id: Cow<'a, str>,
    },
    Progress {
        at: Nanos,
    },
    Traffic {
        at: Nanos,
        traffic: Cow<'a, ModelTraffic>,
    },
    Interrupt {
        at: Nanos,
    },
    Kill {
        at: Nanos,
    },
    LimitReached {
        at: Nanos,
        limit: LimitKind,
    },
    Ended {
        at: Nanos,
        ending: Cow<'a, Ending>,
    },
    Lost {
        at: Nanos,
    },
}

impl<'a> JournalLine<'a> {
    /// Returns the line for an input; `None` for a kind of input that has no line.
    pub(crate) fn of(at: Duration, input: &'a Input) -> Option<Self> {
        let at = at.into();
        Some(match input {
            Input::Session(session) => Self::Session { at, session: Cow::Borrowed(session) },
            Input::Event(observed) => Self::of_event(at, observed),
            Input::Dropped { bytes } => Self::Dropped { at, bytes: *bytes },
            Input::Structured(value) => Self::Structured { at, value: Cow::Borrowed(value) },
            Input::Answered { id } => Self::Answered { at, id: Cow::Borrowed(id) },
            Input::Progress => Self::Progress { at },
            Input::Traffic(traffic) => Self::Traffic { at, traffic: Cow::Borrowed(traffic) },
            Input::Interrupt => Self::Interrupt { at },
            Input::Kill => Self::Kill { at },
            Input::LimitReached(limit) => Self::LimitReached { at, limit: *limit },
            Input::Ended(ending) => Self::Ended { at, ending: Cow::Borrowed(ending) },
            Input::Lost => Self::Lost { at },
            _ => return None,
        })
    }

    fn of_event(at: Nanos, Observed { event, sub_agent, raw, .. }: &'a Observed) -> Self {
        let sub_agent = sub_agent.as_ref().map(Cow::Borrowed);
        if let Event::Unknown { kind, raw } = event {
            return Self::Unknown { at, kind: Cow::Borrowed(kind), sub_agent, raw: Cow::Borrowed(raw) };
        }
        let raw = raw.as_ref().filter(|raw| !is_delta(event) && raw.get().len() <= MAX_RAW_BYTES).map(Cow::Borrowed);
        Self::Event { at, event: Cow::Borrowed(event), sub_agent, raw }
    }

    /// Returns the input of the line; `None` for lines that are not inputs.
    pub(crate) fn into_input(self) -> Option<(Duration, Input)> {
        let observed = |event: Event, sub_agent: Option<Cow<'a, SessionId>>, raw: Option<Cow<'a, RawJson>>| {
            let mut observed = Observed::new(event);
            observed.sub_agent = sub_agent.map(Cow::into_owned);
            observed.raw = raw.map(Cow::into_owned);
            Input::Event(observed)
        };
        let (at, input) = match self {
            Self::Journal { .. } | Self::Turn(_) => return None,
            Self::Session { at, session } => (at, Input::Session(session.into_owned())),
            Self::Event { at, event, sub_agent, raw } => (at, observed(event.into_owned(), sub_agent, raw)),
            Self::Unknown { at, kind, sub_agent, raw } => {
                let event = Event::Unknown { kind: kind.into_owned(), raw: raw.clone().into_owned() };
                (at, observed(event, sub_agent, Some(raw)))
            }
            Self::Dropped { at, bytes } => (at, Input::Dropped { bytes }),
            Self::Structured { at, value } => (at, Input::Structured(value.into_owned())),
            Self::Answered { at, id } => (at, Input::Answered { id: id.into_owned() }),
            Self::Progress { at } => (at, Input::Progress),
            Self::Traffic { at, traffic } => (at, Input::Traffic(traffic.into_owned())),
            Self::Interrupt { at } => (at, Input::Interrupt),
            Self::Kill { at } => (at, Input::Kill),
            Self::LimitReached { at, limit } => (at, Input::LimitReached(limit)),
            Self::Ended { at, ending } => (at, Input::Ended(ending.into_owned())),
            Self::Lost { at } => (at, Input::Lost),
        };
        Some((at.into(), input))
    }
}

/// Returns whether an event is a small part of a text that is later sent whole.
pub(crate) fn is_delta(event: &Event) -> bool {
    matches!(event, Event::TextDelta { .. } | Event::ReasoningDelta { .. })
}
