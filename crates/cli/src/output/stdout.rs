//! Writes to stdout without blocking the turn, and makes text safe for terminals.

use super::terminal::{TerminalText, TextKind};
use crate::nonblocking::{write_stdout, write_stdout_now};
use crate::screen;
use crate::stderr::{begin_answer, note_stdout};
use std::io::{self, IsTerminal};
use tokio::task::{JoinHandle, spawn_blocking};

/// The maximum length in bytes of queued text.
const MAX_QUEUED: usize = 64 << 10;

/// Writes to stdout.
#[derive(Debug)]
pub(crate) struct Stdout {
    /// The text that the next write includes. It is safe for terminals.
    queued: String,
    /// Makes text safe if stdout is a terminal. A pipe or a file gets the original bytes.
    terminal: Option<TerminalText>,
    /// A write whose future was dropped and which the next write must follow.
    writing: Option<JoinHandle<io::Result<()>>>,
}

/// The reason why stdout accepts no more output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Broken pipe: the reader is gone, which is not reported.
    #[error("stdout was closed by its reader")]
    Gone,
    /// stdout is blocked, and the shutdown timeout is over.
    #[error("stdout was not read, so the remaining output was dropped")]
    Stuck,
    /// A write failed.
    #[error("stdout cannot be written to: {0}")]
    Failed(io::Error),
}

impl Stdout {
    pub(crate) fn new(kind: TextKind) -> Self {
        let terminal = io::stdout().is_terminal().then(|| TerminalText::new(kind));
        Self { queued: String::new(), terminal, writing: None }
    }

    /// Returns whether stdout is a terminal.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Writes a text and waits until it is written. If the future is dropped, the write continues.
    pub(crate) async fn write(&mut self, text: impl AsRef<str>) -> Result<(), OutputError> {
        self.queue(text).await?;
        self.flush().await
    }

    /// Adds a text to the next write. Writes only if much is queued.
    pub(crate) async fn queue(&mut self, text: impl AsRef<str>) -> Result<(), OutputError> {
        match &mut self.terminal {
            Some(terminal) => self.queued.push_str(&terminal.show(text.as_ref())),
            None => self.queued.push_str(text.as_ref()),
        }
        self.limit_queue().await
    }

    /// Adds text that is already safe for terminals, with our own styles, to the next write.
    pub(crate) async fn queue_rendered(&mut self, text: &str) -> Result<(), OutputError> {
        if text.is_empty() {
            return Ok(());
        }
        let separator = begin_answer();
        if !text.starts_with('\n') {
            self.queued.push_str(separator);
        }
        self.queued.push_str(text);
        self.limit_queue().await
    }

    async fn limit_queue(&mut self) -> Result<(), OutputError> {
        if self.queued.len() > MAX_QUEUED { self.flush().await } else { Ok(()) }
    }

    /// Writes the queued text and waits until it is written. If the future is dropped, the write continues.
    pub(crate) async fn flush(&mut self) -> Result<(), OutputError> {
        self.finish().await?;
        if self.queued.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.queued);
        self.begin(text)?;
        self.finish().await
    }

    /// Starts a write. On a terminal, the view is erased first.
    fn begin(&mut self, mut text: String) -> Result<(), OutputError> {
        let mut hold = None;
        let mut written = 0;
        if self.terminal.is_some() {
            note_stdout(&text);
            let (screen, erasure) = screen::hold();
            text.insert_str(0, &erasure);
            hold = Some(screen);
        } else {
            // Spares most writes the thread.
            written = write_stdout_now(text.as_bytes())?;
            if written == text.len() {
                return Ok(());
            }
        }
        self.writing = Some(spawn_blocking(move || {
            let written = write_stdout(&text.as_bytes()[written..]);
            drop(hold);
            written
        }));
        Ok(())
    }

    /// Waits for the current write.
    async fn finish(&mut self) -> Result<(), OutputError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.writing = None;
        Ok(written?)
    }
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Failed(error),
        }
    }
}
