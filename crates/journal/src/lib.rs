//! Keeps a conversation on disk as it grows, so that nothing of it is lost when a process or the machine goes down in the
//! middle of a turn.
//!
//! A [`Journal`] is the [`Recorder`](opencode_run_core::Recorder) of a [`TurnRunner`](opencode_run_core::TurnRunner):
//! whatever comes to a turn is a line of a file before anybody sees it. [`read`] gives the lines to the state machine of the
//! turn again, so what it returns is the conversation as it was, to the last line that was written.
//!
//! # The file
//!
//! One file a conversation, JSON lines, only ever appended to, readable by its owner alone. The first line names the format,
//! the task and the session, if one was continued; then comes a line for the start of each turn and one for each input, with
//! what opencode wrote where the input is an event (but for deltas, which the whole text replaces):
//!
//! ```json
//! {"journal":{"format":1,"task":{"name":"hello","directory":"/home/me/task_hello_0a1b2c3d"},"session":null}}
//! {"turn":{"message":"Say hello.", …}}
//! {"session":{"at":1200345678,"session":"ses_…"}}
//! {"event":{"at":1200400000,"event":{"type":"step_start"},"raw":{…}}}
//! {"ended":{"at":3400000000,"ending":"finished"}}
//! ```
//!
//! Times are nanoseconds since the start of the turn. A kind of line that this version does not know is skipped and counted.
//!
//! # What is promised
//!
//! - Whatever a watcher has seen when the turn pauses for more is in the hands of the operating system: the end of our
//!   process, by whatever signal, loses nothing of it. It is forced onto the disk when the journal is closed; before that a
//!   power cut can take the last seconds.
//! - A file that was cut anywhere after its first line is read up to the last whole line, and is repaired when it is
//!   continued. What was dropped is counted.
//! - There is one writer: [`Journal::open`] of a file that another has open fails with [`JournalError::Busy`].
//! - A journal that cannot be written never harms its turn: see [`Journal::error`].
//! - Reading takes the memory of the conversation and of one line.

mod error;
mod journal;
mod line;
mod lines;
mod place;
mod prune;
mod replay;
mod writer;

pub use error::JournalError;
pub use journal::Journal;
pub use place::{folder_of, latest};
pub use prune::{KEPT, prune};
pub use replay::{Recovered, read};

#[cfg(test)]
mod tests;
