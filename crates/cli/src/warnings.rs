//! Warnings with a code: once on stderr, and in the report of the next turn.

use super::console::Console;
use opencode_runner::Warning;
use std::sync::{Mutex, PoisonError};

/// The warnings that came before the report of their turn. There is one turn at a time.
static PENDING: Mutex<Vec<Warning>> = Mutex::new(Vec::new());

/// Prints a warning, and keeps it for the next report.
pub(crate) fn warn(warning: Warning) {
    print(&warning);
    PENDING.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
}

/// Prints a warning with its hint.
pub(crate) fn print(warning: &Warning) {
    let hint = warning.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    Console::warning(&format!("{}{hint}", warning.message));
}

/// Takes the warnings for a report.
pub(crate) fn take() -> Vec<Warning> {
    std::mem::take(&mut PENDING.lock().unwrap_or_else(PoisonError::into_inner))
}
