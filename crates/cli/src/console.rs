//! What is said to a person, on stderr.

use super::error::CommandError;
use super::stderr::Stderr;
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
}

impl Console {
    pub(crate) fn error(error: &CommandError) {
        line(error_line(&error.message));
        if let Some(hint) = &error.hint {
            line(format_args!("{HINT}hint:{HINT:#} {}", visible(hint)));
        }
    }

    pub(crate) fn warning(text: &str) {
        line(warning_line(text));
    }

    /// Says something that is good to know.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            line(format_args!("{DIM}{}{DIM:#}", visible(text)));
        }
    }
}

/// Words an error.
pub(crate) fn error_line(text: &str) -> String {
    format!("{ERROR}error:{ERROR:#} {}", visible(text))
}

/// Words a warning.
pub(crate) fn warning_line(text: &str) -> String {
    format!("{WARNING}warning:{WARNING:#} {}", visible(text))
}

/// A stderr that nobody reads any more must not end a turn.
fn line(text: impl Display) {
    Stderr.write_all(format!("{text}\n").as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        let line = warning_line("a\u{1b}[31mb\nc\u{9b}d");
        assert!(line.ends_with("a␛[31mb\nc⟨U+009B⟩d"), "{line:?}");
    }
}
