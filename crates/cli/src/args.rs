//! The arguments of the command.

mod batch;
mod clean;
mod free_text;
mod output;
mod rate;
mod report;
mod task;
mod values;

pub(crate) use self::batch::{BatchArgs, BatchCommand, BatchRunArgs, CtlArgs, CtlRequest, ExportArgs, MergeArgs};
pub(crate) use self::clean::{CleanArgs, CleanKind};
pub(crate) use self::free_text::MissingText;
pub(crate) use self::output::{ConsoleArgs, OutputArgs};
pub(crate) use self::report::{BatchReportArgs, EmbedKind};
pub(crate) use self::task::{InstructionArgs, TaskArgs};
pub(crate) use self::values::{OutputFormat, PermissionArg, ReportFormat, SetupGeneration, TransportArg};
use super::exit_code::Code;
use super::package_name::{PackageName, valid_integrity};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Drive the opencode AI coding agent: isolated tasks, many turns, honest outcomes.
#[derive(Debug, Parser)]
#[command(
    name = "opencode-run",
    version,
    after_help = "All options and the exit codes: opencode-run --help. Those of a subcommand: opencode-run help COMMAND.",
    after_long_help = Code::HELP,
    args_conflicts_with_subcommands = true,
    subcommand_precedence_over_arg = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) run: RunArgs,
}

impl Cli {
    /// Returns the name of a subcommand that was parsed as the first word of a message, because an option stands
    /// before it. `--` before the word keeps it a message.
    pub(crate) fn misplaced_subcommand(&self, mut arguments: impl Iterator<Item = OsString>) -> Option<&str> {
        let first = self.run.words.first().filter(|_| self.command.is_none())?;
        let is_subcommand = Self::command().find_subcommand(first).is_some();
        (is_subcommand && !arguments.any(|argument| argument == "--")).then_some(first)
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run many turns of one session: each line of stdin is a turn
    Chat(ChatArgs),
    /// Continue or show the conversation of a task's directory, even after a crash
    Resume(ResumeArgs),
    /// Run many tasks of a file, with retries, limits and checks
    Batch(Box<BatchArgs>),
    /// Run two turns on a built-in scripted model: needs no account
    Demo(DemoArgs),
    /// Install a private, tested opencode with npm
    Setup(SetupArgs),
    /// Check what a turn needs, and print how to fix what is missing
    Doctor(DoctorArgs),
    /// List the models that can be used, with the option that selects each
    Models(ModelsArgs),
    /// Trust the .env of a directory, until it changes
    Allow(AllowArgs),
    /// Write an HTML page about the results of a batch, or a comparison of two
    Report(BatchReportArgs),
    /// Remove leftovers, caches, clones, task directories and sessions of ours
    Clean(CleanArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// The arguments of one turn.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The message; `-` stands for stdin
    ///
    /// stdin is also read if there is no message and it is not a terminal.
    #[arg(value_name = "MESSAGE")]
    pub(crate) words: Vec<String>,

    /// Give the message as an option
    #[arg(long, value_name = "TEXT", conflicts_with = "words", hide_short_help = true, allow_hyphen_values = true)]
    pub(crate) message: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArgs,

    /// Attach a file or a pipe, such as `<(git diff)`; can be repeated
    ///
    /// A file has at most 32 MiB.
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Require an answer that validates against this JSON Schema
    ///
    /// stdout is the value alone; the JSON has it as `structured`.
    #[arg(long, value_name = "FILE")]
    pub(crate) json_schema: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The arguments of a further turn of a journalled conversation.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The task's directory; if it has several conversations, the latest or the one of --session is continued
    #[arg(value_name = "TASK_DIR", conflicts_with_all = ["workspace", "dir", "task_name", "no_journal"])]
    pub(crate) task_dir: PathBuf,

    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// The arguments of `chat`.
#[derive(Debug, Args)]
#[expect(clippy::option_option, reason = "absent, present, and present with a path")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) task: TaskArgs,

    /// Save the transcript as Markdown after each turn
    ///
    /// [default path: conversation.md in the task's directory]
    #[arg(long, help_heading = "Output", value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pub(crate) save_markdown: Option<Option<PathBuf>>,

    /// Print text, json or stream-json on stdout: one result for each turn
    #[arg(long, help_heading = "Output", value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output_format: OutputFormat,

    /// Print the answers as the model wrote them, even on a terminal
    ///
    /// Without it a terminal shows Markdown rendered: headings, lists, tables, code with colours.
    #[arg(long, help_heading = "Output")]
    pub(crate) plain: bool,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Run a batch of a dozen tasks, with failures, retries and a report
    #[arg(long)]
    pub(crate) batch: bool,

    /// Create the task's directory in this one [default: a new temp directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,

    /// Run this opencode [default: the one on PATH, else the one that `setup` installs]
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The arguments of `setup`.
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// Install again, even if the installation is complete
    #[arg(long)]
    pub(crate) force: bool,

    /// Install this generation of opencode; 2 from upstream's own package only
    #[arg(long, value_name = "N", value_enum, default_value_t)]
    pub(crate) generation: SetupGeneration,

    /// Install this package of npm instead, after printing who publishes it; give its path to --opencode
    #[arg(long, value_name = "NAME@VERSION", conflicts_with = "generation", requires = "integrity")]
    pub(crate) package: Option<PackageName>,

    /// Require this integrity of the package: `npm view NAME@VERSION dist.integrity`
    #[arg(long, value_name = "sha512-...", value_parser = valid_integrity, requires = "package")]
    pub(crate) integrity: Option<String>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print the findings on stdout in this format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output_format: ReportFormat,

    /// Check this directory as the place for task directories [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,

    /// Read model sources from this file [default: .env in the current directory, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Send no request to the endpoints of model sources
    #[arg(long)]
    pub(crate) offline: bool,

    /// Report what the agent could read in a turn with --no-gateway
    #[arg(long)]
    pub(crate) no_gateway: bool,

    /// Check this opencode [default: the one on PATH, else the one that `setup` installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The arguments of `allow`.
#[derive(Debug, Args)]
pub(crate) struct AllowArgs {
    /// The file
    #[arg(value_name = "FILE", default_value = ".env")]
    pub(crate) file: PathBuf,

    /// Revoke the trust, whatever the file contains now
    #[arg(long)]
    pub(crate) revoke: bool,

    /// List the trusted files, one a line
    #[arg(long, conflicts_with_all = ["file", "revoke"])]
    pub(crate) list: bool,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The arguments of `models`.
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Print the list on stdout in this format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output_format: ReportFormat,

    /// List the models for the project in this directory [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Read model sources from this file [default: .env in the current directory, if there is one]
    #[arg(long, value_name = "FILE", conflicts_with = "no_env")]
    pub(crate) config: Option<PathBuf>,

    /// Read no .env file
    #[arg(long)]
    pub(crate) no_env: bool,

    /// Ask this opencode [default: the one on PATH, else the one that `setup` installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

#[cfg(test)]
mod tests;
