//! Saves the modes of the terminal, which a line editor changes, and restores them however the command ends.
//!
//! The worker restores them when it ends, and the monitor does if the worker was killed.

#[cfg(unix)]
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use std::io::{self, IsTerminal, Write};
#[cfg(unix)]
use std::sync::{Mutex, PoisonError};

/// Disables bracketed paste, which the editor enabled.
const NO_BRACKETED_PASTE: &[u8] = b"\x1b[?2004l";

#[cfg(unix)]
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Saves the modes that the caller of the command set.
#[cfg(unix)]
pub(crate) fn save() {
    *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = tcgetattr(io::stdin()).ok();
}

#[cfg(not(unix))]
pub(crate) fn save() {}

/// Restores the modes if an editor has changed them. A background job does not change the terminal.
#[cfg(unix)]
pub(crate) fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (Some(saved), Ok(now)) = (saved, tcgetattr(io::stdin())) else { return };
    let is_raw = |modes: &Termios| !modes.local_modes.contains(LocalModes::ICANON);
    let is_ours = tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp());
    if is_ours && is_raw(&now) && !is_raw(&saved) {
        tcsetattr(io::stdin(), OptionalActions::Now, &saved).ok();
        if io::stdout().is_terminal() {
            let mut stdout = io::stdout().lock();
            stdout.write_all(NO_BRACKETED_PASTE).and_then(|()| stdout.write_all(b"\r\n")).ok();
            stdout.flush().ok();
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn restore() {
    let _ = (io::stdout().is_terminal(), NO_BRACKETED_PASTE.len());
    io::stdout().flush().ok();
}
