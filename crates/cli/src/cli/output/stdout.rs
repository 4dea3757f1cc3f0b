//! stdout, without blocking the turn's other business.

use crate::cli::stderr::note_stdout;
use std::io;
use tokio::io::AsyncWriteExt;

/// Writes to stdout.
#[derive(Debug)]
pub(crate) struct Stdout(tokio::io::Stdout);

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
    pub(crate) fn new() -> Self {
        Self(tokio::io::stdout())
    }

    /// Writes a text and waits until it is out.
    pub(crate) async fn write(&mut self, text: &str) -> Result<(), OutputError> {
        if text.is_empty() {
            return Ok(());
        }
        note_stdout(text);
        let written = async {
            self.0.write_all(text.as_bytes()).await?;
            self.0.flush().await
        };
        written.await.map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => OutputError::Gone,
            _ => OutputError::Failed(error),
        })
    }
}
