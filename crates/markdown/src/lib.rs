//! Renders a [`Conversation`](opencode_run_core::Conversation) as a Markdown transcript: a pure function that
//! always returns the same text for the same conversation.
//!
//! # Content
//!
//! The task's name as the title, the facts of the whole conversation, then each turn under its own heading: its
//! message, the system prompt and the attached files, its output in the order in which the entries began (answers,
//! reasoning, tool calls with input and output, errors), and how it ended.
//!
//! # Untrusted text
//!
//! A transcript quotes people, models and tools. None of these texts can pass for a part of the transcript itself:
//!
//! - **Everything outside of quotes and code blocks is written by the transcript.** Messages, answers and reasoning are
//!   block quotes: their Markdown renders, but a heading in an answer is a heading in a quote, never a turn, and an
//!   unclosed code fence ends with its quote. Tool calls, system prompts, errors and structured values are fenced code.
//! - A fence is longer than any run of backticks within it.
//! - HTML in a quote is shown as text, so that no `</details>` and no open `<!--` has an effect beyond its quote. Link
//!   and footnote definitions are shown as text too: they apply to the whole document, so one answer could redirect the
//!   `[1]` of another. A remote image becomes a link, so that opening a transcript loads nothing. The escapes are
//!   backslashes, and are added only to active Markdown, by the rules of `CommonMark` with GitHub's extensions; fenced
//!   code is never changed.
//! - Control characters, including those of ANSI escapes, and characters that change the direction of text are
//!   shown as symbols such as `␛`. A lone carriage return becomes `␍` and a line break.
//! - Omitted text is counted and reported outside of the quotes.
//!
//! # Example
//!
//! ```
//! use opencode_run_core::{
//!     Conversation, Ending, Event, Input, Observed, PartId, Prompt, SessionId, StepReason, Task, TurnMachine, Usage,
//! };
//! use opencode_run_markdown::{MarkdownOptions, conversation_markdown};
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//!
//! let mut turn = TurnMachine::new(&Prompt::new("What is 6 × 7?"), SystemTime::UNIX_EPOCH);
//! let inputs = [
//!     Input::Event(Observed::new(Event::StepStart)),
//!     Input::Event(Observed::new(Event::Text { part: PartId::new("p1"), text: "# It is **42**".to_owned() })),
//!     Input::Event(Observed::new(Event::StepFinish {
//!         reason: StepReason::Stop,
//!         usage: Usage { input: 900, output: 12, ..Usage::default() },
//!         cost: 0.0021,
//!     })),
//!     Input::Ended(Ending::Finished),
//! ];
//! for input in inputs {
//!     turn.apply(Duration::from_millis(1500), &input);
//! }
//! let mut conversation = Conversation::new(Task::new("sums", "/tmp/task_sums_1a2b3c4d"));
//! conversation.session = Some(SessionId::new("ses_1"));
//! conversation.turns.push(Arc::new(turn.into_record()));
//!
//! let markdown = conversation_markdown(&conversation, &MarkdownOptions::default());
//! assert_eq!(
//!     markdown,
//!     "\
//! ## sums
//!
//! - **State:** completed
//! - **Directory:** `/tmp/task_sums_1a2b3c4d`
//! - **Session:** `ses_1`
//! - **Model:** opencode's default
//! - **Started:** 1970-01-01T00:00:00Z
//! - **Turns:** 1
//! - **Duration:** 1.5s
//! - **Tokens:** 912 (input 900, output 12)
//! - **Cost:** $0.0021
//!
//! ### Turn 1
//!
//! - **Started:** 1970-01-01T00:00:00Z
//!
//! #### Message
//!
//! > What is 6 × 7?
//!
//! #### Answer
//!
//! > # It is **42**
//!
//! #### End
//!
//! - **State:** completed
//! - **Finish reason:** `stop`
//! - **Steps:** 1
//! - **Duration:** 1.5s
//! - **Tokens:** 912 (input 900, output 12)
//! - **Cost:** $0.0021
//! "
//! );
//! ```

mod cut;
mod figures;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod inline;
mod options;
mod page;
mod quoted;
mod tool;
mod transcript;
mod turn;
mod visible;

pub use options::{DEFAULT_TOOL_TEXT_LIMIT, MarkdownOptions};
pub use transcript::conversation_markdown;
pub use visible::{is_unsafe_on_terminal, visible};

#[cfg(test)]
mod tests;
