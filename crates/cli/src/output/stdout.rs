//! Writes to stdout without blocking the turn, and makes text safe for terminals.

use super::terminal::{TerminalText, TextKind};
use crate::nonblocking::write_stdout;
use crate::screen;
use crate::stderr::{begin_answer, note_stdout};
use std::io::{self, IsTerminal};
use tokio::task::{JoinHandle, spawn_blocking};

/// Writes to stdout.
#[derive(Debug)]
pub(crate) struct Stdout {
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
        Self { terminal: io::stdout().is_terminal().then(|| TerminalText::new(kind)), writing: None }
    }

    /// Writes a text and waits until it is written. If the future is dropped, the write continues.
    pub(crate) async fn write(&mut self, text: impl Into<String>) -> Result<(), OutputError> {
        self.finish().await?;
        let mut text = text.into();
        if text.is_empty() {
            return Ok(());
        }
        if let Some(terminal) = &mut self.terminal {
            text = terminal.show(&text);
        }
        self.begin(text);
        self.finish().await
    }

    /// Writes text that is already safe for terminals, with our own styles.
    pub(crate) async fn write_rendered(&mut self, mut text: String) -> Result<(), OutputError> {
        self.finish().await?;
        if text.is_empty() {
            return Ok(());
        }
        let separator = begin_answer();
        if !text.starts_with('\n') {
            text.insert_str(0, separator);
        }
        self.begin(text);
        self.finish().await
    }

    /// Starts a write. On a terminal, the view is erased first.
    fn begin(&mut self, mut text: String) {
        note_stdout(&text);
        let hold = self.terminal.is_some().then(|| {
            let (hold, erasure) = screen::hold();
            text.insert_str(0, &erasure);
            hold
        });
        self.writing = Some(spawn_blocking(move || {
            let written = write_stdout(text.as_bytes());
            drop(hold);
            written
        }));
    }

    /// Waits for the current write.
    async fn finish(&mut self) -> Result<(), OutputError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.writing = None;
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => OutputError::Gone,
            _ => OutputError::Failed(error),
        })
    }
}
