//! The arguments of the command.

mod free_text;

pub(crate) use self::free_text::MissingText;
use super::exit_code::Code;
use super::output::TextKind;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use opencode_run_core::{Limit, ModelName, ModelSourceType};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Drive the opencode AI coding agent: isolated tasks, many turns, honest outcomes.
#[derive(Debug, Parser)]
#[command(
    name = "opencode-run",
    version,
    after_help = Code::HELP,
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
    /// Returns the name of a subcommand that was taken for the beginning of a message, since an option stands before it. Who
    /// means the word itself writes `--` before it.
    pub(crate) fn misplaced_subcommand(&self, mut arguments: impl Iterator<Item = OsString>) -> Option<&str> {
        let first = self.run.words.first().filter(|_| self.command.is_none())?;
        let is_subcommand = Self::command().find_subcommand(first).is_some();
        (is_subcommand && !arguments.any(|argument| argument == "--")).then_some(first)
    }
}

/// What else the command can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run many turns of one session: each line of stdin is a turn
    Chat(ChatArgs),
    /// Go on with the conversation of a task's directory, also one that a crash cut short; without a message, show it
    Resume(ResumeArgs),
    /// Show all of it on a built-in scripted model: no account, no network but npm's
    Demo(DemoArgs),
    /// Install a private, tested opencode with npm
    Setup(SetupArgs),
    /// Check what a turn needs, and say how to mend what is missing
    Doctor(DoctorArgs),
    /// List the models that can be used, with what to write for each
    Models(ModelsArgs),
    /// Allow the .env of a directory to be used unasked, as it is now
    Allow(AllowArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// One turn.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The message; `-` stands for stdin, which is also read when there is no message and it is not a terminal
    #[arg(value_name = "MESSAGE")]
    pub(crate) words: Vec<String>,

    /// The message, instead of the positional one
    #[arg(long, value_name = "TEXT", conflicts_with = "words", allow_hyphen_values = true)]
    pub(crate) message: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArgs,

    /// Attach a file, or what a pipe such as `<(git diff)` gives, up to 32 MiB; can be given several times
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Hold the answer to the JSON Schema in this file; the value alone is the answer, and `structured` in the JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json_schema: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A further turn of a conversation that was journalled.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The directory that the task works in; of several conversations in it, the one that was last at work is taken, or the
    /// one of --session
    #[arg(value_name = "TASK_DIR", conflicts_with_all = ["workspace", "dir", "task_name", "no_journal"])]
    pub(crate) task_dir: PathBuf,

    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Where a task works, on which model, and for how long.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct TaskArgs {
    /// The task's name; its directory is `task_<NAME>_<8 hex>` [default: task]
    #[arg(long, value_name = "NAME")]
    pub(crate) task_name: Option<String>,

    /// The folder in which the task's directory is made [default: the current directory]
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    pub(crate) workspace: Option<PathBuf>,

    /// Work in this directory instead of making one
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Continue the session of this id, `ses_...`, in its own directory
    #[arg(short, long, value_name = "ID", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "workspace")]
    pub(crate) session: Option<String>,

    /// The model, such as anthropic/claude-sonnet-4-5 [default: the model source `default`, else opencode's own]
    #[arg(short, long, value_name = "PROVIDER/MODEL")]
    pub(crate) model: Option<ModelName>,

    /// Use the model source for this kind of work: plan, think, code, write or default
    #[arg(long, value_name = "TYPE")]
    pub(crate) model_source_type: Option<ModelSourceType>,

    /// Read model sources from this file; what is wrong in it is an error [default: .env in the current directory, if
    /// there is one; what is wrong in that is a warning]
    #[arg(long, value_name = "FILE", conflicts_with = "no_env")]
    pub(crate) config: Option<PathBuf>,

    /// Read no .env file
    #[arg(long)]
    pub(crate) no_env: bool,

    /// A system prompt, beside opencode's own
    #[arg(long, value_name = "TEXT", conflicts_with = "context_file", allow_hyphen_values = true)]
    pub(crate) context: Option<String>,

    /// A file that holds the system prompt
    #[arg(long, value_name = "FILE")]
    pub(crate) context_file: Option<PathBuf>,

    /// The title of a new session [default: the name of the task's directory]
    #[arg(long, value_name = "TITLE", allow_hyphen_values = true)]
    pub(crate) title: Option<String>,

    /// opencode's agent, such as build or plan
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) agent: Option<String>,

    /// The model's variant, such as high; one that the model does not have is refused, where a server can be asked
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) variant: Option<String>,

    /// How opencode is driven [default: serve, or run where that version's server cannot be used]
    #[arg(long, value_name = "HOW", value_enum)]
    pub(crate) transport: Option<TransportArg>,

    /// Use the server that somebody else runs at this address, such as `http://127.0.0.1:4096`, with the password in
    /// `OPENCODE_SERVER_PASSWORD` (and the user in `OPENCODE_SERVER_USERNAME`); it is never ended
    #[arg(long, value_name = "URL", conflicts_with_all = ["opencode", "lean", "no_gateway", "no_project_config"])]
    pub(crate) attach: Option<String>,

    /// Start faster and take less memory, without language servers, formatters, plugins, sharing, the watch over files and the
    /// snapshots by which changes can be undone in opencode. What the agent runs on Bun gets the same setting of memory
    #[arg(long)]
    pub(crate) lean: bool,

    /// Ignore the configuration of opencode in the task's directory and in the repository around it: settings, plugins, tools,
    /// commands, agents and AGENTS.md. Yours still applies
    #[arg(long)]
    pub(crate) no_project_config: bool,

    /// Delete the session from opencode's history when the task is done, and the journal of the conversation
    #[arg(long)]
    pub(crate) ephemeral: bool,

    /// What is answered when opencode asks whether a tool may do something [default: deny; ask in `chat` on a terminal]
    #[arg(long, value_name = "ANSWER", value_enum)]
    pub(crate) permission: Option<PermissionArg>,

    /// End a turn when its tokens have cost this much, in USD, by the prices of its model source
    #[arg(long, value_name = "USD", value_parser = amount)]
    pub(crate) max_cost: Option<f64>,

    /// End a turn that needs more requests to its model source than this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_requests: Option<u64>,

    /// End a turn when it has used this many tokens of its model source, those of requests and of answers together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_tokens_total: Option<u64>,

    /// Give opencode a home of its own for this run: without your configuration of opencode, its logins, its history and its
    /// database. It is gone afterwards, and the session with it; a command that is ended with SIGKILL leaves it, as
    /// `opencode-run-home-*` in the folder for temporary files
    #[arg(long, conflicts_with_all = ["session", "attach"])]
    pub(crate) isolated: bool,

    /// Give opencode the keys of model sources, so that it reaches them by itself; the agent's commands can read them then
    #[arg(long)]
    pub(crate) no_gateway: bool,

    /// Give up on a turn after this time, such as 90s, 5m or 1h30m; the wait for a message on stdin counts [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// Give up on a turn that makes no progress for this time; `0` for never. A tool at work is progress, within opencode's
    /// own limits; on `run`, a text is seen when it is finished
    #[arg(long, value_name = "TIME", value_parser = idle_limit, default_value = "10m")]
    pub(crate) idle_timeout: Limit<Duration>,

    /// Keep no journal of the conversation: what was not saved is lost in a crash, and `resume` finds nothing
    #[arg(long)]
    pub(crate) no_journal: bool,

    /// The opencode to drive [default: the one on PATH, else the one that `setup` installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<PathBuf>,
}

