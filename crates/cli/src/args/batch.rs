//! The arguments of `batch`.

use super::rate::Rate;
use super::values::{amount, duration, idle_limit};
use super::{ConsoleArgs, InstructionArgs, PermissionArg, ReportFormat};
use clap::{Args, Subcommand, ValueEnum};
use opencode_run_batch::run::Keep;
use opencode_run_batch::scheduler::FailFast;
use opencode_run_batch::{ExportFormat, Slice};
use opencode_run_core::{Limit, ModelName, ModelSourceType};
use std::path::PathBuf;
use std::time::Duration;

/// The arguments of `batch` and its subcommands.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BatchArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BatchCommand>,

    #[command(flatten)]
    pub(crate) run: BatchRunArgs,
}

/// The subcommands of `batch`.
#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {
    /// Control a running batch
    Ctl(CtlArgs),
    /// Write the results in the format of another program
    Export(ExportArgs),
    /// Join the results of the shards of a batch
    Merge(MergeArgs),
}

/// The arguments of a batch that runs.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct BatchRunArgs {
    /// The tasks: a .jsonl, .json, .csv or .tsv file, a directory of .md files, or `-` for JSON lines on stdin
    #[arg(value_name = "TASKS", required = true)]
    pub(crate) tasks: Option<PathBuf>,

    /// Write the results to this file, one JSON line for each attempt
    ///
    /// Transcripts, patches and logs go into FILE.d beside it.
    #[arg(long, short = 'o', value_name = "FILE", required = true, help_heading = RESULTS)]
    pub(crate) results: Option<PathBuf>,

    /// Continue: run the tasks without a result, and those that failed because of the infrastructure
    ///
    /// A task that was changed in the tasks file runs again.
    #[arg(long, help_heading = RESULTS)]
    pub(crate) resume: bool,

    /// Run finished tasks again: an id, `failed` or `all`; can be repeated; implies --resume
    #[arg(long, value_name = "WHICH", help_heading = RESULTS)]
    pub(crate) redo: Vec<String>,

    /// Check everything and run nothing
    #[arg(long, help_heading = RESULTS)]
    pub(crate) dry_run: bool,

    /// Keep these task directories
    ///
    /// A directory without a repository is the result, and is kept unless `none` is given.
    #[arg(long, value_enum, value_name = "WHICH", default_value = "failed", help_heading = RESULTS)]
    pub(crate) keep: KeepArg,

    /// Keep the sessions in your opencode history instead of a database of the batch
    #[arg(long, hide_short_help = true, help_heading = RESULTS)]
    pub(crate) keep_sessions: bool,

    /// Print a summary of the batch on stdout at its end
    #[arg(long, value_name = "FORMAT", value_enum, hide_short_help = true, help_heading = "Output")]
    pub(crate) output_format: Option<ReportFormat>,

    /// Run at most this many tasks in parallel [default: by cores and free memory, at least 4]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = SCHEDULE)]
    pub(crate) jobs: Option<u16>,

    /// Try a task at most this many times if the infrastructure fails
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 3, help_heading = SCHEDULE)]
    pub(crate) max_attempts: u32,

    /// Wait this long before the second attempt, and twice as long before each further one
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", hide_short_help = true, help_heading = SCHEDULE)]
    pub(crate) retry_delay: Duration,

    /// Limit the requests to a model source, such as `10/s` for each or `code=30/m` for one; can be repeated
    ///
    /// Requests wait in the gateway, and the clock of the idle limit stops meanwhile. They also wait while the provider
    /// refuses them with status 429, for the time in its `retry-after`.
    #[arg(long, value_name = "[ROLE=]N/UNIT", help_heading = SCHEDULE)]
    pub(crate) rate: Vec<Rate>,

    /// Stop after this many failed tasks, or a share such as 10%; 1 without a value
    #[arg(long, value_name = "N|P%", num_args = 0..=1, require_equals = true, default_missing_value = "1", help_heading = SCHEDULE)]
    pub(crate) fail_fast: Option<FailFast>,

    /// Run the tasks of one shard: K/N with K from 1 to N, or `auto` for the number of this job
    ///
    /// `auto` reads the variables of Slurm arrays, Kubernetes Indexed Jobs, AWS Batch arrays, Buildkite, GitLab,
    /// `CircleCI`, SGE, PBS and LSF, and fails without one. Kubernetes and PBS need the number of jobs in
    /// `OPENCODE_RUN_SHARDS`.
    #[arg(long, value_name = "K/N", help_heading = SCHEDULE)]
    pub(crate) shard: Option<String>,

    /// Run the tasks whose id matches
    #[arg(long, value_name = "REGEX", help_heading = SELECTION)]
    pub(crate) filter: Option<String>,

    /// Run the tasks from A to before B, such as 0:100
    #[arg(long, value_name = "A:B", help_heading = SELECTION)]
    pub(crate) slice: Option<Slice>,

    /// Run the tasks in random order, the same for the same seed
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true, default_missing_value = "0", hide_short_help = true, help_heading = SELECTION)]
    pub(crate) shuffle: Option<u64>,

    /// Run at most this many tasks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = SELECTION)]
    pub(crate) limit: Option<u64>,

    /// Run each task this many times, as ID#1, ID#2, ...
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = SELECTION)]
    pub(crate) repeat: Option<u16>,

    /// Create the message of each task from this template, in which {{name}} stands for a field of the task
    #[arg(long, value_name = "FILE", help_heading = SELECTION)]
    pub(crate) message_template: Option<PathBuf>,

    /// Refuse unknown fields, which otherwise are metadata
    #[arg(long, hide_short_help = true, help_heading = SELECTION)]
    pub(crate) strict: bool,

    /// Use this model; if repeated, run each task on each model, as ID@MODEL
    #[arg(short, long, value_name = "PROVIDER/MODEL,...", value_delimiter = ',', help_heading = MODEL)]
    pub(crate) model: Vec<ModelName>,

    /// Use the model source of this role
    #[arg(long, visible_alias = "role", value_name = "ROLE", conflicts_with = "model", help_heading = MODEL)]
    pub(crate) model_source_type: Option<ModelSourceType>,

    /// Read model sources from this file [default: .env in the current directory, if there is one]
    #[arg(long, value_name = "FILE", conflicts_with = "no_env", hide_short_help = true, help_heading = MODEL)]
    pub(crate) config: Option<PathBuf>,

    /// Read no .env file
    #[arg(long, hide_short_help = true, help_heading = MODEL)]
    pub(crate) no_env: bool,

    #[command(flatten)]
    pub(crate) instructions: InstructionArgs,

    /// Answer permission requests: allow or deny [default: deny]
    #[arg(long, value_name = "ANSWER", value_enum, help_heading = TASK_LIMITS)]
    pub(crate) permission: Option<PermissionArg>,

    /// Stop a turn after this time, such as 90s, 5m or 1h30m [default: never]
    ///
    /// The patch is still taken and the check still runs.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = TASK_LIMITS)]
    pub(crate) timeout: Option<Duration>,

    /// Stop a turn that makes no progress for this time; `0` for never
    #[arg(long, value_name = "TIME", value_parser = idle_limit, default_value = "10m", hide_short_help = true, help_heading = TASK_LIMITS)]
    pub(crate) idle_timeout: Limit<Duration>,

    /// Try a task again if opencode does not start within this time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m", hide_short_help = true, help_heading = TASK_LIMITS)]
    pub(crate) start_timeout: Duration,

    /// Stop a task's `setup` after this time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30m", hide_short_help = true, help_heading = TASK_LIMITS)]
    pub(crate) setup_timeout: Duration,

    /// Stop a task's `check` after this time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30m", hide_short_help = true, help_heading = TASK_LIMITS)]
    pub(crate) check_timeout: Duration,

    /// Stop the fetch of a repository after this time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30m", hide_short_help = true, help_heading = TASK_LIMITS)]
    pub(crate) clone_timeout: Duration,

    /// Stop a turn when its tokens have cost this many USD
    #[arg(long, value_name = "USD", value_parser = amount, hide_short_help = true, help_heading = TASK_LIMITS)]
    pub(crate) task_max_cost: Option<f64>,

    /// Stop a turn that needs more than this many requests to its model source
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), hide_short_help = true, help_heading = TASK_LIMITS)]
    pub(crate) task_max_requests: Option<u64>,

    /// Stop a turn when it has used this many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), hide_short_help = true, help_heading = TASK_LIMITS)]
    pub(crate) task_max_tokens: Option<u64>,

    /// Start no more tasks if all tasks together would cost more than this many USD
    #[arg(long, value_name = "USD", value_parser = amount, help_heading = BATCH_LIMITS)]
    pub(crate) max_cost: Option<f64>,

    /// Start no more tasks if all tasks together would use more than this many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = BATCH_LIMITS)]
    pub(crate) max_tokens_total: Option<u64>,

    /// End the batch after this time
    #[arg(long, value_name = "TIME", value_parser = duration, hide_short_help = true, help_heading = BATCH_LIMITS)]
    pub(crate) max_time: Option<Duration>,

    /// Start no tasks while all processes of the batch use more memory than this, such as 8GiB
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true, help_heading = BATCH_LIMITS)]
    pub(crate) max_memory: Option<u64>,

    /// Start no tasks while the disk of the results has less free space than this, such as 5GiB
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true, help_heading = BATCH_LIMITS)]
    pub(crate) min_free: Option<u64>,

    /// Clone `owner/name` from this host, such as `https://github.com`
    #[arg(long, value_name = "URL", help_heading = REPOSITORIES)]
    pub(crate) repo_base: Option<String>,

    /// Run this command in the directory of each task that names none
    #[arg(long, value_name = "COMMAND", hide_short_help = true, help_heading = REPOSITORIES)]
    pub(crate) setup: Option<String>,

    /// Check each task that names no check with this command; exit code 0 passes
    #[arg(long, value_name = "COMMAND", help_heading = REPOSITORIES)]
    pub(crate) check: Option<String>,

    /// Run this opencode [default: the one on PATH, else the one that `setup` installed]
    #[arg(long, value_name = "PATH", hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) opencode: Option<PathBuf>,

    /// Start faster and use less memory: no language servers, formatters, plugins, sharing, file watcher and snapshots
    #[arg(long, help_heading = OPENCODE)]
    pub(crate) lean: bool,

    /// Ignore the opencode configuration of the tasks' directories, which may run commands; yours still applies
    #[arg(long, hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) no_project_config: bool,

    /// Give opencode the keys of model sources; the agent's commands can then read them
    #[arg(long, hide_short_help = true, help_heading = OPENCODE)]
    pub(crate) no_gateway: bool,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

