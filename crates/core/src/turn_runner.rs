//! The async shell around [`TurnMachine`]: it feeds signals in, acts on the changes, and makes no decisions.

use self::drive::{InputSink, LostGuard};
use self::shared::{Current, LiveConversation, PendingControl, Progress, Shared, StartingGuard};
use crate::event_log::EventLog;
use crate::{
    Control, Conversation, Events, Executor, FailureKind, Limits, Prompt, Recorder, RunState, SessionId, StartError,
    Task, TurnEvent, TurnMachine, TurnRecord, TurnRequest, TurnStart,
};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;

/// Runs the turns of one conversation, one at a time, on an [`Executor`].
///
/// Every method takes `&self`: any number of tasks can read events, wait and interrupt. Reading does not consume
/// events.
///
/// Dropping it kills a running turn; the executor cleans up in the background.
#[derive(Debug)]
pub struct TurnRunner {
    executor: Arc<dyn Executor>,
    shared: Arc<Shared>,
    /// Receives every input of the turns.
    recorder: Option<Arc<dyn Recorder>>,
}

impl Drop for TurnRunner {
    fn drop(&mut self) {
        self.kill();
    }
}

impl std::fmt::Debug for dyn Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Executor")
    }
}

/// A turn that did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A turn of this conversation is running.
    #[error("a turn of this conversation is still running: wait for it or interrupt it")]
    Busy,
    /// The executor could not start the turn.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A turn that was still running when a wait for it timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the turn is still running after a wait of {limit:?}")]
#[non_exhaustive]
pub struct StillRunning {
    /// The timeout of the wait.
    pub limit: Duration,
}

impl TurnRunner {
    /// Creates a runner for a task. Starts nothing.
    pub fn new(executor: Arc<dyn Executor>, task: Task) -> Self {
        Self::with_conversation(executor, Conversation::new(task))
    }

    /// Creates a runner that continues a conversation.
    ///
    /// A turn that was running when the conversation was saved is over: it failed with
    /// [`TurnFailure::Protocol`](crate::TurnFailure::Protocol) and keeps its output.
    pub fn with_conversation(executor: Arc<dyn Executor>, mut conversation: Conversation) -> Self {
        conversation.end_abandoned_turns();
        let progress = Progress { state: conversation.state(), finished: conversation.turns.len() };
        let live = Mutex::new(LiveConversation { finished: conversation, current: Current::None, log: None });
        let shared = Arc::new(Shared { live, progress: watch::Sender::new(progress) });
        Self { executor, shared, recorder: None }
    }

    /// Sets a recorder for all inputs of the turns from now on.
    #[must_use]
    pub fn recorded_by(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Starts a turn and returns as soon as it runs. `now` becomes the start time in the record.
    ///
    /// Must be called on a tokio runtime. The turn runs whether or not anything waits for it, on the
    /// [executor's runtime](Executor::runtime) or on this one.
    ///
    /// # Errors
    ///
    /// [`RunError::Busy`] while a turn runs; [`RunError::Start`] if the executor could not start it, or not within
    /// the turn's limits. The conversation is unchanged then.
    pub async fn start(&self, prompt: Prompt, now: SystemTime) -> Result<TurnHandle, RunError> {
        self.start_since(prompt, now, Instant::now()).await
    }

    /// Starts a turn like [`start`](Self::start), counting the time that was already spent on it since `since`.
    ///
    /// The total limit counts from `since`, the idle limit from now.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_since(&self, prompt: Prompt, now: SystemTime, since: Instant) -> Result<TurnHandle, RunError> {
        let (request, index) = self.request(&prompt)?;
        let mut guard = StartingGuard(Some(&self.shared));
        let prepared = since.elapsed();
        let span = drive::turn_span(index);
        let starting = within_limits(prompt.options.limits(), prepared, self.executor.start(request));
        let started = starting.instrument(span.clone()).await?;
        guard.0 = None;

        let start = TurnStart::new(&prompt, now);
        if let Some(recorder) = &self.recorder {
            recorder.turn_started(&start);
        }
        let log = EventLog::new();
        let handle_log = Arc::clone(&log);
        let mut live = self.shared.lock();
        let turn = Box::new(TurnMachine::begin(start).with_preparation(prepared));
        live.current = Current::Running { turn, since, pending: PendingControl::default() };
        live.log = Some(Arc::clone(&log));
        self.shared.progress.send_replace(Progress { state: RunState::Running, finished: index });
        drop(live);
        let sink =
            InputSink { shared: Arc::clone(&self.shared), recorder: self.recorder.clone(), log, since, next_seq: 0 };
        let running = drive::drive(LostGuard::new(sink), started).instrument(span);
        match self.executor.runtime() {
            Some(runtime) => drop(runtime.spawn(running)),
            None => drop(tokio::spawn(running)),
        }
        Ok(TurnHandle { shared: Arc::clone(&self.shared), index, log: handle_log })
    }

    /// Takes the place of the next turn, and returns its request.
    fn request(&self, prompt: &Prompt) -> Result<(TurnRequest, usize), RunError> {
        let mut live = self.shared.lock();
        if !matches!(live.current, Current::None) {
            return Err(RunError::Busy);
        }
        live.current = Current::Starting;
        let Conversation { task, session, turns, .. } = &live.finished;
        Ok((TurnRequest::new(prompt.clone(), task.clone()).session(session.clone()), turns.len()))
    }

    /// Runs a turn to its end and returns its record, whether it succeeded or not.
    ///
    /// Dropping the future leaves the turn running; [`wait`](Self::wait) waits for it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start). A turn that ran and failed is not an error here: see [`TurnRecord::failure`].
    pub async fn run(&self, prompt: Prompt, now: SystemTime) -> Result<Arc<TurnRecord>, RunError> {
        self.run_since(prompt, now, Instant::now()).await
    }

