//! Ends whole process trees.
//!
//! Killing a child leaves its descendants, and a process group does not reach a descendant that called `setsid`. This
//! crate finds the processes of a run in three ways:
//!
//! - An [`EnvironmentTag`] is a variable that every process inherits unless it clears its environment.
//! - Descent: parents are read from `/proc`, and known descendants are remembered, since an orphan gets another parent.
//! - A [`Supervisor`] is a process between this one and the program: a subreaper, which becomes the parent of all orphans
//!   below it. It also ends everything if this process ends, even by SIGKILL. [`supervisor::init`] makes a program its
//!   own supervisor.
//!
//! A process is signalled only through a pidfd whose identity was checked, so that no signal hits a reused id. A fork bomb
//! is stopped with SIGSTOP until a scan finds no new process, and then killed.
//!
//! All of this needs Linux. On other Unix systems a [`ProcessTree`] is the program and its process group, and a shell in
//! that group kills it if this process ends; elsewhere it is the program alone.
//!
//! # Example
//!
//! ```
//! use opencode_run_containment::{Helper, supervisor};
//! use std::path::Path;
//!
//! fn main() -> std::io::Result<()> {
//!     supervisor::init(); // first: this program may have been re-executed as the supervisor
//!     run()
//! }
//! #[tokio::main]
//! async fn run() -> std::io::Result<()> {
//!     let script = "setsid sleep 600 & echo started";
//!     let program = Helper::start("sh", ["-c", script], Path::new("/"), supervisor::current().as_ref())?;
//!     // The shell exits immediately, the daemon would stay for ten minutes.
//!     assert!(program.wait().await?.success());
//!     Ok(()) // Neither is left.
//! }
//! ```

mod background;
pub mod blocking;
mod child;
mod command;
mod descriptors;
mod environment_tag;
mod git_variables;
mod helper;
mod ignored_signals;
#[cfg(target_os = "linux")]
mod linux;
mod plain;
mod query;
mod start_time;
mod stop_signal;
pub mod supervisor;
mod system;
mod tool_process;
mod tools;
mod tree;
#[cfg(unix)]
mod watchdog;
#[cfg(not(target_os = "linux"))]
mod without_proc;

pub use child::{ChildProcess, start_child};
pub use command::command_in_own_group;
pub use descriptors::withhold_inherited;
pub use environment_tag::EnvironmentTag;
pub use git_variables::GIT_REPOSITORY_VARIABLES;
pub use helper::Helper;
pub use ignored_signals::{SignalSet, ignored_signals};
pub use plain::spawn_plain;
pub use query::{MAX_OUTPUT_BYTES, QueryOutput, query};
pub use start_time::StartTime;
pub use stop_signal::StopSignal;
pub use supervisor::Supervisor;
#[cfg(target_os = "linux")]
pub use supervisor::{SupervisorError, supervise};
pub use system::OwnProcesses;
pub use tool_process::ToolProcess;
pub use tools::{kill_tools, memory, own_processes};
pub use tree::ProcessTree;
