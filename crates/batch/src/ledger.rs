//! The results file: the single source of truth for finished tasks. It has one line of JSON for each attempt, which is
//! synced to disk before the task counts as done.

mod file;
mod history;
mod line;
mod result;
mod writer;

pub use self::file::{Ledger, LedgerError, Torn};
pub use self::history::{History, Past};
pub use self::line::{LineError, read_lines, to_line};
pub use self::result::{CheckResult, PatchResult, Standing, TaskResult};
pub use self::writer::{LedgerState, LedgerWriter};
