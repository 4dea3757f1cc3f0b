//! The signals of a recorded turn.

use crate::{Conversation, Ending, EntryContent, Event, Observed, RunState, SessionId, Signal, StepReason, TurnRecord};

/// Returns signals that reproduce the record: its entries, its usage as that of one step, and its end.
pub(super) fn signals(conversation: &Conversation, turn: &TurnRecord) -> Vec<Signal> {
    let session = conversation.session.clone().unwrap_or_else(|| SessionId::new("ses_1"));
    let mut signals = vec![Signal::Session(session), Observed::new(Event::StepStart).into()];
    for entry in &turn.entries {
        let event = match entry.content.clone() {
            EntryContent::Text { part, text } => Event::Text { part, text },
            EntryContent::Reasoning { part, text } => Event::Reasoning { part, text },
            EntryContent::Tool(call) => Event::Tool(call),
            EntryContent::Error(error) => Event::Error(error),
            EntryContent::Unknown(_) => continue,
        };
        let observed = Observed::new(event);
        signals.push(match &entry.sub_agent {
            Some(session) => observed.from_sub_agent(session.clone()).into(),
            None => observed.into(),
        });
    }
    if turn.steps > 0 {
        let reason = turn.finish.clone().unwrap_or(StepReason::Unknown);
        signals.push(Observed::new(Event::StepFinish { reason, usage: turn.usage, cost: turn.cost }).into());
    }
    signals.extend(turn.structured.clone().map(Signal::Structured));
    signals.push(Signal::Ended(match (turn.state, &turn.failure) {
        (RunState::Error, Some(failure)) => Ending::Failed(failure.clone()),
        (RunState::Completed, _) => Ending::Finished,
        _ => Ending::Stopped,
    }));
    signals
}
