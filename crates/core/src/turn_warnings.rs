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
                1 => "1 message".to_owned(),
                many => format!("{many} messages"),
            };
            let message =
                format!("output of opencode was dropped: {messages} ({} bytes) above the limits", turn.dropped.bytes);
            warnings.push(Self::new(WarningCode::OutputDropped, message));
        }
        warnings
    }
}
