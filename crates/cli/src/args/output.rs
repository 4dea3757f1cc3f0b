//! The options of output: on stdout, in the transcript, on stderr.

use super::values::{Color, OutputFormat};
use clap::Args;
use std::path::PathBuf;

/// The options of a result.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
#[expect(clippy::option_option, reason = "absent, present, and present with a path")]
pub(crate) struct OutputArgs {
    /// Print text, json or stream-json on stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output_format: OutputFormat,

    /// Save the transcript as Markdown
    ///
    /// [default path: conversation.md in the task's directory]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pub(crate) save_markdown: Option<Option<PathBuf>>,

    /// Print the transcript instead of the answer
    #[arg(long, conflicts_with = "output_format", hide_short_help = true)]
    pub(crate) print_markdown: bool,

    /// Print state and length of the output on stderr, at most once a second; the answer comes at the end
    #[arg(long, visible_alias = "progress", hide_short_help = true)]
    pub(crate) no_wait: bool,

    /// Print the answer as the model wrote it, even on a terminal
    ///
    /// Without it a terminal shows Markdown rendered: headings, lists, tables, code with colours.
    #[arg(long, hide_short_help = true)]
    pub(crate) plain: bool,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The options of stderr.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct ConsoleArgs {
    /// Print only errors and warnings on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print each action on stderr; repeat for more detail
    #[arg(short, long, action = clap::ArgAction::Count, hide_short_help = true)]
    pub(crate) verbose: u8,

    /// Choose when to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_short_help = true)]
    pub(crate) color: Color,
}
