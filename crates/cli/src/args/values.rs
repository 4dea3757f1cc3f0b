//! The values that options take.

use crate::output::TextKind;
use clap::ValueEnum;
use opencode_run_core::Limit;
use std::time::Duration;

/// The format in which the result of a turn is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// The answer, as it streams
    #[default]
    Text,
    /// One JSON object at the end
    Json,
    /// A JSON object a line for each event, the result last
    StreamJson,
}

/// A generation of opencode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SetupGeneration {
    /// The tested opencode 1
    #[default]
    #[value(name = "1")]
    One,
    /// Upstream's opencode 2
    #[value(name = "2")]
    Two,
}

/// The way in which opencode is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportArg {
    /// By a server that stays warm between turns; text comes token by token
    Serve,
    /// By a process for each turn
    Run,
}

/// The answer to permission requests of opencode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PermissionArg {
    /// Yes
    Allow,
    /// No, with the reason for the agent
    Deny,
    /// Ask on the terminal, in `chat`
    Ask,
}

/// The format in which findings are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ReportFormat {
    /// Returns the kind of text in this format.
    pub(crate) const fn text_kind(self) -> TextKind {
        match self {
            Self::Text => TextKind::Plain,
            Self::Json => TextKind::Json,
        }
    }
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// Parses the limit on the time without progress; `0` switches it off.
pub(super) fn idle_limit(text: &str) -> Result<Limit<Duration>, String> {
    if ["0", "0s", "0m"].contains(&text) { Ok(Limit::Off) } else { duration(text).map(Limit::At) }
}

/// Parses an amount of money.
pub(super) fn amount(text: &str) -> Result<f64, String> {
    let amount = text.parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount > 0.0);
    amount.ok_or_else(|| "write an amount of USD above 0, such as 0.50".to_owned())
}

/// Parses a duration. Zero is rejected: such a turn would end before it began.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a time limit must be greater than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("write it as 90s, 5m or 1h30m".to_owned()),
    }
}
