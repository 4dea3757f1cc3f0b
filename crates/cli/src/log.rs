//! The log on stderr. At its default level, this program's own warnings look like the command's other messages.

use super::console::{error_line, warning_line};
use super::stderr::Stderr;
use anstyle::{AnsiColor, Style};
use opencode_run_markdown::visible;
use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The common prefix of our module paths.
const OURS: &str = "opencode_run";

/// Starts the log at the level given by the variable or by the number of `-v`.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let wanted = EnvFilter::try_from_env("OPENCODE_RUN_LOG").ok();
    // At a higher verbosity, each message shows its source.
    let is_plain = verbose == 0 && wanted.is_none();
    let filter = wanted.unwrap_or_else(|| EnvFilter::new(level));
    // The subscriber reports its own failures with a macro that panics if stderr is broken.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Stderr).log_internal_errors(false);
    // A second subscriber in one process is ignored.
    log.event_format(Lines { is_plain }).try_init().ok();
}

/// The lines of the log, made safe for terminals.
struct Lines {
    /// Whether our own warnings and errors look like the command's messages.
    is_plain: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let word = match *metadata.level() {
            Level::WARN => warning_line,
            Level::ERROR => error_line,
            _ => return log_line(context, to, event),
        };
        if !self.is_plain || !metadata.target().starts_with(OURS) {
            return log_line(context, to, event);
        }
        let mut said = EventText::default();
        event.record(&mut said);
        writeln!(to, "{}", word(&said.into_text()))
    }
}

/// Writes an event in log format: its level, its target, its message and its fields.
fn log_line<S, N>(context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let mut line = String::new();
    Format::default().without_time().with_ansi(false).format_event(context, Writer::new(&mut line), event)?;
    let level = event.metadata().level();
    let style = style_of(*level);
    // The line begins with the level, padded to five columns.
    let head = format!("{level:>5}");
    match line.strip_prefix(&head) {
        Some(rest) => write!(to, "{style}{head}{style:#}{}", visible(rest)),
        None => write!(to, "{}", visible(&line)),
    }
}

const fn style_of(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => AnsiColor::Green.on_default(),
        Level::DEBUG => AnsiColor::Blue.on_default(),
        Level::TRACE => AnsiColor::Magenta.on_default(),
    }
}

/// The message and the fields of an event.
#[derive(Default)]
struct EventText {
    message: String,
    fields: Vec<String>,
}

impl EventText {
    fn into_text(self) -> String {
        let Self { message, fields } = self;
        match (message.is_empty(), fields.is_empty()) {
            (_, true) => message,
            (true, false) => fields.join(", "),
            (false, false) => format!("{message} ({})", fields.join(", ")),
        }
    }

    fn note(&mut self, field: &Field, value: impl fmt::Display) {
        if field.name() == "message" {
            write!(self.message, "{value}").ok();
        } else {
            self.fields.push(format!("{}: {value}", field.name()));
        }
    }
}

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.note(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the output at the default level, without colours.
    fn logged(say: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        tracing::subscriber::with_default(log.event_format(Lines { is_plain: true }).finish(), say);
        let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        anstream::adapter::strip_bytes(&bytes).map(String::from_utf8_lossy).collect()
    }

    #[test]
    fn own_warnings_look_like_messages() {
        let broken = io::Error::other("no space");
        assert_eq!(logged(|| tracing::warn!("the journal {} is gone", "x")), "warning: the journal x is gone\n");
        let said = logged(|| tracing::warn!(error = %broken, bytes = 7, name = "n", "it failed"));
        assert_eq!(said, "warning: it failed (error: no space, bytes: 7, name: n)\n");
        assert_eq!(logged(|| tracing::error!(target: "opencode_run_process::tree", left = 2)), "error: left: 2\n");
    }

    #[test]
    fn warnings_are_terminal_safe() {
        assert_eq!(logged(|| tracing::warn!("a{}b", '\r')), "warning: a␍\nb\n");
    }

    #[test]
    fn foreign_logs_are_terminal_safe() {
        let said = logged(|| tracing::info!(field = "\u{1b}]52;c;x\u{7}", "a\u{9b}2J\u{202e}\u{1b}[8m"));
        assert!(!said.contains(|c: char| c != '\n' && opencode_run_markdown::is_unsafe_on_terminal(c)), "{said:?}");
    }

    #[test]
    fn foreign_logs_show_target() {
        let said = logged(|| tracing::warn!(target: "hyper::client", "slow"));
        assert_eq!(said, " WARN hyper::client: slow\n");
        assert_eq!(logged(|| tracing::info!(target: "opencode_run::x", "so")), " INFO opencode_run::x: so\n");
    }
}
