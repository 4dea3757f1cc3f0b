//! Runs turns of the opencode agent as processes, and leaves no process behind.
//!
//! # How it works
//!
//! - [`Opencode`] is a located and version-checked executable; a [`LocateError`] describes the problem and the remedy.
//! - [`TaskDir`] is a task's working directory: a new isolated one, or an existing one.
//! - [`RunExecutor`] implements [`Executor`](opencode_run_core::Executor): it starts `opencode run` for each turn,
//!   writes the prompt to stdin, decodes each line of output to an [`Event`](opencode_run_core::Event), and determines
//!   the outcome from all of them, not from the exit code alone.
//! - [`ServeExecutor`] implements it too: it runs turns on warm opencode servers.
//! - Every process of a turn inherits an environment tag. However a turn ends, all processes that carry the tag or
//!   descend from opencode are killed before the turn's end is reported. On Linux this includes processes that left the
//!   process group or were reparented to init; elsewhere only opencode and its process group are reached.
//! - With a [`Supervisor`], opencode is started under it. Then untagged orphans are killed too, and everything is
//!   killed if this process ends, even by SIGKILL.
//!
//! Only the private module `protocol` knows opencode's arguments, routes and events.
//!
//! # Example
//!
//! ```no_run
//! use opencode_run_core::{Prompt, Task, TurnRunner};
//! use opencode_run_process::{Launch, Locator, RunExecutor, TaskDir};
//! use std::{sync::Arc, time::SystemTime};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let opencode = Locator::from_path_variable(std::env::var_os("PATH")).locate().await?;
//! let directory = TaskDir::create(std::path::Path::new("."), "greet").await?;
//! let executor = RunExecutor::new(Launch::new(opencode, std::env::vars_os()));
//! let runner = TurnRunner::new(Arc::new(executor), Task::new("greet", directory.path()));
//! println!("{}", runner.run(Prompt::new("Say hello."), SystemTime::now()).await?.answer()?);
//! # Ok(())
//! # }
//! ```

mod background;
mod backoff;
mod cache_file;
mod command_environment;
mod environment;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod json_text;
mod launch;
mod launch_key;
mod lines;
mod locate;
#[cfg(feature = "gateway")]
mod model_route;
#[cfg(not(feature = "gateway"))]
#[path = "model_route_absent.rs"]
mod model_route;
mod models;
mod private_dir;
mod program_query;
mod project_config;
mod project_power;
mod protocol;
mod redaction;
mod remove_dir;
mod request;
mod resource_limits;
mod run_executor;
mod run_process;
mod run_turn;
#[cfg(feature = "schema")]
mod schema;
#[cfg(not(feature = "schema"))]
#[path = "schema_absent.rs"]
mod schema;
mod send_queue;
mod serve;
mod serve_executor;
mod session;
mod session_info;
mod shared_sources;
mod shell;
mod stderr_tail;
mod suggestions;
mod task_dir;
mod undo;
mod version;
mod version_cache;
mod version_control;

pub use background::Background;
pub use cache_file::write as write_private_file;
pub use command_environment::command_environment;
pub use environment::is_inherited;
pub use launch::Launch;
pub use locate::{LocateError, Locator, Opencode};
#[cfg(not(feature = "gateway"))]
pub use model_route::Throttle;
#[cfg(feature = "gateway")]
pub use models::listed_models;
pub use models::{ModelListError, known_models};
pub use opencode_run_containment::{Helper, SignalSet, Supervisor, ignored_signals, spawn_plain, supervisor};
#[cfg(target_os = "linux")]
pub use opencode_run_containment::{SupervisorError, supervise};
#[cfg(feature = "gateway")]
pub use opencode_run_gateway::{ModelList, ProbeError, Throttle};
pub use private_dir::{Untrusted, create_private_dir_all, find_untrusted};
pub use project_config::ProjectConfig;
pub use project_power::ProjectPower;
pub use protocol::{
    McpServer, NO_CATALOG_DOWNLOAD, changed_files, holds_credentials, is_users_configuration, mcp_servers,
    server_credentials, with_database,
};
pub use resource_limits::resource_hint;
pub use run_executor::RunExecutor;
pub use serve_executor::ServeExecutor;
pub use session::{SessionLookupError, session_directory, session_info};
pub use session_info::{SessionInfo, SessionModel};
pub use shell::{UnusableShell, unusable_shell};
pub use suggestions::suggestions;
pub use task_dir::{TaskDir, TaskDirError, TaskName, TaskNameError};
pub use undo::Undo;
pub use version::{ParseVersionError, Version};
pub use version_control::{refused_repository, tracking_reason};
