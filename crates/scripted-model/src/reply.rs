//! The reply of a rule.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ErrorReply, Part, millis};

/// A reply to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// A model's answer with status 200.
    Answer(Answer),
    /// An error of the provider.
    Error(ErrorReply),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<ErrorReply> for Reply {
    fn from(error: ErrorReply) -> Self {
        Self::Error(error)
    }
}

impl From<Part> for Reply {
    fn from(part: Part) -> Self {
        Self::Answer(Answer::new([part]))
    }
}

impl From<Vec<Part>> for Reply {
    fn from(parts: Vec<Part>) -> Self {
        Self::Answer(Answer::new(parts))
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::Answer(Answer::text(text))
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self::Answer(Answer::text(text))
    }
}

/// An answer of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Answer {
    /// The parts in the order in which they are sent.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// The token counts to report. If absent, none are reported (zeros for Anthropic, whose field is mandatory).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The finish reason. If absent: tool calls if there are any, otherwise stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// The delay before the status line.
    #[serde(rename = "delay_ms", with = "millis", default, skip_serializing_if = "Duration::is_zero")]
    pub delay: Duration,
}

impl Answer {
    /// Returns an answer of these parts.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { parts: parts.into_iter().collect(), ..Self::default() }
    }

    /// Returns an answer with one text, sent in one chunk.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new([Part::text(text)])
    }

    /// Adds a part at the end.
    #[must_use]
    pub fn then(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Sets the token counts to report.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Sets the finish reason.
    #[must_use]
    pub fn finish(mut self, finish: Finish) -> Self {
        self.finish = Some(finish);
        self
    }

    /// Sets the delay before the status line.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// Token counts in opencode's categories, which are disjoint.
///
/// Each protocol has its own sums (OpenAI's `prompt_tokens` include cached ones, Anthropic's `input_tokens` do
/// not). The server converts them, so that one script yields the same counts in opencode with every protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Usage {
    /// Input tokens that were neither read from nor written to a cache.
    pub input: u64,
    /// Output tokens that are not reasoning.
    pub output: u64,
    /// Reasoning tokens; Anthropic has no field for them and counts them as output.
    pub reasoning: u64,
    /// Input tokens that were read from a cache.
    pub cache_read: u64,
    /// Input tokens that were written to a cache; only Anthropic reports them, the others count them as input.
    pub cache_write: u64,
}

impl Usage {
    /// Returns a usage without reasoning and cache.
    #[must_use]
    pub fn new(input: u64, output: u64) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// Adds reasoning tokens.
    #[must_use]
    pub fn reasoning(mut self, tokens: u64) -> Self {
        self.reasoning = tokens;
        self
    }

    /// Adds tokens that were read from a cache.
    #[must_use]
    pub fn cache_read(mut self, tokens: u64) -> Self {
        self.cache_read = tokens;
        self
    }

    /// Adds tokens that were written to a cache.
    #[must_use]
    pub fn cache_write(mut self, tokens: u64) -> Self {
        self.cache_write = tokens;
        self
    }
}

/// The finish reason of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// The model finished its answer.
    Stop,
    /// The model called tools.
    ToolCalls,
    /// The limit on output tokens was reached.
    Length,
    /// The provider's content filter intervened.
    ContentFilter,
}
