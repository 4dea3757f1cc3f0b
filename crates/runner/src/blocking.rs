//! The library for synchronous programs: the same hosts, runners and turns, whose methods block the calling thread.
//!
//! All handles share one background runtime on its own thread, which ends with the last handle. They work on any
//! thread, including one of an async runtime, which they block meanwhile. A permission handler must not call them:
//! it runs on the background runtime.
//!
//! ```no_run
//! use opencode_runner::blocking::Runner;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     opencode_runner::supervisor::init(); // first
//!     let runner = Runner::build(opencode_runner::Runner::builder().task_name("hello"))?;
//!     println!("{}", runner.ask("Write hello.py, which prints a greeting, and run it.")?);
//!     for item in runner.start("Now make it greet by name.")? {
//!         println!("{item:?}");
//!     }
//!     runner.close()?;
//!     Ok(())
//! }
//! ```

mod runtime;
mod turn;

pub use turn::Turn;

use self::runtime::OnRuntime;
#[cfg(feature = "markdown")]
use crate::SaveError;
use crate::{AskError, BuildError, HostBuilder, RunnerBuilder, RunnerError};
use opencode_run_core::{Prompt, StillRunning, TurnRecord};
#[cfg(feature = "markdown")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A [`Host`](crate::Host) for synchronous programs. A clone is another handle to the same host.
#[derive(Debug, Clone)]
pub struct Host(OnRuntime<crate::Host>);

impl Host {
    /// Locates opencode. Starts no server before the first turn.
    ///
    /// # Errors
    ///
    /// If no opencode is found that can be driven in this way.
    pub fn build(builder: HostBuilder) -> Result<Self, BuildError> {
        OnRuntime::new(builder.build()).map(Self)
    }

    /// Returns a builder for a runner on this host, for [`Runner::build`].
    #[must_use]
    pub fn runner(&self) -> RunnerBuilder {
        self.0.get().runner()
    }

    /// Ends all servers of this host with all that they started, and returns when no process of them is left. Turns
    /// that still run fail.
    pub fn shutdown(&self) {
        self.0.call(|host| async move { host.shutdown().await });
    }

    /// Returns the handle for async code.
    #[must_use]
    pub fn as_async(&self) -> &crate::Host {
        self.0.get()
    }
}

/// A [`Runner`](crate::Runner) for synchronous programs. A clone is another handle to the same task.
///
/// Dropping the last handle and the last [`Turn`] kills a running turn. If no other blocking handle exists in the
/// program, it also waits for the end of that turn.
#[derive(Debug, Clone)]
pub struct Runner(OnRuntime<crate::Runner>);

impl Runner {
    /// Locates opencode and creates the task's directory, like [`RunnerBuilder::build`].
    ///
    /// # Errors
    ///
    /// As that method.
    pub fn build(builder: RunnerBuilder) -> Result<Self, BuildError> {
        OnRuntime::new(builder.build()).map(Self)
    }

    /// Runs a turn to its end and returns the answer, or the value as JSON if the prompt has a schema.
    ///
    /// # Errors
    ///
    /// If the turn could not be started, failed or was interrupted.
    pub fn ask(&self, prompt: impl Into<Prompt>) -> Result<String, AskError> {
        let prompt = prompt.into();
        self.0.call(|runner| async move { runner.ask(prompt).await })
    }

    /// Runs a turn to its end and returns its record, whether it succeeded or not.
    ///
    /// # Errors
    ///
    /// If the turn could not be started, or one is running.
    pub fn run(&self, prompt: impl Into<Prompt>) -> Result<Arc<TurnRecord>, RunnerError> {
        let prompt = prompt.into();
        self.0.call(|runner| async move { runner.run(prompt).await })
    }

    /// Starts a turn and returns as soon as it is running.
    ///
    /// # Errors
    ///
    /// If the turn could not be started, or one is running.
    pub fn start(&self, prompt: impl Into<Prompt>) -> Result<Turn, RunnerError> {
        let prompt = prompt.into();
        let turn = self.0.call(|runner| async move { runner.start(prompt).await })?;
        Ok(Turn::new(self.0.with(turn)))
    }

    /// Waits until no turn is running and returns the record of the last one; `None` before the first turn.
    #[must_use]
    pub fn wait(&self) -> Option<Arc<TurnRecord>> {
        self.0.call(|runner| async move { runner.wait().await })
    }

    /// Waits like [`wait`](Self::wait), but not longer than `limit`.
    ///
    /// # Errors
    ///
    /// If the turn is still running at the limit.
    pub fn wait_timeout(&self, limit: Duration) -> Result<Option<Arc<TurnRecord>>, StillRunning> {
        self.0.call(move |runner| async move { runner.wait_timeout(limit).await })
    }

    /// Interrupts the running turn. Returns whether a turn was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    #[doc(alias = "cancel")]
    pub fn interrupt(&self) -> bool {
        self.0.get().interrupt()
    }

    /// Kills the running turn. Returns whether a turn was running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn kill(&self) -> bool {
        self.0.get().kill()
    }

    /// Ends the runner's own processes and releases its resources, see [`crate::Runner::close`].
    ///
    /// # Errors
    ///
    /// If the session or the directory could not be deleted.
    pub fn close(&self) -> Result<(), RunnerError> {
        self.0.call(|runner| async move { runner.close().await })
    }

    /// Writes the conversation as Markdown, see [`crate::Runner::save_markdown`].
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    #[cfg(feature = "markdown")]
    pub fn save_markdown(&self, path: Option<&Path>) -> Result<PathBuf, SaveError> {
        let path = path.map(Path::to_owned);
        self.0.call(|runner| async move { runner.save_markdown(path.as_deref()).await })
    }

    /// Returns the handle for async code, which also has all methods that never block: the state, the output so
    /// far, the conversation, the report.
    #[must_use]
    pub fn as_async(&self) -> &crate::Runner {
        self.0.get()
    }
}
