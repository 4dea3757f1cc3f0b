//! The arguments of `clean`.

use super::{ConsoleArgs, ReportFormat};
use crate::args::values::duration;
use clap::{Args, ValueEnum};
use std::time::Duration;

/// The arguments of `clean`.
#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// Select what is removed [default: leftovers and mirrors]
    #[arg(value_name = "WHAT", value_enum)]
    pub(crate) kinds: Vec<CleanKind>,

    /// Remove nothing: list what would be removed, with sizes
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Remove without asking for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Remove only what has not changed for this long, such as 12h or 7days
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) older_than: Option<Duration>,

    /// Print the table on stdout in this format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output_format: ReportFormat,

    /// Delete sessions with this opencode [default: the one on PATH, else the one that `setup` installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<std::path::PathBuf>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The kinds of things that `clean` removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum CleanKind {
    /// Temp directories, isolated homes and clones of killed processes
    Leftovers,
    /// Mirrors of repositories in the cache, which are fetched again when needed
    Mirrors,
    /// Clones that a batch kept
    Clones,
    /// Task directories, `task_NAME_8HEX`, with the work of the agent
    Tasks,
    /// Sessions in opencode's history that our tasks created, with their journals
    Sessions,
    /// Journals of conversations, without which `resume` is impossible
    Journals,
    /// The opencode that `setup` installed
    Opencode,
    /// All of these
    All,
}

impl CleanKind {
    /// The kinds in the order of the table: sessions are deleted through the directories and journals of their tasks.
    pub(crate) const EACH: [Self; 7] =
        [Self::Leftovers, Self::Mirrors, Self::Clones, Self::Sessions, Self::Tasks, Self::Journals, Self::Opencode];

    /// Returns the word that selects the kind.
    pub(crate) fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