const RESULTS: &str = "Results";
const SCHEDULE: &str = "Schedule";
const SELECTION: &str = "Tasks";
const MODEL: &str = "Model and instructions";
const TASK_LIMITS: &str = "Permissions and limits of a task";
const BATCH_LIMITS: &str = "Limits of the batch";
const REPOSITORIES: &str = "Repositories and checks";
const OPENCODE: &str = "How opencode is run";

/// The directories that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepArg {
    /// The clones of tasks that did not pass
    Failed,
    /// The directories of all tasks
    All,
    /// None, not even those without a repository
    None,
}

impl From<KeepArg> for Keep {
    fn from(keep: KeepArg) -> Self {
        match keep {
            KeepArg::Failed => Self::Failed,
            KeepArg::All => Self::All,
            KeepArg::None => Self::None,
        }
    }
}

/// The arguments of `batch ctl`.
#[derive(Debug, Args)]
pub(crate) struct CtlArgs {
    /// The results file of the running batch
    #[arg(value_name = "RESULTS")]
    pub(crate) results: PathBuf,

    #[command(subcommand)]
    pub(crate) request: CtlRequest,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// A request to a running batch.
#[derive(Debug, Subcommand)]
pub(crate) enum CtlRequest {
    /// Print the figures and the running tasks as JSON
    Status,
    /// Start no more tasks until the batch is resumed
    Pause,
    /// Start tasks again
    Resume,
    /// Stop a task, or do not start it
    Cancel {
        /// The id of the task
        id: String,
    },
    /// Run a finished task again
    Requeue {
        /// The id of the task
        id: String,
    },
    /// Change the maximum number of parallel tasks
    Jobs {
        /// The number
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        jobs: u16,
    },
    /// Add the tasks of a file
    Add {
        /// The file
        file: PathBuf,
    },
}

/// The arguments of `batch export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The results file
    #[arg(value_name = "RESULTS")]
    pub(crate) results: PathBuf,

