//! What a rule answers with.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ErrorReply, Part, millis};

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// An answer of the model, status 200.
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
    /// The parts, in the order in which they are sent.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// The tokens to report. If absent, none are reported (zeros with Anthropic, where the field is not optional).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why the model stopped. If absent: tool calls if there are any, otherwise the end of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// The time before the status line is sent.
    #[serde(rename = "delay_ms", with = "millis", default, skip_serializing_if = "Duration::is_zero")]
    pub delay: Duration,
}

impl Answer {
    /// Returns an answer of these parts.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { parts: parts.into_iter().collect(), ..Self::default() }
    }

    /// Returns an answer of one text, sent in one piece.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new([Part::text(text)])
    }

    /// Adds a part at the end.
    #[must_use]
    pub fn then(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Reports these tokens.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Gives this as the reason for stopping.
    #[must_use]
    pub fn finish(mut self, finish: Finish) -> Self {
        self.finish = Some(finish);
        self
    }

    /// Waits so long before the status line.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// Tokens, counted as opencode counts them: no token is in two fields.
///
/// Each protocol has its own sums (OpenAI's `prompt_tokens` hold the cached ones, Anthropic's `input_tokens` do not);
/// the server does them, so that one script gives the same numbers in opencode over every protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Usage {
    /// Input tokens that neither came from a cache nor went into one.
    pub input: u64,
    /// Output tokens that are not reasoning.
    pub output: u64,
    /// Reasoning tokens; Anthropic has no field of its own for them and counts them as output.
    pub reasoning: u64,
    /// Input tokens that came from a cache.
    pub cache_read: u64,
    /// Input tokens that went into a cache; only Anthropic reports them, the others count them as input.
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

    /// Adds tokens that came from a cache.
    #[must_use]
    pub fn cache_read(mut self, tokens: u64) -> Self {
        self.cache_read = tokens;
        self
    }

    /// Adds tokens that went into a cache.
    #[must_use]
    pub fn cache_write(mut self, tokens: u64) -> Self {
        self.cache_write = tokens;
        self
    }
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// It was done.
    Stop,
    /// It wants tools to be run.
    ToolCalls,
    /// The limit of output tokens was reached.
    Length,
    /// The provider's filter stepped in.
    ContentFilter,
}
