//! The runner: one task and its turns.

mod start;

use crate::ask_error::AskError;
use crate::cleanup::DirectoryCleanup;
use crate::defaults::Defaults;
use crate::driver::Transport;
use crate::host::Host;
use crate::journal::{Beginning, Journal};
use crate::previous::ModelHistory;
use crate::runner_error::RunnerError;
#[cfg(feature = "markdown")]
use crate::transcript::{self, SaveError, TRANSCRIPT_NAME};
use opencode_run_core::{
    Conversation, Events, ModelChoice, Prompt, RunState, SessionId, StillRunning, TurnEvent, TurnRecord, TurnRunner,
};
#[cfg(feature = "journal")]
use opencode_run_journal::JournalError;
#[cfg(feature = "markdown")]
use opencode_run_markdown::{MarkdownOptions, conversation_markdown};
use opencode_run_process::{Opencode, SessionLookupError, TaskDir, Undo};
#[cfg(feature = "markdown")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tracing::Instrument;

/// Runs the turns of one task on opencode, one at a time, in one session.
///
/// A clone is another handle to the same task, so any number of tasks can read events, wait and interrupt.
///
/// When the last handle and the last [`Turn`](crate::Turn) are dropped, a running turn is killed, and the servers of a runner
/// without a separate [`Host`] end in the background; [`close`](Self::close) waits for that. A server of a [`Host`]
/// releases the task's directory when it has been unused for the server idle timeout (one minute), an attached one when
/// the next turn ends there after that. The directory itself stays unless its
/// [cleanup](crate::RunnerBuilder::cleanup) removes it.
#[derive(Debug, Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // Field order is drop order: dropping the turns ends the turn that runs on the host.
    turns: TurnRunner,
    host: Host,
    directory: TaskDir,
    /// The span of the task in the log.
    span: tracing::Span,
    defaults: Defaults,
    end: AtEnd,
    last_model: Mutex<Option<ModelChoice>>,
    history: ModelHistory,
    journal: Option<Arc<Journal>>,
}

/// The resources that end with a runner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtEnd {
    /// Whether the host was created for this runner and ends with it.
    pub(crate) owns_host: bool,
    /// Whether the session and the journal are deleted.
    pub(crate) ephemeral: bool,
    pub(crate) cleanup: DirectoryCleanup,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let running = self.turns.running_turn();
        self.turns.kill();
        if !self.end.owns_host {
            self.host.driver().abandon(self.directory.path());
        }
        self.end.cleanup.apply_in_background(self.directory.clone(), self.turns.state(), running);
    }
}

/// A completed prompt that can be started.
#[derive(Debug)]
pub struct PreparedTurn {
    prompt: Prompt,
    now: SystemTime,
    /// The instant from which its time limits count.
    since: Instant,
}

impl Runner {
    pub(crate) fn new(
        host: Host,
        end: AtEnd,
        beginning: Beginning,
        directory: TaskDir,
        defaults: Defaults,
        history: ModelHistory,
    ) -> Self {
        let Beginning { conversation, journal } = beginning;
        let mut turns = TurnRunner::with_conversation(host.driver().executor_with(&defaults.sources), conversation);
        if let Some(journal) = &journal {
            turns = turns.recorded_by(Arc::<Journal>::clone(journal));
        }
        let last_model = Mutex::new(None);
        let conversation = turns.conversation();
        let span = tracing::info_span!("task", name = %conversation.task.name, directory = %directory.path().display());
        let inner = Inner { turns, host, directory, span, defaults, end, last_model, history, journal };
        Self { inner: Arc::new(inner) }
    }

    /// Runs a turn to its end and returns the answer, or the value as JSON if the prompt has a schema.
    ///
    /// Dropping the future leaves the turn running; [`wait`](Self::wait) waits for it.
    ///
    /// # Errors
    ///
    /// If the turn could not be started, failed or was interrupted. If the turn ran, the error holds its
    /// [record](AskError::record).
    pub async fn ask(&self, prompt: impl Into<Prompt>) -> Result<String, AskError> {
        Ok(self.run(prompt).await?.answer()?)
    }

