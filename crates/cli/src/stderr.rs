//! stderr, which holds nothing up: what its reader has no room for is left out.

use crate::screen;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a full stderr is waited for. Who reads it, if slowly, makes room in less.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a terminal that is stopped is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The pause before the next attempt if the system reports room and then refuses to write.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Gives a terminal its own look back, whatever was written to it before: no colour, nothing concealed, a visible cursor.
const CLEAN_STATE: &str = "\u{1b}[0m\u{1b}[?25h";
/// How much can be written at once where the system says that there is room: a pipe has this much, or says that it is full.
const PIECE: usize = 4096;

/// How many times something was left out since there was room.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// What stdout wrote last, to the terminal that stderr is on as well, ends in the middle of a line.
static LINE_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Notes what stdout wrote, so that no message begins in the middle of a line of it where a person sees both.
pub(crate) fn note_stdout(text: &str) {
    if io::stdout().is_terminal() && io::stderr().is_terminal() {
        LINE_IS_OPEN.store(!text.ends_with('\n'), Ordering::Relaxed);
    }
}

/// Writes to stderr, with colours if they are enabled. Each write is taken or dropped as a whole.
///
/// A write never fails: a reader that is gone, a full disk or a closed descriptor must not end a turn or lose its answer.
#[derive(Debug)]
pub(crate) struct Stderr;

impl Stderr {
    /// Waits until what is written can be seen. A terminal that was stopped, as with Ctrl-S, shows nothing.
    pub(crate) async fn room() {
        while !has_room(&io::stderr().lock(), Duration::ZERO) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Writes a question on a line of its own, in the terminal's own look. Unlike a message it is never dropped: what is typed next
/// answers it. Nothing in the question may drive the terminal.
///
/// The caller holds the screen, and passes what erases the view.
pub(crate) async fn ask_person(erasure: &str, question: &str) -> io::Result<()> {
    LINE_IS_OPEN.store(false, Ordering::Relaxed);
    // Also if no colours are wanted: another program may have left some.
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

/// Writes bytes as they are if there is room now. Returns whether they were written.
pub(crate) fn write_if_room(bytes: &[u8]) -> bool {
    let mut stderr = io::stderr().lock();
    has_room(&stderr, Duration::ZERO) && write_fully(&mut stderr, bytes).is_ok()
}

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        let left_out = LEFT_OUT.load(Ordering::Relaxed);
        // Who had no room before is asked, but not waited for again.
        let patience = if left_out == 0 { PATIENCE } else { Duration::ZERO };
        if !has_room(&stderr, patience) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            return Ok(text.len());
        }
        let mut message = Vec::new();
        if left_out > 0 {
            LEFT_OUT.store(0, Ordering::Relaxed);
            message.extend(format!("… {left_out} messages were dropped: stderr was full …\n").into_bytes());
        }
        message.extend(screen::take_erasure().into_bytes());
        if LINE_IS_OPEN.swap(false, Ordering::Relaxed) {
            message.push(b'\n');
        }
        message.extend(coloured(text)?);
        for piece in message.chunks(PIECE) {
            if !has_room(&stderr, PATIENCE) || write_fully(&mut stderr, piece).is_err() {
                break;
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all bytes. If another process made stderr non-blocking and it is full, it is waited for like any other.
fn write_fully(stderr: &mut io::StderrLock<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let began = Instant::now();
    while !bytes.is_empty() {
        match stderr.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if may_succeed_later(&error) && began.elapsed() < PATIENCE => {
                has_room(stderr, PATIENCE);
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn may_succeed_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Returns the text as this stderr is to show it.
fn coloured(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = anstream::AutoStream::new(Vec::new(), anstream::AutoStream::choice(&io::stderr()));
    stream.write_all(text)?;
    Ok(stream.into_inner())
}

#[cfg(unix)]
fn has_room(stderr: &io::StderrLock<'_>, patience: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
    // Where it cannot be told, or its reader is gone, the write itself shows.
    poll(&mut [PollFd::new(stderr, PollFlags::OUT)], Some(&limit)) != Ok(0)
}

#[cfg(not(unix))]
fn has_room(_: &io::StderrLock<'_>, _: Duration) -> bool {
    true
}
