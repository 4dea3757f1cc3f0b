//! Drives the opencode AI coding agent from Rust: isolated tasks, many turns in one session, live events, interrupt
//! and kill that leave nothing behind, reliable outcomes, Markdown transcripts.
//!
//! [`Runner`] is the main entry point. It composes other crates, each of which can be used alone:
//! [`core`](opencode_run_core) (the model of a turn), [`process`](opencode_run_process) (driving opencode),
//! [`config`](opencode_run_config) (model sources), [`journal`](opencode_run_journal) (crash-safe logs of
//! conversations) and [`markdown`](opencode_run_markdown) (transcripts). Their types that users of the runner need
//! are re-exported here.
//!
//! The library prints nothing, reads no terminal, installs no signal handler and changes nothing global in its
//! process. The command `opencode-run` is a separate crate that uses this one.
//!
//! # Features
//!
//! All but `mock` are on by default. A setting that needs a missing feature is refused with an error.
//!
//! - `gateway`: the credential gateway, and with it the limits on cost, requests and tokens. Without it, opencode and
//!   the commands that the agent runs get the keys of model sources.
//! - `journal`: conversations on disk, `RunnerBuilder::journal` and `resume`.
//! - `markdown`: transcripts, `Runner::conversation_markdown` and `save_markdown`.
//! - `schema`: answers that match a JSON Schema, [`Prompt::schema`].
//! - `mock`: executors for the tests of programs that use the library.
//!
//! # Example
//!
//! ```no_run
//! use opencode_runner::Runner;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     opencode_runner::supervisor::init(); // first, before any runtime
//!     run()
//! }
//!
//! #[tokio::main]
//! async fn run() -> Result<(), Box<dyn std::error::Error>> {
//!     let runner = Runner::builder().task_name("hello").build().await?;
//!     println!("{}", runner.ask("Write hello.py, which prints a greeting, and run it.").await?);
//!     println!("{}", runner.ask("Now make it greet by name.").await?);
//!     println!("transcript: {}", runner.save_markdown(None).await?.display());
//!     Ok(())
//! }
//! ```

mod ask_error;
mod attachment_warnings;
pub mod blocking;
mod build_error;
mod builder;
mod cleanup;
mod defaults;
mod driver;
mod host;
mod host_builder;
mod isolation;
#[cfg(feature = "journal")]
mod journal;
#[cfg(not(feature = "journal"))]
#[path = "journal_absent.rs"]
mod journal;
mod keys;
mod launch_options;
mod locate_opencode;
#[cfg(feature = "mock")]
pub mod mock;
mod model_choice;
mod model_choice_error;
pub mod paths;
mod previous;
mod report;
mod runner;
mod runner_error;
mod task_place;
pub mod transcript;
mod turn;

pub use ask_error::AskError;
pub use attachment_warnings::attachment_warnings;
pub use build_error::BuildError;
pub use builder::RunnerBuilder;
pub use cleanup::DirectoryCleanup;
pub use driver::Transport;
pub use host::Host;
pub use host_builder::HostBuilder;
pub use isolation::{HOME_LOCK, HOME_PREFIX};
#[cfg(feature = "journal")]
pub use journal::find_journal;
pub use keys::read_key;
pub use launch_options::{EnvironmentVariables, LaunchOptions, Reach};
pub use locate_opencode::locate_opencode;
pub use model_choice_error::ModelChoiceError;
pub use paths::{TESTED_OPENCODE, default_journals, installed_opencode};
pub use report::{EarlierTurn, Report, ReportError, ReportOutput};
pub use runner::{PreparedTurn, Runner};
pub use runner_error::RunnerError;
pub use task_place::TaskPlace;
pub use transcript::{SaveError, TRANSCRIPT_NAME};
pub use turn::{Turn, TurnControl};

// Every type in the interface of this crate, and every type that an `Executor` or a `Recorder` needs. A test checks
// that none is missing.
pub use async_trait::async_trait;
pub use opencode_run_config::{
    DiscoveredEnvFile, EnvFileError, EnvKey, EnvProblem, EnvProblemKind, Ignored, KeyError, ModelSource, SourceSummary,
};
pub use opencode_run_core::{
    Budget, Changes, Control, Conversation, Dropped, Ending, Entry, EntryContent, ErrorChain, Event, EventItem, Events,
    Executor, ExposeSecret, FailureKind, Input, InputType, Limit, LimitKind, Limits, ModelChoice, ModelConfig,
    ModelName, ModelNameError, ModelParameter, ModelProblem, ModelSourceType, ModelTraffic, Observed, OutputView,
    PartId, PermissionAnswer, PermissionHandler, PermissionPolicy, PermissionRequest, ProcessExit, Prompt,
    ProviderPackage, QuestionRequest, RawJson, Recorder, Remedy, ReportedError, RunError, RunState, SecretString,
    SessionId, Signal, StartError, StartedTurn, StepReason, StillRunning, Task, ToolCall, ToolState, TurnDriver,
    TurnError, TurnEvent, TurnFailure, TurnHandle, TurnMachine, TurnOptions, TurnRecord, TurnRequest, TurnRunner,
    TurnStart, UnknownInputType, UnknownSourceType, Usage, Warning, WarningCode,
};
#[cfg(feature = "journal")]
pub use opencode_run_journal::{Journal, JournalError, Recovered, read as read_journal};
#[cfg(feature = "markdown")]
pub use opencode_run_markdown::{MarkdownOptions, conversation_markdown};
pub use opencode_run_process::{
    Launch, LocateError, Locator, Opencode, ParseVersionError, ProjectConfig, ProjectPower, RunExecutor, ServeExecutor,
    SessionLookupError, Supervisor, TaskDir, TaskDirError, TaskName, TaskNameError, Throttle, Undo, Version,
    supervisor,
};
