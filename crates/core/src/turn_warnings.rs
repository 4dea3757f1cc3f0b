//! The warnings of a turn.

use crate::{EntryContent, RunState, StepReason, TurnRecord, Warning, WarningCode};

impl Warning {
    /// Returns the warnings of a turn: those that arrived as events, then those that its record shows.
    #[must_use]
    pub fn of_turn(turn: &TurnRecord) -> Vec<Self> {
        let mut warnings = turn.warnings.clone();
        warnings.extend(Self::of_result(turn));
        warnings
    }

    /// Returns the warnings that the result of a turn shows.
    #[must_use]
    pub fn of_result(turn: &TurnRecord) -> Vec<Self> {
        let mut warnings = Vec::new();
        match &turn.finish {
            Some(StepReason::Length) => {
                warnings
                    .push(Self::new(WarningCode::AnswerCut, "the answer was cut off at the limit on output tokens"));
            }
            Some(StepReason::ContentFilter) => {
                warnings.push(Self::new(
                    WarningCode::AnswerFiltered,
                    "the answer was cut off by the provider's content filter",
                ));
            }
            _ => {}
        }
        let has_answer = turn.structured.is_some() || turn.output_len() > 0;
        // A dropped message may have been the answer.
        if turn.state == RunState::Completed && !has_answer && turn.dropped.messages == 0 {
            let reasons =
                |content: &EntryContent| matches!(content, EntryContent::Reasoning { text, .. } if !text.is_empty());
            warnings.push(if turn.entries.iter().any(|entry| reasons(&entry.content)) {
                let warning = Self::new(WarningCode::OnlyReasoning, "the model reasoned and gave no answer");
                warning.hint("ask again, or raise the limit of output tokens")
            } else {
                Self::new(WarningCode::EmptyAnswer, "the model gave no answer").hint("ask again, or check the model")
            });
        }
        if turn.dropped.messages > 0 {
            let messages = match turn.dropped.messages {
                1 => "1 message of opencode was dropped".to_owned(),
                many => format!("{many} messages of opencode were dropped"),
            };
            let message =
                format!("{messages} ({} bytes): the limits of size or number were exceeded", turn.dropped.bytes);
            warnings.push(Self::new(WarningCode::OutputDropped, message));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ending, Event, Input, Observed, PartId, Prompt, TurnMachine, Usage};
    use std::time::{Duration, SystemTime};

    fn codes(events: Vec<Event>) -> Vec<WarningCode> {
        codes_of(events.into_iter().map(|event| Input::Event(Observed::new(event))))
    }

    fn codes_of(inputs: impl IntoIterator<Item = Input>) -> Vec<WarningCode> {
        let mut turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
        for input in inputs {
            turn.apply(Duration::ZERO, &input);
        }
        let usage = Usage::default();
        let end = Event::StepFinish { reason: StepReason::Stop, usage, cost: 0.0 };
        turn.apply(Duration::ZERO, &Input::Event(Observed::new(end)));
        turn.apply(Duration::ZERO, &Input::Ended(Ending::Finished));
        Warning::of_turn(turn.record()).into_iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn completed_turn_without_answer_warns() {
        let part = || PartId::new("p");
        let text = |text: &str| Event::Text { part: part(), text: text.to_owned() };
        let reasoning = Event::Reasoning { part: PartId::new("r"), text: "hm".to_owned() };
        assert_eq!(codes(vec![Event::StepStart, text("answer")]), []);
        assert_eq!(codes(vec![Event::StepStart, text("")]), [WarningCode::EmptyAnswer]);
        assert_eq!(codes(vec![Event::StepStart, reasoning]), [WarningCode::OnlyReasoning]);
    }

    #[test]
    fn dropped_message_may_have_been_the_answer() {
        let start = Input::Event(Observed::new(Event::StepStart));
        assert_eq!(codes_of([start, Input::Dropped { bytes: 7 }]), [WarningCode::OutputDropped]);
    }

    #[test]
    fn warning_events_precede_those_of_the_result() {
        let warning = Warning::new(WarningCode::McpFailed, "m").hint("h");
        let events = vec![Event::StepStart, Event::Warning(warning.clone())];
        assert_eq!(codes(events), [WarningCode::McpFailed, WarningCode::EmptyAnswer]);
        let json = serde_json::json!({"type": "warning", "code": "mcp_failed", "message": "m", "hint": "h"});
        assert_eq!(serde_json::to_value(Event::Warning(warning.clone())).unwrap(), json);
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), Event::Warning(warning));
    }
}