    /// Runs a turn to its end and returns its record, whether it succeeded or not; [`ask`](Self::ask) returns
    /// failures as errors.
    ///
    /// Dropping the future leaves the turn running; [`wait`](Self::wait) waits for it.
    ///
    /// # Errors
    ///
    /// If the turn could not be started, or another one is running. A turn that ran and failed is not an error
    /// here: see [`TurnRecord::failure`] and [`TurnRecord::answer`].
    pub async fn run(&self, prompt: impl Into<Prompt>) -> Result<Arc<TurnRecord>, RunnerError> {
        let PreparedTurn { prompt, now, since } = self.prepare(prompt.into(), Instant::now()).await?;
        let running = Box::pin(self.inner.turns.run_since(prompt, now, since));
        Ok(running.instrument(self.inner.span.clone()).await?)
    }

    /// Fills in the runner's defaults and reads the key of the model, which may run a command. Time limits count
    /// from `since`.
    ///
    /// # Errors
    ///
    /// If no model can be chosen, or the key is not available.
    pub async fn prepare(&self, prompt: Prompt, since: Instant) -> Result<PreparedTurn, RunnerError> {
        let now = SystemTime::now();
        let previous = self.inner.history.previous(&self.inner.turns.conversation().turns);
        let prompt = self.inner.defaults.complete(prompt, previous).instrument(self.inner.span.clone()).await?;
        if let Some(model) = &prompt.options.model {
            self.inner.history.note(model);
        }
        self.inner.last_model.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&prompt.options.model);
        Ok(PreparedTurn { prompt, now, since })
    }

    /// Ends the runner's own processes and releases the resources of its task. Returns when no such process is left.
    ///
    /// A running turn is killed. The session of an [ephemeral](crate::RunnerBuilder::ephemeral) runner is deleted from
    /// opencode's history, and so is its journal. The runner's own server ends. A further turn would start a new
    /// one.
    ///
    /// The task's directory is removed if the [cleanup](crate::RunnerBuilder::cleanup) setting requires it.
    ///
    /// Dropping the runner does the same in the background, but deletes no session, and a shared server keeps what it has
    /// loaded for the directory for the idle timeout. A process that exits meanwhile may leave the
    /// directory.
    ///
    /// # Errors
    ///
    /// If the session or the directory could not be deleted. The runner's own server has ended nevertheless. If the session of an
    /// ephemeral runner could not be deleted, its journal stays.
    pub async fn close(&self) -> Result<(), RunnerError> {
        if self.kill() {
            self.wait().await;
        }
        let conversation = self.conversation();
        let session = conversation.session.as_ref().filter(|_| !conversation.turns.is_empty());
        let forget = self.inner.end.ephemeral && session.is_some();
        let own_host = self.inner.end.owns_host && self.inner.host.driver().own_server().is_some();
        // A server that ends releases its resources itself.
        let released = if forget || !own_host {
            self.inner.host.driver().executor().release(&conversation.task, session, forget).await
        } else {
            Ok(())
        };
        if own_host {
            self.inner.host.shutdown().await;
        }
        // The journal of a session that remains is the way to delete it later.
        let is_session_deleted = self.inner.end.ephemeral && released.is_ok();
        if let Some(journal) = self.inner.journal.as_ref().filter(|_| is_session_deleted) {
            journal.delete();
        }
        let removed = self.inner.end.cleanup.apply(&self.inner.directory, conversation.state()).await;
        released.and(removed.map(drop)).map_err(RunnerError::Close)
    }

    /// Waits until no turn is running and returns the record of the last one; `None` before the first turn.
    pub async fn wait(&self) -> Option<Arc<TurnRecord>> {
        self.inner.turns.wait().await
    }

    /// Waits like [`wait`](Self::wait), but not longer than `limit`. `Ok(None)` means that there was no turn.
    ///
    /// The turn itself is not affected.
    ///
    /// # Errors
    ///
    /// If the turn is still running at the limit.
    pub async fn wait_timeout(&self, limit: Duration) -> Result<Option<Arc<TurnRecord>>, StillRunning> {
        self.inner.turns.wait_timeout(limit).await
    }

    /// Returns the state of the last turn.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.inner.turns.state()
    }

    /// Returns whether a turn is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.inner.turns.is_running()
    }

    /// Returns a copy of the last turn's output so far.
    #[must_use]
    pub fn current_output(&self) -> String {
        self.inner.turns.current_output()
    }

    /// Returns the length of [`current_output`](Self::current_output) in bytes.
    #[must_use]
    pub fn current_output_len(&self) -> usize {
        self.inner.turns.current_output_len()
    }

    /// Returns the last events of the last turn, at most `count`, oldest first.
    #[must_use]
    pub fn recent_events(&self, count: usize) -> Vec<Arc<TurnEvent>> {
        self.inner.turns.recent_events(count)
    }

    /// Returns a reader of the last turn's events, from the oldest in the window. A slow reader gets the
    /// number of missed events.
    #[must_use]
    pub fn events(&self) -> Events {
        self.inner.turns.events()
    }

    /// Returns a lossless reader of the last turn's events: the turn waits for it (backpressure).
    #[must_use]
    pub fn lossless_events(&self) -> Events {
        self.inner.turns.lossless_events()
    }

    /// Ends the running turn gracefully. Returns whether a turn was running.
    ///
    /// Returns immediately; [`wait`](Self::wait) returns when nothing that the turn started is still running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn interrupt(&self) -> bool {
        self.inner.turns.interrupt()
    }

    /// Kills the running turn. Returns whether a turn was running.
    ///
    /// Returns immediately; [`wait`](Self::wait) returns when nothing that the turn started is still running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn kill(&self) -> bool {
        self.inner.turns.kill()
    }

    /// Returns the conversation so far, including the running turn.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        self.inner.turns.conversation()
    }

    /// Returns opencode's session, `ses_…`; `None` until it is known.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        self.inner.turns.session_id()
    }

    /// Returns the model that was chosen for the last turn; `None` if opencode chose it.
    #[must_use]
    pub fn model_of_last_turn(&self) -> Option<ModelChoice> {
        self.inner.last_model.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reverts the last turn of the session in opencode, with the files that it changed. The
    /// [`conversation`](Self::conversation) keeps the turn: it is a record of what happened. Commands whose effects are
    /// outside of the task's directory stay done.
    ///
    /// # Errors
    ///
    /// If a turn is running, or opencode cannot revert it.
    pub async fn undo(&self) -> Result<Undo, SessionLookupError> {
        let Some(session) = self.session_id() else { return Ok(Undo::NothingLeft) };
        if self.is_running() {
            return Err(SessionLookupError::Unanswered { session, why: "a turn is running".to_owned() });
        }
        let Defaults { options, sources, .. } = &self.inner.defaults;
        let model = self.model_of_last_turn();
        let directory = self.inner.directory.path();
        let driver = self.inner.host.driver();
        driver.undo((directory, &session), sources, model.as_ref(), options.agent.as_deref()).await
    }

    /// Returns the working directory of the agent.
    #[must_use]
    pub fn task_dir(&self) -> &TaskDir {
        &self.inner.directory
    }

    /// Returns the transport; `None` if the caller provided the executor.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        self.inner.host.driver().transport()
    }

    /// Returns the reason why no server is used; `None` if one is used or the transport was chosen explicitly.
    #[must_use]
    pub fn why_no_server(&self) -> Option<&str> {
        self.inner.host.driver().why_no_server()
    }

    /// Returns the opencode that runs the turns; `None` with the caller's own executor or an attached server.
    #[must_use]
    pub fn opencode(&self) -> Option<&Opencode> {
        self.inner.host.opencode()
    }

    /// Returns the path of the conversation's journal; `None` before its first turn and without a journal.
    #[must_use]
    pub fn journal_path(&self) -> Option<PathBuf> {
        self.inner.journal.as_ref()?.path()
    }

    /// Returns the error that stopped the journal, if there was one. It is also logged once.
    #[cfg(feature = "journal")]
    #[must_use]
    pub fn journal_error(&self) -> Option<Arc<JournalError>> {
        self.inner.journal.as_ref()?.error()
    }

    /// Returns the conversation as Markdown.
    #[cfg(feature = "markdown")]
    #[must_use]
    pub fn conversation_markdown(&self) -> String {
        conversation_markdown(&self.conversation(), &MarkdownOptions::default())
    }

    /// Writes the conversation as Markdown, by default to `conversation.md` in the task's directory, and returns
    /// the path. A relative path is relative to the current directory.
    ///
    /// The file is replaced atomically.
    ///
    /// # Errors
    ///
    /// If it cannot be written. The conversation is not lost and can be written elsewhere.
    #[cfg(feature = "markdown")]
    pub async fn save_markdown(&self, path: Option<&Path>) -> Result<PathBuf, SaveError> {
        let path = path.map_or_else(|| self.inner.directory.path().join(TRANSCRIPT_NAME), Path::to_owned);
        let markdown = self.conversation_markdown();
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || transcript::write_atomically(&target, &markdown)).await;
        let lost = |error| SaveError { path: path.clone(), source: std::io::Error::other(error) };
        written.map_err(lost)??;
        Ok(path)
    }
}
