//! stdout, without blocking the turn's other business.

use crate::cli::nonblocking::write_stdout;
use crate::cli::stderr::note_stdout;
use std::io;
use tokio::task::{JoinHandle, spawn_blocking};

/// Writes to stdout.
#[derive(Debug, Default)]
pub(crate) struct Stdout {
    /// A write whose future was dropped: the next one follows it.
    writing: Option<JoinHandle<io::Result<()>>>,
}

/// stdout takes nothing more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Its reader went away, which is its right: nothing is to be said about it.
    #[error("the reader of stdout went away")]
    Gone,
    /// Nobody reads it, and it is not waited for any longer.
    #[error("stdout was not read, and what it had no room for is left out")]
    Stuck,
    /// It cannot be written to.
    #[error("stdout cannot be written to: {0}")]
    Failed(io::Error),
}

impl Stdout {
    /// Writes a text and waits until it is out. If the future is dropped, the write goes on.
    pub(crate) async fn write(&mut self, text: impl Into<String>) -> Result<(), OutputError> {
        self.finish().await?;
        let text = text.into();
        if text.is_empty() {
            return Ok(());
        }
        note_stdout(&text);
        self.writing = Some(spawn_blocking(move || write_stdout(text.as_bytes())));
        self.finish().await
    }

    /// Waits for the write that is under way.
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
