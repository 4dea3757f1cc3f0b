//! The options of a task: its directory, its model, its limits, and how opencode is run.

use super::values::{PermissionArg, TransportArg, amount, duration, idle_limit};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use opencode_run_core::{Limit, ModelName, ModelSourceType};
use std::path::PathBuf;
use std::time::Duration;

/// The options that every subcommand with a turn has. Short help (`-h`) lists the common ones only.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct TaskArgs {
    /// Name the task and its new directory
    ///
    /// The directory is called `task_<NAME>_<8 hex>` [default: task]
    #[arg(long, value_name = "NAME", help_heading = DIRECTORY)]
    pub(crate) task_name: Option<String>,

    /// Create the task's directory in this directory
    ///
    /// [default: the current directory]
    #[arg(long, value_name = "DIR", conflicts_with = "dir", help_heading = DIRECTORY)]
    pub(crate) workspace: Option<PathBuf>,

    /// Work in this directory instead of a new one
    #[arg(long, value_name = "DIR", help_heading = DIRECTORY)]
    pub(crate) dir: Option<PathBuf>,

    /// Continue this session, `ses_...`, in its own directory
    #[arg(short, long, value_name = "ID", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "workspace", help_heading = DIRECTORY)]
    pub(crate) session: Option<String>,

    /// Set the title of a new session [default: the name of the task's directory]
    #[arg(long, value_name = "TITLE", allow_hyphen_values = true, hide_short_help = true, help_heading = DIRECTORY)]
    pub(crate) title: Option<String>,

    /// Delete the session from opencode's history, and the journal, when the task is done
    #[arg(long, hide_short_help = true, help_heading = DIRECTORY)]
    pub(crate) ephemeral: bool,

    /// Write no journal: after a crash, unsaved output is lost and `resume` finds nothing
    #[arg(long, hide_short_help = true, help_heading = DIRECTORY)]
    pub(crate) no_journal: bool,

    /// Use this model, such as anthropic/claude-sonnet-4-5
    ///
    /// [default: the model source `default`, else opencode's own]
    #[arg(short, long, value_name = "PROVIDER/MODEL", help_heading = MODEL)]
    pub(crate) model: Option<ModelName>,

    /// Use the model source of this role
    ///
    /// The roles are plan, think, code, write and default.
    #[arg(long, visible_alias = "role", value_name = "ROLE", help_heading = MODEL)]
    pub(crate) model_source_type: Option<ModelSourceType>,

    /// Read model sources from this file
    ///
    /// [default: .env in the current directory, if there is one]
    ///
    /// An invalid line of a named file is an error. In a .env that was found, it is a warning.
    #[arg(long, value_name = "FILE", conflicts_with = "no_env", hide_short_help = true, help_heading = MODEL)]
    pub(crate) config: Option<PathBuf>,

    /// Read no .env file
    #[arg(long, hide_short_help = true, help_heading = MODEL)]
    pub(crate) no_env: bool,

    #[command(flatten)]
    pub(crate) instructions: InstructionArgs,

    /// Answer permission requests
    ///
    /// [default: deny; ask in `chat` on a terminal]
    #[arg(long, value_name = "ANSWER", value_enum, help_heading = LIMITS)]
    pub(crate) permission: Option<PermissionArg>,

    /// Stop a turn after this time, such as 90s, 5m or 1h30m
    ///
    /// The time includes the wait for a message on stdin. [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = LIMITS)]
    pub(crate) timeout: Option<Duration>,

    /// Stop a turn that makes no progress for this time; `0` for never
    ///
    /// A running tool is progress, within opencode's own limits. With `--transport run`, text counts when it is
    /// complete.
    #[arg(long, value_name = "TIME", value_parser = idle_limit, default_value = "10m", hide_short_help = true, help_heading = LIMITS)]
    pub(crate) idle_timeout: Limit<Duration>,

    /// Stop a turn when its tokens have cost this many USD
    ///
    /// The prices are those of its model source.
    #[arg(long, value_name = "USD", value_parser = amount, help_heading = LIMITS)]
    pub(crate) max_cost: Option<f64>,

    /// Stop a turn that needs more than this many requests to its model source
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), hide_short_help = true, help_heading = LIMITS)]
    pub(crate) max_requests: Option<u64>,

    /// Stop a turn when it has used this many tokens, input and output together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), hide_short_help = true, help_heading = LIMITS)]
    pub(crate) max_tokens_total: Option<u64>,

    /// Run this opencode [default: the one on PATH, else the one that `setup` installed]
    #[arg(long, value_name = "PATH", hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) opencode: Option<PathBuf>,

    /// Choose how opencode is driven [default: serve, or run if the server of that version cannot be used]
    #[arg(long, value_name = "HOW", value_enum, hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) transport: Option<TransportArg>,

    /// Use a running opencode server, such as `http://127.0.0.1:4096`, which is never stopped
    ///
    /// Its password is read from `OPENCODE_SERVER_PASSWORD`, its user from `OPENCODE_SERVER_USERNAME`.
    #[arg(long, value_name = "URL", conflicts_with_all = ["opencode", "lean", "no_gateway", "no_project_config"], hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) attach: Option<String>,

    /// Start faster and use less memory: no language servers, formatters, plugins, sharing, file watcher and snapshots
    ///
    /// Without snapshots, opencode cannot undo changes. Bun programs that the agent starts inherit the memory setting.
    #[arg(long, hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) lean: bool,

    /// Run opencode with a home of its own: without your configuration, logins, history and database
    ///
    /// The home and its session are deleted afterwards. After SIGKILL, `opencode-run-home-*` stays in the temp
    /// directory.
    #[arg(long, conflicts_with_all = ["session", "attach"], hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) isolated: bool,

    /// Ignore the opencode configuration of the task's directory and of the repository around it; yours still applies
    ///
    /// This includes settings, plugins, tools, commands, agents and AGENTS.md.
    #[arg(long, hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) no_project_config: bool,

    /// Give opencode the keys of model sources; the agent's commands can then read them
    #[arg(long, hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) no_gateway: bool,
}

/// The options on the instructions of the model, of a turn and of a batch.
#[derive(Debug, Clone, Args)]
pub(crate) struct InstructionArgs {
    /// Add a system prompt to opencode's own
    #[arg(long, visible_alias = "system-prompt", value_name = "TEXT", conflicts_with = "context_file", allow_hyphen_values = true, help_heading = MODEL)]
    pub(crate) context: Option<String>,

    /// Read the system prompt from this file
    #[arg(long, visible_alias = "system-prompt-file", value_name = "FILE", hide_short_help = true, help_heading = MODEL)]
    pub(crate) context_file: Option<PathBuf>,

    /// Use this opencode agent, such as build or plan
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), hide_short_help = true, help_heading = MODEL)]
    pub(crate) agent: Option<String>,

    /// Use this variant of the model, such as high
    ///
    /// A variant that the model does not have is an error with `--transport serve`. With `run` it has no effect.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), hide_short_help = true, help_heading = MODEL)]
    pub(crate) variant: Option<String>,
}

/// The heading of the options on the directory and the session.
const DIRECTORY: &str = "Directory and session";
/// The heading of the options on the model and its instructions.
const MODEL: &str = "Model and instructions";
/// The heading of the options that bound a turn.
const LIMITS: &str = "Permissions and limits";
/// The heading of the options on opencode's process.
const OPENCODE: &str = "How opencode is run";
