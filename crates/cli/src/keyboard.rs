//! The lines that a person writes: the turns of a chat, and the answers in between.

use super::nonblocking::wait_for_stdin;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::{Mutex, MutexGuard};

/// stdin, for whoever it is the turn of.
#[derive(Debug, Clone)]
pub(crate) struct Keyboard(Arc<Mutex<Lines<BufReader<Stdin>>>>);

/// The keyboard while nobody else reads it.
#[derive(Debug)]
pub(crate) struct Held<'k>(MutexGuard<'k, Lines<BufReader<Stdin>>>);

impl Keyboard {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(BufReader::new(tokio::io::stdin()).lines())))
    }

    /// Takes the keyboard, as soon as nobody else has it.
    pub(crate) async fn hold(&self) -> Held<'_> {
        Held(self.0.lock().await)
    }

    /// Returns the next line; none at the end. What was begun when the future is dropped is not lost.
    pub(crate) async fn next_line(&self) -> std::io::Result<Option<String>> {
        self.hold().await.next_line().await
    }
}

impl Held<'_> {
    /// Returns the next line as [`Keyboard::next_line`] does.
    pub(crate) async fn next_line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            match self.0.next_line().await {
                // Another process made stdin non-blocking.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tokio::task::spawn_blocking(wait_for_stdin).await.map_err(std::io::Error::other)??;
                }
                line => return line,
            }
        }
    }

    /// Drops what was typed and not yet taken. Returns whether there was a line of it.
    pub(crate) fn forget(&mut self) -> bool {
        let reader = self.0.get_mut();
        // More than a line was read at once: a terminal that gives no lines, but what there is.
        let read = reader.buffer().len();
        reader.consume(read);
        let waiting = drop_typed();
        read > 0 || waiting
    }
}

/// Drops what the terminal holds, a line that was only begun included. Returns whether there was a whole one.
#[cfg(unix)]
pub(crate) fn drop_typed() -> bool {
    use rustix::termios::{QueueSelector, tcflush};
    let stdin = std::io::stdin();
    let waiting = rustix::io::ioctl_fionread(&stdin).is_ok_and(|bytes| bytes > 0);
    // A terminal that is gone holds nothing, and the next read says so.
    tcflush(&stdin, QueueSelector::IFlush).is_ok() && waiting
}

#[cfg(not(unix))]
pub(crate) fn drop_typed() -> bool {
    false
}
