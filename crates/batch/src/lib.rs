//! Runs many tasks with the opencode agent.
//!
//! The scheduler is a pure core that decides which task to start, retry, delay or stop. The ledger is a file of JSON
//! lines, one per attempt, and the single source of truth for finished tasks. Workspaces are clones of repositories,
//! and the patches taken from them.
//!
//! # Example
//!
//! Two tasks of a file; a second run would do nothing, because the ledger has both results:
//!
//! ```
//! use opencode_run_batch::run::{Batch, BatchFolder, BatchOptions, HostRunner, HostRunnerOptions, Plan, Redo};
//! use opencode_run_batch::workspace::WorkspaceOptions;
//! use opencode_run_batch::{Ledger, LoadOptions, TaskSet, read_lines, scheduler::Settings};
//! use opencode_runner::{Host, RunState, mock::ScriptedExecutor};
//! use std::sync::Arc;
//! use tokio::sync::mpsc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let file = folder.join("tasks.jsonl");
//! std::fs::write(&file, "{\"id\":\"a\",\"prompt\":\"Say a.\"}\n{\"id\":\"b\",\"prompt\":\"Say b.\"}\n")?;
//! let tasks = TaskSet::load(&file, &LoadOptions::default())?;
//! let results = folder.join("results.jsonl");
//! let (ledger, history, _) = Ledger::open(&results)?;
//! let plan = Plan::new(&tasks, history, Settings::default(), true, Redo::No)?;
//! assert_eq!(plan.to_run, 2);
//!
//! // `Host::builder().build().await?` is one with opencode.
//! let host = Host::with_executor(Arc::new(ScriptedExecutor::new().answers(["a", "b"])));
//! let beside = BatchFolder::of(&results)?;
//! let workspaces = WorkspaceOptions::new(folder.join("mirrors"), beside.clones());
//! let runner = Arc::new(HostRunner::new(host, HostRunnerOptions::new(beside, workspaces)));
//! let writer = ledger.writer().ok_or("the ledger is closed")?;
//! let batch = Batch::new(tasks, plan, writer, runner, BatchOptions::default());
//! let (_interrupts, controls) = mpsc::channel(1);
//! batch.run(None, controls, &mut |_, _| {}).await;
//! ledger.close();
//!
//! for result in read_lines(&results)? {
//!     assert_eq!(result?.report.state, RunState::Completed);
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod export;
mod ledger;
mod merge;
mod output_file;
pub mod policy;
pub mod report;
pub mod run;
pub mod scheduler;
mod selection;
mod shard;
mod task;
mod tasks_file;
mod template;
pub mod workspace;

pub use export::{ExportError, ExportFormat, export, export_to_file, last_attempts};
pub use ledger::{
    CheckResult, History, Ledger, LedgerError, LedgerState, LedgerWriter, LineError, Past, PatchResult, Standing,
    TaskResult, Torn, read_lines, to_line,
};
pub use merge::{MergeError, Merged, merge};
pub use selection::{Selection, Slice};
pub use shard::{Shard, ShardError};
pub use task::{
    BatchTask, CheckFiles, Field, IdHash, JsonSchema, ParseOptions, Permission, RawFields, TaskError, TaskHash,
    id_digest,
};
pub use tasks_file::{LoadOptions, LoadedTask, Problem, TaskSet, TasksFileError};
pub use template::{Template, TemplateError};
