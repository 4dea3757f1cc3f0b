//! The results file: the only truth about what is done. A line of JSON for each attempt, which is on the disk before the task counts
//! as done.

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
