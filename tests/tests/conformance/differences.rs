//! The differences between the two transports. Everything else must be the same.

use crate::stage::Transport;
use crate::versions::Order;
use opencode_run_core::{Event, Observed, ToolState};

/// A signal that only one of the transports emits.
pub(crate) struct Difference {
    pub(crate) only_on: Transport,
    pub(crate) what: &'static str,
    pub(crate) why: &'static str,
    applies: fn(&Observed) -> bool,
}

/// The signals that only one of the transports emits in any turn.
pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        only_on: Transport::Serve,
        what: "text and reasoning as they grow",
        why: "`run` writes a part when it is finished",
        applies: |seen| matches!(seen.event, Event::TextDelta { .. } | Event::ReasoningDelta { .. }),
    },
    Difference {
        only_on: Transport::Serve,
        what: "tool calls before they are over",
        why: "`run` writes a call when it has completed or failed",
        applies: |seen| match &seen.event {
            Event::Tool(call) => matches!(call.state, ToolState::Pending | ToolState::Running { .. }),
            _ => false,
        },
    },
    Difference {
        only_on: Transport::Serve,
        what: "what a sub-agent does",
        why: "`run` writes the events of the turn's own session alone",
        applies: |seen| seen.sub_agent.is_some(),
    },
    Difference {
        only_on: Transport::Serve,
        what: "that a text was given up, as the model is asked again",
        why: "`run` has never told that text",
        applies: |seen| matches!(&seen.event, Event::Text { text, .. } if text.is_empty()),
    },
    Difference {
        only_on: Transport::Serve,
        what: "retries",
        why: "`run` tries again in silence",
        applies: |seen| matches!(seen.event, Event::Retry { .. }),
    },
    Difference {
        only_on: Transport::Serve,
        what: "events of kinds that are passed on as they come",
        why: "the server's stream has all that happens in a session, `run` a selection of it",
        applies: |seen| matches!(seen.event, Event::Unknown { .. }),
    },
];

/// Returns whether an event has no counterpart on the other transport. Asserts that such an event does not come from
/// the other transport.
pub(crate) fn has_no_counterpart(transport: Transport, seen: &Observed) -> bool {
    let Some(difference) = DIFFERENCES.iter().find(|difference| (difference.applies)(seen)) else { return false };
    assert_eq!(
        difference.only_on, transport,
        "{}: only {:?} tells that, since {}; {seen:?}",
        difference.what, difference.only_on, difference.why
    );
    true
}

/// Returns whether the position of an event depends on timing: `run` writes refused permissions to stderr and all other
/// events to stdout, and the two pipes are read in any order. Some versions request permissions at any time on a
/// server, too.
pub(crate) fn is_anywhere(transport: Transport, asks: Order, seen: &Observed) -> bool {
    let by_chance = transport == Transport::Run || asks == Order::AtAnyTime;
    by_chance && matches!(seen.event, Event::Permission(_) | Event::Question(_))
}
