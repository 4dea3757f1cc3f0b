//! Writes a conversation to disk as it grows, so that nothing is lost if a process or the machine crashes in the
//! middle of a turn.
//!
//! A [`Journal`] is the [`Recorder`](opencode_run_core::Recorder) of a
//! [`TurnRunner`](opencode_run_core::TurnRunner): every input of a turn becomes a line of the file before any
//! reader sees it. [`read`] replays the lines through the state machine of the turn, so it returns the conversation
//! exactly as it was up to the last complete line.
//!
//! # The file
//!
//! One file per conversation in JSON lines, append-only, readable only by its owner. The first line contains the
//! format, the task, and the session if one was continued. Then follows one line for the start of each turn and one
//! for each input, including opencode's original JSON of an event (except for deltas, which the whole text
//! replaces):
//!
//! ```json
//! {"journal":{"format":1,"task":{"name":"hello","directory":"/home/me/task_hello_0a1b2c3d"},"session":null}}
//! {"turn":{"message":"Say hello.", …}}
//! {"session":{"at":1200345678,"session":"ses_…"}}
//! {"event":{"at":1200400000,"event":{"type":"step_start"},"raw":{…}}}
//! {"ended":{"at":3400000000,"ending":"finished"}}
//! ```
//!
//! Times are nanoseconds since the start of the turn. Lines of an unknown kind are skipped and counted.
//!
//! # Guarantees
//!
//! - Everything that a reader has seen when the turn waits for more input has been passed to the operating system, so
//!   it survives the end of our process by any signal. It is synced to disk when the journal is closed; before that a
//!   power failure can lose the last seconds.
//! - A file that was truncated anywhere after its first line is read up to the last complete line, and repaired
//!   when it is continued. The dropped bytes are counted.
//! - There is one writer: [`Journal::open`] of a file that is open elsewhere fails with [`JournalError::Busy`].
//! - A journal that cannot be written never affects its turn: see [`Journal::error`].
//! - Reading needs memory for the conversation and one line.
//!
//! # Example
//!
//! ```
//! use opencode_run_core::mock::ScriptedExecutor; // in place of an agent
//! use opencode_run_core::{Prompt, Task, TurnRunner};
//! use opencode_run_journal::{Journal, folder_of, latest, read};
//! use std::{sync::Arc, time::SystemTime};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (journals, directory) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! # let (journals, directory) = (journals.path(), directory.path());
//! let task = Task::new("sums", directory);
//! let journal = Arc::new(Journal::new(folder_of(journals, directory), task.clone(), None));
//! let agent = Arc::new(ScriptedExecutor::new().answers(["42"]));
//! let runner = TurnRunner::new(agent, task).recorded_by(journal);
//! runner.run(Prompt::new("What is 6 × 7?"), SystemTime::now()).await?;
//!
//! let path = latest(&folder_of(journals, directory), None)?.ok_or("no journal")?;
//! let recovered = read(&path)?;
//! assert_eq!(recovered.conversation.turns[0].answer()?, "42");
//! # Ok(())
//! # }
//! ```

mod error;
mod inventory;
mod journal;
mod line;
mod lines;
mod location;
mod prune;
mod replay;
mod writer;

pub use error::JournalError;
pub use inventory::{JournalFile, unused};
pub use journal::Journal;
pub use location::{folder_of, latest};
pub use prune::{RETENTION_PERIOD, prune};
pub use replay::{Recovered, read};

#[cfg(test)]
mod tests;
