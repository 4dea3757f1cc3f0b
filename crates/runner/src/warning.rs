//! Warnings of a turn: facts that did not fail it, but that its user must know.

use opencode_run_core::{EntryContent, InputType, ModelChoice, RunState, StepReason, TurnRecord};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The kind of a warning. The codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningCode {
    /// The answer was cut at the model's limit of output tokens.
    AnswerCut,
    /// The provider's filter cut the answer.
    AnswerFiltered,
    /// The model does not get an attached file.
    AttachmentNotSent,
    /// The turn completed without an answer.
    EmptyAnswer,
    /// stdin, for which `-` stands in the message, was empty.
    EmptyStdin,
    /// The turn completed with reasoning and without an answer.
    OnlyReasoning,
    /// Output of opencode was dropped.
    OutputDropped,
    /// A code of a later version.
    #[serde(other)]
    Unknown,
}

impl WarningCode {
    /// All codes of this version, in alphabetical order.
    pub const ALL: [Self; 7] = [
        Self::AnswerCut,
        Self::AnswerFiltered,
        Self::AttachmentNotSent,
        Self::EmptyAnswer,
        Self::EmptyStdin,
        Self::OnlyReasoning,
        Self::OutputDropped,
    ];
}

/// A warning of a [`Report`](crate::Report).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Warning {
    /// The kind of the warning.
    pub code: WarningCode,
    /// The fact, on one line.
    pub message: String,
    /// A hint at a remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Warning {
    /// Makes a warning without a hint.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Returns the warnings that a turn's record shows.
    #[must_use]
    pub fn of_turn(turn: &TurnRecord) -> Vec<Self> {
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
        if turn.state == RunState::Completed && turn.structured.is_none() && turn.output_len() == 0 {
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
            let message = format!(
                "{} messages of opencode ({} bytes) were too long and were dropped",
                turn.dropped.messages, turn.dropped.bytes
            );
            warnings.push(Self::new(WarningCode::OutputDropped, message));
        }
        warnings
    }

    /// Returns the warnings about attached files that the model does not get. Of a model that opencode knows, nothing is known here.
    #[must_use]
    pub fn of_attachments<'f>(files: impl IntoIterator<Item = &'f Path>, model: Option<&ModelChoice>) -> Vec<Self> {
        let inputs = match model {
            Some(ModelChoice::Source { source, config }) if config.base_url.is_some() => Some((source, &config.input)),
            _ => None,
        };
        let warning = |file: &'f Path| {
            let name = file.file_name().unwrap_or(file.as_os_str()).display();
            let (kind, needed) = match Attachment::of(file)? {
                Attachment::Text => return None,
                Attachment::Image => ("an image", InputType::Image),
                Attachment::Pdf => ("a PDF", InputType::Pdf),
                Attachment::Binary => {
                    let message =
                        format!("{name} is neither text, an image nor a PDF: the model does not get its content");
                    let warning = Self::new(WarningCode::AttachmentNotSent, message);
                    return Some(warning.hint("let the agent convert it, or attach it as text"));
                }
            };
            let (source, accepted) = inputs?;
            (!accepted.iter().flatten().any(|input| *input == needed)).then(|| {
                let message = format!("{name} is {kind}, which the model source `{source}` does not accept");
                let role = source.as_str().to_uppercase();
                let hint = format!("if the model accepts it, set MODEL_{role}_INPUT=text,{needed}");
                Self::new(WarningCode::AttachmentNotSent, message).hint(hint)
            })
        };
        files.into_iter().filter_map(warning).collect()
    }
}

/// The kind of an attached file, by its first bytes.
enum Attachment {
    Text,
    Image,
    Pdf,
    Binary,
}

impl Attachment {
    /// Reads the beginning of a file. `None` if it cannot be read.
    fn of(file: &Path) -> Option<Self> {
        use std::io::Read;
        let mut start = Vec::new();
        std::fs::File::open(file).ok()?.take(8 << 10).read_to_end(&mut start).ok()?;
        let is_image = [&b"\x89PNG\r\n"[..], b"\xff\xd8\xff", b"GIF8"].iter().any(|magic| start.starts_with(magic))
            || (start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP"));
        Some(if is_image {
            Self::Image
        } else if start.starts_with(b"%PDF-") {
            Self::Pdf
        } else if start.contains(&0) {
            Self::Binary
        } else {
            Self::Text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{
        Ending, Event, Input, ModelConfig, ModelSourceType, Observed, PartId, Prompt, TurnMachine,
    };
    use std::time::{Duration, SystemTime};

    fn codes(events: Vec<Event>) -> Vec<WarningCode> {
        let mut turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
        for event in events {
            turn.apply(Duration::ZERO, &Input::Event(Observed::new(event)));
        }
        let usage = opencode_run_core::Usage::default();
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
    fn attachment_warns_unless_model_accepts_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let files = [
            file("a.png", b"\x89PNG\r\n\x1a\n\0"),
            file("b.pdf", b"%PDF-1.7"),
            file("c.bin", b"a\0"),
            file("d.txt", b"a"),
        ];
        let of = |input: Option<Vec<InputType>>| {
            let config = ModelConfig { base_url: Some("https://x/v1".to_owned()), input, ..ModelConfig::new("m") };
            let model = ModelChoice::Source { source: ModelSourceType::Code, config: config.into() };
            let warnings = Warning::of_attachments(files.iter().map(std::path::PathBuf::as_path), Some(&model));
            warnings
                .into_iter()
                .map(|warning| warning.message.split(' ').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(None), ["a.png", "b.pdf", "c.bin"]);
        assert_eq!(of(Some(vec![InputType::Text, InputType::Image])), ["b.pdf", "c.bin"]);
        assert_eq!(of(Some(vec![InputType::Image, InputType::Pdf])), ["c.bin"]);
    }

    #[test]
    fn codes_have_stable_names() {
        for code in WarningCode::ALL {
            let name = serde_json::to_value(code).unwrap();
            assert_eq!(serde_json::from_value::<WarningCode>(name).unwrap(), code);
        }
        assert_eq!(serde_json::from_str::<WarningCode>("\"of_a_later_version\"").unwrap(), WarningCode::Unknown);
    }
}
