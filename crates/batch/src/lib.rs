//! Runs many tasks with the opencode agent.
//!
//! The scheduler is a pure core that decides which task to start, retry, delay or stop. The ledger is a file of JSON
//! lines, one per attempt, and the single source of truth for finished tasks. Workspaces are clones of repositories,
//! and the patches taken from them.

mod export;
mod ledger;
mod merge;
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

pub use export::{ExportError, ExportFormat, export, last_attempts};
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