/// What is printed and saved.
#[derive(Debug, Args)]
#[expect(clippy::option_option, reason = "not asked for, asked for, and asked for with a path")]
pub(crate) struct OutputArgs {
    /// How the result is printed on stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output_format: OutputFormat,

    /// Save the transcript [default path: conversation.md in the task's directory]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pub(crate) save_markdown: Option<Option<PathBuf>>,

    /// Print the transcript instead of the answer
    #[arg(long, conflicts_with = "output_format")]
    pub(crate) print_markdown: bool,

    /// Watch the turn: state and length of the output on stderr, at most once a second; the answer comes at the end
    #[arg(long)]
    pub(crate) no_wait: bool,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// How much is said on stderr.
#[derive(Debug, Args)]
pub(crate) struct ConsoleArgs {
    /// Say nothing on stderr but errors and warnings
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Say what is done on stderr; twice for more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: Color,
}

/// Many turns.
#[derive(Debug, Args)]
#[expect(clippy::option_option, reason = "not asked for, asked for, and asked for with a path")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) task: TaskArgs,

    /// Save the transcript after each turn [default path: conversation.md in the task's directory]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pub(crate) save_markdown: Option<Option<PathBuf>>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The demonstration.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The folder in which the task's directory is made [default: a new folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,

    /// The opencode to drive [default: the one on PATH, else the one that `setup` installs]
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The installation.
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// Install again even if what is there is whole
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The examination.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// How the findings are printed on stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output_format: ReportFormat,

