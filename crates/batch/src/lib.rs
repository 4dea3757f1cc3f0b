//! Runs many tasks with the opencode agent.
//!
//! The scheduler is a pure core that decides which task to start, retry, delay or stop. The ledger is a file of JSON lines, one
//! per attempt, and the only truth about what is done. Workspaces are clones of repositories, and the patches taken from them.

pub mod report;
pub mod workspace;
