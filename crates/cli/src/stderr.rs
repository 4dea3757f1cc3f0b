//! Writes to stderr without blocking: output that does not fit is dropped.

use crate::screen::{self, ScreenHold};
use crate::stderr_room::{FULL_TIMEOUT, RETRY_PAUSE, has_room, may_succeed_later, write_fully, write_if_room};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The polling interval for a stopped terminal.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Resets a terminal, whatever was written to it before: no colour, nothing concealed, a visible cursor.
const CLEAN_STATE: &str = "\u{1b}[0m\u{1b}[?25h";
/// The maximum size of one write when the system reports room: a pipe has at least this much, or reports that it is
/// full.
const PIECE: usize = 4096;

/// The number of dropped messages since there was room.
static DROPPED_MESSAGES: AtomicU64 = AtomicU64::new(0);

/// Whether the last output on a terminal that stdout and stderr share, an answer or a question, ended in the middle of a
/// line.
static LINE_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Whether the last output on a terminal that stdout and stderr share was a line of the rendered answer, or a message.
static LAST_WAS_ANSWER: AtomicBool = AtomicBool::new(false);
static LAST_WAS_MESSAGE: AtomicBool = AtomicBool::new(false);

/// The messages that wait until a question is answered; `None` if no question is open.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);
/// The maximum size of the messages that wait, in bytes. Further ones are printed below the question.
const MAX_HELD: usize = 64 << 10;

/// Holds messages back while it exists, because they would hide a question that the user has to answer.
#[derive(Debug)]
pub(crate) struct OpenQuestion(());

impl OpenQuestion {
    pub(crate) fn new() -> Self {
        held().get_or_insert_default();
        Self(())
    }

    /// Records that the user has ended the line of the question.
    pub(crate) fn answered(self) {
        LINE_IS_OPEN.store(false, Ordering::Relaxed);
        drop(self);
    }
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        // The turn has ended: the view must not be drawn in the line of the question.
        if LINE_IS_OPEN.swap(false, Ordering::Relaxed) && io::stderr().is_terminal() {
            write_if_room(b"\n");
        }
        print_held();
    }
}

fn held() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints the messages that wait for an answer.
pub(crate) fn print_held() {
    let messages = held().take().unwrap_or_default();
    if !messages.is_empty() {
        Stderr.write_all(&messages).ok();
    }
}

/// Records that lines of a rendered answer follow. Returns the separator from the messages above it.
pub(crate) fn begin_answer() -> &'static str {
    if !io::stderr().is_terminal() {
        return "";
    }
    LAST_WAS_ANSWER.store(true, Ordering::Relaxed);
    if LAST_WAS_MESSAGE.swap(false, Ordering::Relaxed) { "\n" } else { "" }
}

/// Records the end of stdout's output, so that no message begins in the middle of one of its lines on a shared
/// terminal.
pub(crate) fn note_stdout(text: &str) {
    if io::stdout().is_terminal() && io::stderr().is_terminal() {
        LINE_IS_OPEN.store(!text.ends_with('\n'), Ordering::Relaxed);
    }
}

/// Writes to stderr, with colours if they are enabled. Each write is completed, dropped, or held until an open question
/// is answered.
///
/// A write never fails: a closed pipe, a full disk or a closed descriptor must not end a turn or lose its answer.
#[derive(Debug)]
pub(crate) struct Stderr;

impl Stderr {
    /// Waits until output is visible. A terminal that was stopped, for example with Ctrl-S, shows nothing.
    pub(crate) async fn room() {
        while !has_room(&io::stderr().lock(), Duration::ZERO) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Writes a question on a separate line after resetting the terminal's style. Unlike a message it is never dropped,
/// because the next input answers it. The question must be safe for terminals.
///
/// The caller holds the screen, and passes the text that erases the view.
pub(crate) async fn ask_person(erasure: &str, question: &str) -> io::Result<()> {
    // Unless the user ends it, the next message begins a line.
    LINE_IS_OPEN.store(true, Ordering::Relaxed);
    // Even without our own colours, because another program may have left some.
    let obeys = io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|name| name != "dumb");
    let text = format!("{erasure}{}\n{question}", if obeys { CLEAN_STATE } else { "" });
    for piece in text.as_bytes().chunks(PIECE) {
        let mut rest = piece;
        while !rest.is_empty() {
            Stderr::room().await;
            let written = io::stderr().lock().write(rest);
            match written {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if may_succeed_later(&error) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(messages) = held().as_mut().filter(|messages| messages.len() + text.len() <= MAX_HELD) {
            messages.extend_from_slice(text);
            return Ok(text.len());
        }
        // The view is drawn with the locks in this order, and must not be drawn between its erasure and the message.
        let _hold = ScreenHold::new();
        let mut stderr = io::stderr().lock();
        let dropped = DROPPED_MESSAGES.load(Ordering::Relaxed);
        // After a dropped message, stderr is checked without waiting.
        let timeout = if dropped == 0 { FULL_TIMEOUT } else { Duration::ZERO };
        if !has_room(&stderr, timeout) {
            DROPPED_MESSAGES.fetch_add(1, Ordering::Relaxed);
            return Ok(text.len());
        }
        let mut message = Vec::new();
        if dropped > 0 {
            DROPPED_MESSAGES.store(0, Ordering::Relaxed);
            message.extend(format!("… {dropped} messages were dropped: stderr was full …\n").into_bytes());
        }
        message.extend(screen::take_erasure().into_bytes());
        LAST_WAS_MESSAGE.store(true, Ordering::Relaxed);
        let ends_answer = LAST_WAS_ANSWER.swap(false, Ordering::Relaxed);
        if LINE_IS_OPEN.swap(false, Ordering::Relaxed) || ends_answer {
            message.push(b'\n');
        }
        message.extend(coloured(text)?);
        for piece in message.chunks(PIECE) {
            if !has_room(&stderr, FULL_TIMEOUT) || write_fully(&mut stderr, piece).is_err() {
                break;
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the text with or without styles, as this stderr requires.
fn coloured(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = anstream::AutoStream::new(Vec::new(), anstream::AutoStream::choice(&io::stderr()));
    stream.write_all(text)?;
    Ok(stream.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_wait_for_the_answer() {
        let open = OpenQuestion::new();
        Stderr.write_all(b"a message that waits\n").unwrap();
        let waiting = held().clone().unwrap();
        assert!(String::from_utf8_lossy(&waiting).contains("a message that waits\n"));
        open.answered();
        assert_eq!(*held(), None);
    }
}
