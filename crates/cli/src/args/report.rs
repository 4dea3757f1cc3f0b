//! The arguments of `report`.

use super::ConsoleArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// The arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct BatchReportArgs {
    /// The results of a batch; a second file is compared with the first
    #[arg(value_name = "RESULTS", required = true, num_args = 1..=2)]
    pub(crate) results: Vec<PathBuf>,

    /// Write the page to this file
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub(crate) output: PathBuf,

    /// Embed at most 20 kB a task and link whole files, or embed all, so that the page can be sent alone
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub(crate) embed: EmbedKind,

    /// The title of the page [default: the name of the results file]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) title: Option<String>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// Which files a report embeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum EmbedKind {
    #[default]
    Excerpts,
    All,
}
