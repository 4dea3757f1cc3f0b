//! What a transcript shows.

/// How many bytes of one text of a tool call a transcript shows unless told otherwise: 8 KiB, some hundred lines, enough
/// for a test's failure or a short file and short enough to scroll past.
pub const DEFAULT_TOOL_TEXT_LIMIT: usize = 8 << 10;

/// What a transcript shows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MarkdownOptions {
    /// Whether the model's reasoning is shown, collapsed. Where it is not, the transcript says how much there was.
    /// Default: `true`.
    pub reasoning: bool,
    /// How many bytes are shown of each text that a tool was given or gave back. A longer one loses its middle, and the
    /// transcript says how much. Default: [`DEFAULT_TOOL_TEXT_LIMIT`].
    pub tool_text_limit: usize,
}

impl Default for MarkdownOptions {
    fn default() -> Self {
        Self { reasoning: true, tool_text_limit: DEFAULT_TOOL_TEXT_LIMIT }
    }
}

impl MarkdownOptions {
    /// Sets whether the model's reasoning is shown.
    #[must_use]
    pub fn reasoning(mut self, shown: bool) -> Self {
        self.reasoning = shown;
        self
    }

    /// Sets how many bytes are shown of each text that a tool was given or gave back.
    #[must_use]
    pub fn tool_text_limit(mut self, bytes: usize) -> Self {
        self.tool_text_limit = bytes;
        self
    }
}
