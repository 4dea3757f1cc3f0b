//! The options of a transcript.

/// The default limit on the size of one text of a tool call: 8 KiB, about a hundred lines, enough for a failing
/// test or a short file and short enough to scroll past.
pub const DEFAULT_TOOL_TEXT_LIMIT: usize = 8 << 10;

/// The options of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MarkdownOptions {
    /// Whether the model's reasoning is shown, collapsed. If not, the transcript contains the number of omitted
    /// pieces. Default: `true`.
    pub reasoning: bool,
    /// The maximum size in bytes of each input and output text of a tool call. The middle of a longer text is
    /// omitted and counted. Default: [`DEFAULT_TOOL_TEXT_LIMIT`].
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

    /// Sets the maximum size in bytes of each input and output text of a tool call.
    #[must_use]
    pub fn tool_text_limit(mut self, bytes: usize) -> Self {
        self.tool_text_limit = bytes;
        self
    }
}
