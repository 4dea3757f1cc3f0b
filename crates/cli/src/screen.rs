//! The terminal that stdout and stderr share: its last lines are a view that is erased before other output, and
//! redrawn after it.

use crate::stderr_room::write_if_room;
use crate::styled::StyledLine;
use crate::terminal_modes::is_in_foreground;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The size of a terminal that does not report one.
const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24 };

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen { drawn: Vec::new(), holds: 0 });

/// Notified when the view was erased from the screen.
static ERASED: Notify = Notify::const_new();

#[derive(Debug)]
struct Screen {
    /// The widths of the drawn lines. The cursor is after the last one.
    drawn: Vec<usize>,
    /// The number of holds, which prevent drawing.
    holds: u32,
}

impl Screen {
    /// Marks the drawn lines as erased, and returns the text that erases them.
    fn erase(&mut self, columns: usize) -> String {
        let text = erasure(&self.drawn, columns);
        self.drawn.clear();
        text
    }
}

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the text that erases lines of these widths from the cursor upwards. A terminal that became narrower has
/// wrapped them.
fn erasure(widths: &[usize], columns: usize) -> String {
    if widths.is_empty() {
        return String::new();
    }
    let rows: usize = widths.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
    let up = if rows > 1 { format!("\u{1b}[{}A", rows - 1) } else { String::new() };
    format!("\r{up}\u{1b}[J")
}

/// Prevents drawing while it exists: another process or the answer uses the terminal.
#[derive(Debug)]
pub(crate) struct ScreenHold(());

impl Drop for ScreenHold {
    fn drop(&mut self) {
        screen().holds -= 1;
        ERASED.notify_one();
    }
}

impl ScreenHold {
    /// Prevents drawing. `None` if this thread panicked while it drew: it reports that itself, and still has the lock.
    pub(crate) fn new() -> Option<Self> {
        let screen = if std::thread::panicking() { SCREEN.try_lock().ok() } else { Some(screen()) };
        screen?.holds += 1;
        Some(Self(()))
    }
}

/// Prevents drawing. Returns the text that erases the view, which must be written first.
pub(crate) fn hold() -> (Option<ScreenHold>, String) {
    (ScreenHold::new(), take_erasure())
}

/// Returns the text that erases the view, which must be written first.
pub(crate) fn take_erasure() -> String {
    // See `ScreenHold::new`.
    let screen = if std::thread::panicking() { SCREEN.try_lock().ok() } else { Some(screen()) };
    let Some(mut screen) = screen else { return String::new() };
    if screen.drawn.is_empty() {
        return String::new();
    }
    ERASED.notify_one();
    screen.erase(size().columns)
}

/// Waits until the view was erased and can be redrawn.
pub(crate) async fn erased() {
    ERASED.notified().await;
}

/// Erases the view.
pub(crate) fn clear() {
    let erasure = take_erasure();
    if !erasure.is_empty() {
        write_if_room(erasure.as_bytes());
    }
}

/// Forgets the drawn lines, because the cursor may have moved.
pub(crate) fn forget() {
    screen().drawn.clear();
}

/// Replaces the drawn view. Does nothing if the terminal has no room, or another job uses it.
pub(crate) fn draw(lines: &[StyledLine], size: Size, colours: bool) {
    let mut screen = screen();
    // A background job must not draw over the shell's output.
    if screen.holds > 0 || is_in_foreground(&io::stderr()) == Some(false) {
        return;
    }
    let columns = size.columns;
    let lines: Vec<_> = lines.iter().map(|line| line.cut(columns.saturating_sub(1))).collect();
    let mut text = erasure(&screen.drawn, columns);
    for (number, line) in lines.iter().enumerate() {
        // Writing to a string cannot fail. Tabs are replaced, because their width would be wrong.
        let shown = line.to_text(colours).replace('\t', "    ");
        write!(text, "{}{shown}", if number > 0 { "\r\n" } else { "" }).ok();
    }
    if write_if_room(text.as_bytes()) {
        screen.drawn = lines.iter().map(StyledLine::width).collect();
    }
}

/// Returns whether stderr is a terminal on which the cursor can be moved.
pub(crate) fn can_draw() -> bool {
    io::stderr().is_terminal() && has_cursor()
}

/// Returns whether stdout is a terminal that can show rendered text.
pub(crate) fn can_render() -> bool {
    io::stdout().is_terminal() && has_cursor()
}

fn has_cursor() -> bool {
    cfg!(unix) && std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb")
}

/// Returns the size of the terminal on stderr, or on stdout.
pub(crate) fn size() -> Size {
    #[cfg(unix)]
    for size in [rustix::termios::tcgetwinsize(io::stderr()), rustix::termios::tcgetwinsize(io::stdout())] {
        if let Some(size) = size.ok().filter(|size| size.ws_col > 0) {
            let rows = if size.ws_row > 0 { size.ws_row.into() } else { DEFAULT_SIZE.rows };
            return Size { columns: size.ws_col.into(), rows };
        }
    }
    DEFAULT_SIZE
}

/// Returns the width of the terminal on stderr; `None` if stderr is not a terminal, or its width is unknown.
pub(crate) fn stderr_columns() -> Option<usize> {
    #[cfg(unix)]
    let columns = rustix::termios::tcgetwinsize(io::stderr()).ok().map(|size| usize::from(size.ws_col));
    #[cfg(not(unix))]
    let columns = None;
    columns.filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_while_drawing_can_be_reported() {
        let reported = std::thread::spawn(|| {
            struct Report;
            impl Drop for Report {
                fn drop(&mut self) {
                    assert_eq!(take_erasure(), "");
                }
            }
            let _report = Report;
            let _drawing = screen();
            let _reported_first = Report;
            panic!("while drawing");
        });
        reported.join().unwrap_err();
        SCREEN.clear_poison();
    }

    #[test]
    fn erasure_counts_broken_rows() {
        assert_eq!(erasure(&[], 80), "");
        assert_eq!(erasure(&[10], 80), "\r\u{1b}[J");
        assert_eq!(erasure(&[10, 0, 79], 80), "\r\u{1b}[2A\u{1b}[J");
        assert_eq!(erasure(&[79, 10], 40), "\r\u{1b}[2A\u{1b}[J");
    }
}
