//! Renders a [`Conversation`](opencode_run_core::Conversation) as a Markdown transcript: a pure function, the same text
//! for the same conversation.
//!
//! # What stands in it
//!
//! The task's name as the title, the facts of the whole conversation, then each turn under a heading of its own: its
//! message, the system prompt and the files it came with, everything it produced in the order in which it began (answers,
//! reasoning, tool calls with what went in and what came out, errors), and how it ended.
//!
//! # Who says what
//!
//! A transcript quotes people, models and tools, and none of them may speak in the transcript's own name. So:
//!
//! - **What stands outside of quotes and code blocks is said by the transcript.** Messages, answers and reasoning are block
//!   quotes: their Markdown renders, but a heading in an answer is a heading in a quote, never a turn, and a code fence
//!   that nobody closed ends where the quote does. Tool calls, system prompts, errors and values that meet a schema are
//!   fenced code.
//! - A fence is longer than any run of backticks within it.
//! - HTML in a quote is shown as text, so that no `</details>` and no open `<!--` reaches past its quote. Link and footnote
//!   definitions are shown as text too: they would hold for the whole document, and the `[1]` of one answer would lead to
//!   where another one wanted. An image from elsewhere becomes a link: to open a transcript fetches nothing. The escapes
//!   are backslashes, and stand only where the text would have been live, by the rules of `CommonMark` with GitHub's
//!   extensions; fenced code is never touched.
//! - Control characters, those of ANSI escapes included, and characters that turn the direction of text are shown as
//!   symbols such as `␛`. A lone carriage return is `␍` and a new line.
//! - What was left out is counted and said, in the transcript's own voice.
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
