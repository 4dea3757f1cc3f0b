//! Saves the modes of the terminal, which a line editor and the live view change, and restores them however the command
//! ends.
//!
//! They are changed only if stdin, stdout and stderr are terminals. Otherwise another program of the same job, such as a
//! pager, may use the terminal.
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

/// Whether typed characters are not shown.
#[cfg(unix)]
static TYPING: Mutex<Typing> = Mutex::new(Typing { has_view: false, questions: 0 });

/// Typed characters are shown unless there is a view, whose cursor they would move, and no question. They are kept as
/// input in any case.
#[cfg(unix)]
struct Typing {
    has_view: bool,
    questions: u32,
}

#[cfg(unix)]
impl Typing {
    fn change(change: impl FnOnce(&mut Self)) {
        let mut typing = TYPING.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut typing);
        let is_shown = !typing.has_view || typing.questions > 0;
        let Some(saved) = lock(&SAVED).clone() else { return };
        let Ok(mut now) = tcgetattr(io::stdin()) else { return };
        let is_in_use = is_raw(&now) || !saved.local_modes.contains(LocalModes::ECHO);
        if is_in_use
            || is_in_foreground(&io::stdin()) != Some(true)
            || now.local_modes.contains(LocalModes::ECHO) == is_shown
        {
            return;
        }
        now.local_modes.set(LocalModes::ECHO, is_shown);
        tcsetattr(io::stdin(), OptionalActions::Now, &now).ok();
    }
}

/// Stops showing typed characters while a view is drawn.
#[cfg(unix)]
pub(crate) fn hide_typing() {
    Typing::change(|typing| typing.has_view = true);
}

/// Shows typed characters again.
#[cfg(unix)]
pub(crate) fn show_typing() {
    Typing::change(|typing| typing.has_view = false);
}

#[cfg(not(unix))]
pub(crate) fn hide_typing() {}

#[cfg(not(unix))]
pub(crate) fn show_typing() {}

/// Shows typed characters while it exists, because they answer a question.
#[derive(Debug)]
pub(crate) struct ShownTyping(());

impl ShownTyping {
    pub(crate) fn new() -> Self {
        #[cfg(unix)]
        Typing::change(|typing| typing.questions += 1);
        Self(())
    }
}

impl Drop for ShownTyping {
    fn drop(&mut self) {
        #[cfg(unix)]
        Typing::change(|typing| typing.questions -= 1);
    }
}

/// The modes of the editor or the view while the command is stopped.
#[cfg(target_os = "linux")]
static SUSPENDED: Mutex<Option<Termios>> = Mutex::new(None);

#[cfg(unix)]
fn lock(modes: &Mutex<Option<Termios>>) -> MutexGuard<'_, Option<Termios>> {
    modes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Saves the modes that the caller of the command set.
#[cfg(unix)]
pub(crate) fn save() {
    let is_alone = io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal();
    *lock(&SAVED) = tcgetattr(io::stdin()).ok().filter(|_| is_alone);
}

#[cfg(not(unix))]
pub(crate) fn save() {}

/// Restores the modes if they were changed, and returns whether an editor had. A background job does not change the
/// terminal.
#[cfg(unix)]
pub(crate) fn restore() -> bool {
    leave_modes().is_some_and(|modes| is_raw(&modes))
}

/// Restores the modes before the command is stopped.
#[cfg(target_os = "linux")]
pub(crate) fn suspend() {
    if let Some(modes) = leave_modes() {
        *lock(&SUSPENDED) = Some(modes);
    }
}

/// Sets the changed modes again after the command was stopped. Returns whether they are those of an editor: in the
/// background, they are set when it is in the foreground again.
#[cfg(target_os = "linux")]
pub(crate) fn resume() -> bool {
    let mut suspended = lock(&SUSPENDED);
    let can_set = |modes: &mut Termios| {
        is_in_foreground(&io::stdin()) == Some(true) && tcsetattr(io::stdin(), OptionalActions::Now, modes).is_ok()
    };
    let is_editing = suspended.take_if(can_set).is_some_and(|modes| is_raw(&modes));
    if is_editing {
        write(BRACKETED_PASTE);
    }
    is_editing
}

/// Resets the style and the cursor after an end at which output may have been incomplete.
#[cfg(target_os = "linux")]
pub(crate) fn clean_after_crash() {
    let has_escapes = std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb");
    if has_escapes && is_in_foreground(&io::stderr()) == Some(true) {
        crate::stderr_room::write_if_room(&[CLEAN_STATE, b"\r\n"].concat());
    }
}

/// Restores the modes, and returns the changed ones; `None` if they were not changed.
#[cfg(unix)]
fn leave_modes() -> Option<Termios> {
    let changed = LocalModes::ICANON | LocalModes::ECHO;
    let saved = lock(&SAVED).clone()?;
    let now = tcgetattr(io::stdin()).ok()?;
    let is_changed = now.local_modes & changed != saved.local_modes & changed;
    if is_in_foreground(&io::stdin()) != Some(true) || !is_changed || is_raw(&saved) {
        return None;
    }
    tcsetattr(io::stdin(), OptionalActions::Now, &saved).ok()?;
    if is_raw(&now) {
        write(&[CLEAN_STATE, b"\r\n"].concat());
    }
    Some(now)
}

#[cfg(unix)]
fn is_raw(modes: &Termios) -> bool {
    !modes.local_modes.contains(LocalModes::ICANON)
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
