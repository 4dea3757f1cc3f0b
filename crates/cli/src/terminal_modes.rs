//! Saves the modes of the terminal, which a line editor changes, and restores them however the command ends.
//!
//! The worker restores them when it ends, and the monitor does if the worker could not. The monitor also restores them
//! while the command is stopped.

#[cfg(unix)]
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
#[cfg(unix)]
use std::io::{self, IsTerminal, Write};
#[cfg(unix)]
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Enables bracketed paste, as the editor does.
#[cfg(target_os = "linux")]
const BRACKETED_PASTE: &[u8] = b"\x1b[?2004h";
/// Undoes what the editor or a message may have left: bracketed paste, a hidden cursor, a colour.
#[cfg(unix)]
const CLEAN_STATE: &[u8] = b"\x1b[?2004l\x1b[?25h\x1b[0m";

/// The modes that the caller of the command set.
#[cfg(unix)]
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// The modes of the editor while the command is stopped.
#[cfg(target_os = "linux")]
static SUSPENDED: Mutex<Option<Termios>> = Mutex::new(None);

#[cfg(unix)]
fn lock(modes: &Mutex<Option<Termios>>) -> MutexGuard<'_, Option<Termios>> {
    modes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Saves the modes that the caller of the command set.
#[cfg(unix)]
pub(crate) fn save() {
    *lock(&SAVED) = tcgetattr(io::stdin()).ok();
}

#[cfg(not(unix))]
pub(crate) fn save() {}

/// Restores the modes if an editor has changed them, and returns whether it had. A background job does not change the
/// terminal.
#[cfg(unix)]
pub(crate) fn restore() -> bool {
    leave_editor().is_some()
}

/// Restores the modes before the command is stopped.
#[cfg(target_os = "linux")]
pub(crate) fn suspend() {
    if let Some(modes) = leave_editor() {
        *lock(&SUSPENDED) = Some(modes);
    }
}

/// Sets the modes of the editor again after the command was stopped. Returns whether it did: in the background, it
/// does so when it is in the foreground again.
#[cfg(target_os = "linux")]
pub(crate) fn resume() -> bool {
    let mut suspended = lock(&SUSPENDED);
    let is_set = suspended.as_ref().is_some_and(|modes| {
        is_in_foreground(&io::stdin()) == Some(true) && tcsetattr(io::stdin(), OptionalActions::Now, modes).is_ok()
    });
    if is_set {
        *suspended = None;
        write(BRACKETED_PASTE);
    }
    is_set
}

/// Resets the style and the cursor after an end at which output may have been incomplete.
#[cfg(target_os = "linux")]
pub(crate) fn clean_after_crash() {
    let has_escapes = std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb");
    if has_escapes && is_in_foreground(&io::stderr()) == Some(true) {
        crate::stderr_room::write_if_room(&[CLEAN_STATE, b"\r\n"].concat());
    }
}

/// Restores the modes, and returns those of the editor; `None` if no editor has changed them.
#[cfg(unix)]
fn leave_editor() -> Option<Termios> {
    let saved = lock(&SAVED).clone()?;
    let now = tcgetattr(io::stdin()).ok()?;
    let is_raw = |modes: &Termios| !modes.local_modes.contains(LocalModes::ICANON);
    if is_in_foreground(&io::stdin()) != Some(true) || !is_raw(&now) || is_raw(&saved) {
        return None;
    }
    tcsetattr(io::stdin(), OptionalActions::Now, &saved).ok()?;
    write(&[CLEAN_STATE, b"\r\n"].concat());
    Some(now)
}

/// Writes to stdout if it is a terminal.
#[cfg(unix)]
fn write(bytes: &[u8]) {
    if io::stdout().is_terminal() {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).ok();
    }
}

/// Returns whether this job is in the foreground of a terminal; `None` if it is not the terminal of the job's session,
/// such as a pipe.
#[cfg(unix)]
pub(crate) fn is_in_foreground(terminal: &impl std::os::fd::AsFd) -> Option<bool> {
    tcgetpgrp(terminal).ok().map(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
pub(crate) fn is_in_foreground<T>(_terminal: &T) -> Option<bool> {
    None
}

#[cfg(not(unix))]
pub(crate) fn restore() -> bool {
    false
}
