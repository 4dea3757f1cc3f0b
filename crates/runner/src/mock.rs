//! Executors for the tests of programs that use the library, enabled by the feature `mock`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use opencode_runner::{Host, mock::ScriptedExecutor};
//! use std::sync::Arc;
//!
//! let executor = ScriptedExecutor::new().answers(["4", "8"]);
//! let runner = Host::with_executor(Arc::new(executor)).runner().dir(std::env::temp_dir()).build().await?;
//! assert_eq!(runner.ask("What is 2 + 2?").await?, "4");
//! # Ok(())
//! # }
//! ```

pub use opencode_run_core::mock::{Act, MockExecutor, ScriptedExecutor};

#[cfg(feature = "journal")]
use opencode_run_journal::JournalError;
#[cfg(feature = "journal")]
use std::path::Path;

/// Returns an executor that plays the turns of a journal: the texts, the reasoning and the tool calls of each, with
/// its usage and its end.
///
/// # Errors
///
/// If the journal cannot be read.
#[cfg(feature = "journal")]
pub fn from_journal(path: impl AsRef<Path>) -> Result<ScriptedExecutor, JournalError> {
    let recovered = opencode_run_journal::read(path.as_ref())?;
    Ok(ScriptedExecutor::new().conversation(&recovered.conversation))
}