    /// The folder in which task directories are to be made [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,

    /// The file of model sources [default: .env in the current directory, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Ask no endpoint of a model source whether it can be reached, takes the key and lists the model
    #[arg(long)]
    pub(crate) offline: bool,

    /// Say what the agent can see in a turn with --no-gateway
    #[arg(long)]
    pub(crate) no_gateway: bool,

    /// The opencode to look at [default: the one on PATH, else the one that `setup` installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// Files that may be used without --config.
#[derive(Debug, Args)]
pub(crate) struct AllowArgs {
    /// The file
    #[arg(value_name = "FILE", default_value = ".env")]
    pub(crate) file: PathBuf,

    /// Take it back, whatever the file holds now
    #[arg(long)]
    pub(crate) revoke: bool,

    /// List the files that are allowed, a line each
    #[arg(long, conflicts_with_all = ["file", "revoke"])]
    pub(crate) list: bool,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// The list of the models.
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// How the list is printed on stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output_format: ReportFormat,

    /// The directory whose project the models are for [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// The file of model sources [default: .env in the current directory, if there is one]
    #[arg(long, value_name = "FILE", conflicts_with = "no_env")]
    pub(crate) config: Option<PathBuf>,

    /// Read no .env file
    #[arg(long)]
    pub(crate) no_env: bool,

    /// The opencode to ask [default: the one on PATH, else the one that `setup` installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// How the result of a turn is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// The answer, as it comes
    #[default]
    Text,
    /// One JSON object at the end
    Json,
    /// A JSON object a line as it happens, the result last
    StreamJson,
}

/// How opencode is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportArg {
    /// By a server that stays warm between turns; text comes token by token
    Serve,
    /// By a process for each turn
    Run,
}

/// What is answered when opencode asks for a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PermissionArg {
    /// Yes
    Allow,
    /// No, and the agent is told so
    Deny,
    /// Ask on the terminal, in `chat`
    Ask,
}

/// How findings are printed.
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
    /// Returns what is printed in this format.
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

/// Reads a limit on the time without progress; `0` switches it off.
fn idle_limit(text: &str) -> Result<Limit<Duration>, String> {
    if ["0", "0s", "0m"].contains(&text) { Ok(Limit::Off) } else { duration(text).map(Limit::At) }
}

/// Reads an amount of money.
fn amount(text: &str) -> Result<f64, String> {
    let amount = text.parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount > 0.0);
    amount.ok_or_else(|| "write an amount of USD above 0, such as 0.50".to_owned())
}

/// Reads a duration. A limit of nothing would be a turn that is over before it began.
fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a time limit is longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("write it as 90s, 5m or 1h30m".to_owned()),
    }
}

#[cfg(test)]
mod tests;