    /// Runs a turn like [`run`](Self::run), counting its time like [`start_since`](Self::start_since).
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_since(
        &self,
        prompt: Prompt,
        now: SystemTime,
        since: Instant,
    ) -> Result<Arc<TurnRecord>, RunError> {
        Ok(self.start_since(prompt, now, since).await?.wait().await)
    }

    /// Waits until the running turn is over and returns its record. If no turn is running, returns the record of
    /// the last turn immediately; `None` if there was no turn.
    pub async fn wait(&self) -> Option<Arc<TurnRecord>> {
        let running = {
            let live = self.shared.lock();
            match &live.current {
                Current::Running { .. } => live.finished.turns.len(),
                Current::None | Current::Starting => return live.finished.turns.last().cloned(),
            }
        };
        Some(self.shared.finished(running).await)
    }

    /// Returns a handle to the running turn.
    #[must_use]
    pub fn running_turn(&self) -> Option<TurnHandle> {
        let live = self.shared.lock();
        let log = live.log.as_ref().filter(|_| matches!(live.current, Current::Running { .. }))?;
        let index = live.finished.turns.len();
        Some(TurnHandle { shared: Arc::clone(&self.shared), index, log: Arc::clone(log) })
    }

    /// Waits like [`wait`](Self::wait), but not longer than `limit`. `Ok(None)` means that there was no turn.
    ///
    /// The turn itself is not affected.
    ///
    /// # Errors
    ///
    /// If the turn is still running at the limit.
    pub async fn wait_timeout(&self, limit: Duration) -> Result<Option<Arc<TurnRecord>>, StillRunning> {
        tokio::time::timeout(limit, self.wait()).await.map_err(|_| StillRunning { limit })
    }

    /// Returns the state of the last turn.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.shared.progress.borrow().state
    }

    /// Returns whether a turn is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state() == RunState::Running
    }

    /// Returns a copy of the last turn's output so far.
    #[must_use]
    pub fn current_output(&self) -> String {
        self.with_last_turn(TurnRecord::output)
    }

    /// Returns the length of [`current_output`](Self::current_output) in bytes.
    #[must_use]
    pub fn current_output_len(&self) -> usize {
        self.with_last_turn(TurnRecord::output_len)
    }

    fn with_last_turn<T: Default>(&self, look: impl FnOnce(&TurnRecord) -> T) -> T {
        let live = self.shared.lock();
        match &live.current {
            Current::Running { turn, .. } => look(turn.record()),
            Current::None | Current::Starting => live.finished.turns.last().map(|turn| look(turn)).unwrap_or_default(),
        }
    }

    /// Returns the last events of the last turn, at most `count`, oldest first.
    #[must_use]
    pub fn recent_events(&self, count: usize) -> Vec<Arc<TurnEvent>> {
        self.log().map(|log| log.last(count)).unwrap_or_default()
    }

    /// Returns a reader of the last turn's events, from the oldest event in the window.
    ///
    /// A reader that is slower than the turn gets the number of missed events.
    #[must_use]
    pub fn events(&self) -> Events {
        self.log().map_or_else(Events::ended, |log| EventLog::read_from_start(&log))
    }

    /// Returns a lossless reader of the last turn's events: the turn waits for it (backpressure).
    ///
    /// Such a wait does not count as idle. A turn that is being ended does not wait for readers; from then on a
    /// slow reader gets the number of missed events.
    #[must_use]
    pub fn lossless_events(&self) -> Events {
        self.log().map_or_else(Events::ended, |log| EventLog::read_lossless(&log))
    }

    fn log(&self) -> Option<Arc<EventLog>> {
        self.shared.lock().log.clone()
    }

    /// Returns the conversation so far, including the running turn.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        let live = self.shared.lock();
        let mut conversation = live.finished.clone();
        if let Current::Running { turn, .. } = &live.current {
            conversation.turns.push(Arc::new(turn.record().clone()));
        }
        conversation
    }

    /// Returns opencode's session; `None` until it is known.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        self.shared.lock().finished.session.clone()
    }

    /// Ends the running turn gracefully. Returns whether a turn was running.
    ///
    /// Returns immediately; [`wait`](Self::wait) returns when nothing that the turn started is still running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn interrupt(&self) -> bool {
        self.shared.request_control(Control::Interrupt, None)
    }

    /// Kills the running turn. Returns whether a turn was running.
    ///
    /// Returns immediately; [`wait`](Self::wait) returns when nothing that the turn started is still running.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn kill(&self) -> bool {
        self.shared.request_control(Control::Kill, None)
    }
}

/// Waits for a turn to start, within its limits, of which `prepared` has already been used.
async fn within_limits<T>(
    limits: Limits,
    prepared: Duration,
    start: impl Future<Output = Result<T, StartError>>,
) -> Result<T, StartError> {
    let total = limits.total.map(|limit| (limit.saturating_sub(prepared), limit, FailureKind::Timeout));
    let idle = limits.idle.map(|limit| (limit, limit, FailureKind::IdleTimeout));
    let next = total.into_iter().chain(idle).min_by_key(|(left, ..)| *left);
    let Some((left, limit, kind)) = next else { return start.await };
    tokio::time::timeout(left, start).await.unwrap_or_else(|_| {
        let message = format!("the turn did not start within the {limit:?} limit");
        Err(StartError::new(kind, message).hint("raise the limit: opencode takes seconds to start"))
    })
}

mod drive;
mod handle;
mod shared;
#[cfg(test)]
mod tests;

pub use handle::TurnHandle;