    /// Write SWE-bench predictions to this file
    #[arg(long, value_name = "FILE", help_heading = FORMATS)]
    pub(crate) predictions: Option<PathBuf>,

    /// Write a job log of GNU parallel to this file
    #[arg(long, value_name = "FILE", help_heading = FORMATS)]
    pub(crate) joblog: Option<PathBuf>,

    /// Print this format on stdout
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = FORMATS)]
    pub(crate) format: Option<ExportArg>,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

const FORMATS: &str = "Formats";

/// A format that is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportArg {
    /// Comma separated values
    Csv,
    /// A Markdown table, such as a job summary shows
    Md,
    /// `JUnit` XML
    Junit,
}

impl From<ExportArg> for ExportFormat {
    fn from(format: ExportArg) -> Self {
        match format {
            ExportArg::Csv => Self::Csv,
            ExportArg::Md => Self::Markdown,
            ExportArg::Junit => Self::Junit,
        }
    }
}

/// The arguments of `batch merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The results files of all shards
    #[arg(value_name = "RESULTS", required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Write the last result of each task to this file
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: PathBuf,

    /// Merge even if shards are missing
    #[arg(long, help_heading = "Output")]
    pub(crate) allow_missing: bool,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

/// Parses a size such as 500MB or 5GiB.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || "write a size such as 500MB or 5GiB".to_owned();
    let digits = text.trim().trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).trim_end();
    let unit = match text.trim()[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(unit).filter(|size| *size > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            (size("5GiB"), size("5g"), size("2 MB"), size("10")),
            (Ok(5 << 30), Ok(5 << 30), Ok(2_000_000), Ok(10))
        );
        assert!(size("much").is_err() && size("0").is_err() && size("5x").is_err());
    }
}
