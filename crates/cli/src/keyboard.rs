//! Lines from the user's keyboard: the messages of a chat, and answers to questions.

use super::nonblocking::wait_for_stdin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::{Mutex, MutexGuard};

/// The polling interval for terminal input.
const POLL_INTERVAL: Duration = Duration::from_millis(30);

/// stdin, shared by several readers that take turns.
#[derive(Debug, Clone)]
pub(crate) struct Keyboard(Arc<Mutex<Source>>);

/// stdin, read in one of two ways.
#[derive(Debug)]
enum Source {
    /// With a thread that waits for the next line, even after its future was dropped.
    Lines(Lines<BufReader<Stdin>>),
    /// Only while a line is requested, because otherwise a line editor uses the terminal. Holds the bytes after the
    /// last line.
    Polled(Vec<u8>),
}

/// Exclusive access to the keyboard.
#[derive(Debug)]
pub(crate) struct HeldKeyboard<'k>(MutexGuard<'k, Source>);

impl Keyboard {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Source::Lines(BufReader::new(tokio::io::stdin()).lines()))))
    }

    /// Creates a keyboard that reads only while a line is requested, because otherwise a line editor uses the terminal.
    pub(crate) fn beside_editor() -> Self {
        Self(Arc::new(Mutex::new(Source::Polled(Vec::new()))))
    }

    /// Waits for exclusive access.
    pub(crate) async fn hold(&self) -> HeldKeyboard<'_> {
        HeldKeyboard(self.0.lock().await)
    }

    /// Returns the next line; `None` at the end. Cancel safe: a line that was begun is not lost.
    pub(crate) async fn next_line(&self) -> std::io::Result<Option<String>> {
        self.hold().await.next_line().await
    }
}

impl HeldKeyboard<'_> {
    /// Returns the next line, like [`Keyboard::next_line`].
    pub(crate) async fn next_line(&mut self) -> std::io::Result<Option<String>> {
        let lines = match &mut *self.0 {
            Source::Lines(lines) => lines,
            Source::Polled(typed) => return poll_line(typed).await,
        };
        loop {
            match lines.next_line().await {
                // Another process made stdin non-blocking.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tokio::task::spawn_blocking(wait_for_stdin).await.map_err(std::io::Error::other)??;
                }
                line => return line,
            }
        }
    }

    /// Discards pending input. Returns whether it contained a complete line.
    pub(crate) fn forget(&mut self) -> bool {
        // Several lines were read together, for example from a terminal without line mode.
        let read = match &mut *self.0 {
            Source::Lines(lines) => {
                let reader = lines.get_mut();
                let read = reader.buffer().len();
                reader.consume(read);
                read
            }
            Source::Polled(typed) => std::mem::take(typed).len(),
        };
        let waiting = drop_typed();
        read > 0 || waiting
    }
}

/// Returns the next line of the terminal; `None` at its end. Dropping the future stops reading.
async fn poll_line(typed: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(end) = typed.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = typed.drain(..=end).collect();
            return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
        }
        match read_typed(typed)? {
            Some(0) => return Ok(None),
            Some(_) => {}
            None => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Appends pending input, and returns its length in bytes; `None` if there was no input.
#[cfg(unix)]
fn read_typed(to: &mut Vec<u8>) -> std::io::Result<Option<usize>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    let stdin = std::io::stdin();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&now)) == Ok(0) {
        return Ok(None);
    }
    let mut bytes = [0; 4096];
    match rustix::io::read(&stdin, &mut bytes) {
        Ok(count) => {
            to.extend_from_slice(&bytes[..count]);
            Ok(Some(count))
        }
        Err(Errno::INTR | Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn read_typed(_: &mut Vec<u8>) -> std::io::Result<Option<usize>> {
    Ok(Some(0))
}

/// Discards the terminal's pending input, including an incomplete line. Returns whether there was a complete one.
#[cfg(unix)]
pub(crate) fn drop_typed() -> bool {
    use rustix::termios::{QueueSelector, tcflush};
    let stdin = std::io::stdin();
    let waiting = rustix::io::ioctl_fionread(&stdin).is_ok_and(|bytes| bytes > 0);
    // If the terminal is gone, there is no input, and the next read reports that.
    tcflush(&stdin, QueueSelector::IFlush).is_ok() && waiting
}

#[cfg(not(unix))]
pub(crate) fn drop_typed() -> bool {
    false
}
