//! Messages to the user on stderr.

use super::error::CommandError;
use super::live::Live;
use super::screen::stderr_columns;
use super::stderr::Stderr;
use super::word_wrap::wrap;
use anstyle::{AnsiColor, Style};
use opencode_run_markdown::visible;
use std::fmt::Display;
use std::io::Write;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const DIM: Style = Style::new().dimmed();

/// Writes to stderr; quiet leaves errors and warnings only.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Console {
    pub(crate) quiet: bool,
    /// The live view, if stderr is a terminal that can show it.
    pub(crate) live: Option<&'static Live>,
}

impl Console {
    pub(crate) fn error(error: &CommandError) {
        line(error_line(&error.message));
        if let Some(hint) = &error.hint {
            line(labelled(HINT, "hint:", hint));
        }
    }

    pub(crate) fn warning(text: &str) {
        line(warning_line(text));
    }

    /// Returns this console without its live view.
    pub(crate) const fn without_live(self) -> Self {
        Self { live: None, ..self }
    }

    /// Shows what the turn is waiting for in the live view, if there is one.
    pub(crate) fn wait_for(self, awaited: &str) {
        if let Some(live) = self.live {
            live.wait_for(awaited);
        }
    }

    /// Ends the live view.
    pub(crate) fn end_live(self) {
        if let Some(live) = self.live {
            live.end();
        }
    }

    /// Prints a styled line, which must already be safe for terminals.
    pub(crate) fn styled(self, text: &str) {
        if !self.quiet {
            line(text);
        }
    }

    /// Prints an informational message.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            line(format_args!("{DIM}{}{DIM:#}", fitted(text, 0)));
        }
    }
}

/// Formats an error.
pub(crate) fn error_line(text: &str) -> String {
    labelled(ERROR, "error:", text)
}

/// Formats a warning.
pub(crate) fn warning_line(text: &str) -> String {
    labelled(WARNING, "warning:", text)
}

fn labelled(style: Style, label: &str, text: &str) -> String {
    format!("{style}{label}{style:#} {}", fitted(text, label.len() + 1))
}

/// Returns a text that is safe for terminals, wrapped if stderr is one. `used` columns of its first line are taken.
fn fitted(text: &str, used: usize) -> String {
    let text = visible(text);
    match stderr_columns() {
        Some(columns) => wrap(&text, columns.saturating_sub(1), used),
        None => text,
    }
}

/// Prints a line. A broken stderr must not end a turn, so errors are ignored.
fn line(text: impl Display) {
    Stderr.write_all(format!("{text}\n").as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_terminal_safe() {
        let line = warning_line("a\u{1b}[31mb\nc\u{9b}d");
        assert!(line.ends_with("a␛[31mb\nc⟨U+009B⟩d"), "{line:?}");
    }
}
