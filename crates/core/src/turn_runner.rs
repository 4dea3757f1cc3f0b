//! The async shell around [`TurnMachine`]: it moves signals in and changes out, and decides nothing.

use self::drive::{Intake, LostGuard};
use crate::event_log::EventLog;
use crate::{
    Changes, Control, Conversation, Events, Executor, FailureKind, Input, LimitKind, Limits, Prompt, Recorder,
    RunState, SessionId, StartError, Task, TurnEvent, TurnMachine, TurnRecord, TurnRequest, TurnStart,
};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;

/// Runs the turns of one conversation, one at a time, on an [`Executor`].
///
/// Every method takes `&self`: any number of tasks can watch, wait and interrupt. Watching takes nothing away.
///
/// Dropping it kills a running turn; the executor's cleanup goes on in the background.
#[derive(Debug)]
pub struct TurnRunner {
    executor: Arc<dyn Executor>,
    shared: Arc<Shared>,
    /// Sees all that comes to the turns.
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
    /// The executor could not start it.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A turn was still running when a wait for it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the turn is still running after a wait of {limit:?}")]
#[non_exhaustive]
pub struct StillRunning {
    /// How long was waited.
    pub limit: Duration,
}

/// What the loop of a turn and its watchers share.
#[derive(Debug)]
struct Shared {
    live: Mutex<Live>,
    /// Only sent to while `live` is locked, so that the news come in the order of what happened.
    progress: watch::Sender<Progress>,
}

/// How far the conversation is, for those who wait.
#[derive(Debug, Clone, Copy)]
struct Progress {
    state: RunState,
    /// How many turns are finished.
    finished: usize,
}

#[derive(Debug)]
struct Live {
    /// The finished turns.
    finished: Conversation,
    /// The running turn, or one that is being started.
    current: Current,
    /// The events of the last turn.
    log: Option<Arc<EventLog>>,
}

#[derive(Debug)]
enum Current {
    None,
    Starting,
    Running { turn: Box<TurnMachine>, since: Instant, wish: Wish },
}

/// What the users want of a running turn, for its loop. It is here, with all else that the loop looks at for an event.
#[derive(Debug, Default)]
struct Wish {
    control: Option<Control>,
    /// The loop of the turn, once it waits.
    awaited_by: Option<Waker>,
}

impl Wish {
    /// Wants this of the turn. A kill is not taken back.
    fn want(&mut self, control: Control) {
        if self.control != Some(Control::Kill) {
            self.control = Some(control);
        }
        if let Some(waker) = &self.awaited_by {
            waker.wake_by_ref();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Control> {
        if let Some(control) = self.control.take() {
            return Poll::Ready(control);
        }
        if !self.awaited_by.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.awaited_by = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Shared {
    // The lock is held for plain assignments only; a panic in between leaves nothing half-done that a reader relies on.
    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what happened to the turn, so long after its start, and keeps what came of it.
    fn apply(&self, at: Duration, input: &Input) -> Changes {
        let mut live = self.lock();
        let Current::Running { turn, .. } = &mut live.current else { return Changes::default() };
        let changes = turn.apply(at, input);
        if let Some(session) = &changes.session {
            live.finished.session = Some(session.clone());
        }
        if let Some(state) = changes.ended {
            if let Current::Running { turn, .. } = std::mem::replace(&mut live.current, Current::None) {
                live.finished.turns.push(Arc::new(turn.into_record()));
            }
            if let Some(log) = &live.log {
                log.close();
            }
            self.progress.send_replace(Progress { state, finished: live.finished.turns.len() });
        }
        changes
    }

    /// Waits for somebody to want something of the running turn.
    async fn wished(&self) -> Control {
        poll_fn(|context| match &mut self.lock().current {
            Current::Running { wish, .. } => wish.poll(context),
            Current::None | Current::Starting => Poll::Pending,
        })
        .await
    }

    /// Waits for the turn in this place, whatever is started after it.
    async fn finished(&self, place: usize) -> Arc<TurnRecord> {
        // The sender lives as long as `self`, so that waiting cannot fail.
        self.progress.subscribe().wait_for(|progress| progress.finished > place).await.ok();
        Arc::clone(&self.lock().finished.turns[place])
    }

    /// Wants this of the running turn, or of the one in this place alone. Returns whether it is running.
    fn wish(&self, control: Control, of: Option<usize>) -> bool {
        let mut live = self.lock();
        let running = live.finished.turns.len();
        match &mut live.current {
            Current::Running { wish, .. } if of.is_none_or(|place| place == running) => {
                wish.want(control);
                true
            }
            _ => false,
        }
    }

    /// Returns when the limit on the whole turn and the idle limit are reached if nothing happens.
    fn limits_at(&self) -> [Option<Instant>; 2] {
        match &self.lock().current {
            Current::Running { turn, since, .. } => [LimitKind::Total, LimitKind::Idle]
                .map(|limit| turn.limit_at(limit).and_then(|after| since.checked_add(after))),
            Current::None | Current::Starting => [None; 2],
        }
    }
}

/// Gives the place of a turn back when it could not be started, also when the starting future is dropped.
struct StartingGuard<'a>(Option<&'a Shared>);

impl Drop for StartingGuard<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.lock().current = Current::None;
        }
    }
}

impl TurnRunner {
    /// Makes a runner for a task; nothing is started.
    pub fn new(executor: Arc<dyn Executor>, task: Task) -> Self {
        Self::with_conversation(executor, Conversation::new(task))
    }

    /// Makes a runner that continues a conversation.
    ///
    /// A turn that was running when the conversation was kept is over here: it failed with
    /// [`TurnFailure::Protocol`](crate::TurnFailure::Protocol), and what it had produced until then stays.
    pub fn with_conversation(executor: Arc<dyn Executor>, mut conversation: Conversation) -> Self {
        conversation.end_abandoned_turns();
        let progress = Progress { state: conversation.state(), finished: conversation.turns.len() };
        let live = Mutex::new(Live { finished: conversation, current: Current::None, log: None });
        let shared = Arc::new(Shared { live, progress: watch::Sender::new(progress) });
        Self { executor, shared, recorder: None }
    }

    /// Tells a recorder of all that comes to the turns from now on.
    #[must_use]
    pub fn recorded_by(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Starts a turn and returns as soon as it is under way. `now` is the time that the record bears.
    ///
    /// It must be called on a tokio runtime; the turn goes on whether anybody waits for it or not.
    ///
    /// # Errors
    ///
    /// [`RunError::Busy`] while a turn runs; [`RunError::Start`] if the executor could not start it, or not within the turn's
    /// limits. Then the conversation is as it was.
    pub async fn start(&self, prompt: Prompt, now: SystemTime) -> Result<TurnHandle, RunError> {
        self.start_since(prompt, now, Instant::now()).await
    }

    /// Starts a turn as [`start`](Self::start) does, whose time counts from `since`: something was done for it before.
    ///
    /// The limit on the whole turn counts from then, that on the time without progress from now.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_since(&self, prompt: Prompt, now: SystemTime, since: Instant) -> Result<TurnHandle, RunError> {
        let request = {
            let mut live = self.shared.lock();
            if !matches!(live.current, Current::None) {
                return Err(RunError::Busy);
            }
            live.current = Current::Starting;
            TurnRequest::new(prompt.clone(), live.finished.task.clone()).session(live.finished.session.clone())
        };
        let mut guard = StartingGuard(Some(&self.shared));
        let prepared = since.elapsed();
        let started = within(prompt.options.limits(), prepared, self.executor.start(request)).await?;
        guard.0 = None;

        let start = TurnStart::new(&prompt, now);
        if let Some(recorder) = &self.recorder {
            recorder.turn_started(&start);
        }
        let log = EventLog::new();
        let handle_log = Arc::clone(&log);
        let mut live = self.shared.lock();
        let place = live.finished.turns.len();
        let turn = Box::new(TurnMachine::begin(start).prepared_for(prepared));
        live.current = Current::Running { turn, since, wish: Wish::default() };
        live.log = Some(Arc::clone(&log));
        self.shared.progress.send_replace(Progress { state: RunState::Running, finished: place });
        drop(live);
        let intake =
            Intake { shared: Arc::clone(&self.shared), recorder: self.recorder.clone(), log, since, next_seq: 0 };
        tokio::spawn(drive::drive(LostGuard::new(intake), started));
        Ok(TurnHandle { shared: Arc::clone(&self.shared), place, log: handle_log })
    }

    /// Runs a turn to its end and returns its record, whatever the end was.
    ///
    /// Dropping the future leaves the turn running; [`wait`](Self::wait) waits for it again.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start). A turn that ran and failed is no error here: see [`TurnRecord::failure`].
    pub async fn run(&self, prompt: Prompt, now: SystemTime) -> Result<Arc<TurnRecord>, RunError> {
        self.run_since(prompt, now, Instant::now()).await
    }

    /// Runs a turn as [`run`](Self::run) does, whose time counts as [`start_since`](Self::start_since) says.
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

    /// Waits until the running turn is over and returns its record; at once that of the last turn where none is running,
    /// and none where there was none.
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

    /// Waits as [`wait`](Self::wait) does, but no longer than `limit`. `Ok(None)` means that there was no turn.
    ///
    /// The turn itself is not touched.
    ///
    /// # Errors
    ///
    /// If the turn is still running then.
    pub async fn wait_timeout(&self, limit: Duration) -> Result<Option<Arc<TurnRecord>>, StillRunning> {
        tokio::time::timeout(limit, self.wait()).await.map_err(|_| StillRunning { limit })
    }

    /// Returns where the last turn stands.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.shared.progress.borrow().state
    }

    /// Returns whether a turn is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state() == RunState::Running
    }

    /// Returns the output of the last turn as far as it goes. It is a view: nothing is taken away.
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

    /// Returns the last events of the last turn, at most `count`, the oldest first.
    #[must_use]
    pub fn recent_events(&self, count: usize) -> Vec<Arc<TurnEvent>> {
        self.log().map(|log| log.last(count)).unwrap_or_default()
    }

    /// Returns a reader of the last turn's events, from the oldest in the window on.
    ///
    /// A reader that is slower than the turn learns how many events it missed.
    #[must_use]
    pub fn events(&self) -> Events {
        self.log().map_or_else(Events::none, |log| EventLog::read_from_start(&log))
    }

    /// Returns a reader as [`events`](Self::events) does that misses nothing that comes: the turn waits for it.
    ///
    /// Such a wait does not count as idle. A turn that is being ended waits for nobody: what a slow reader misses from
    /// then on, it learns.
    #[must_use]
    pub fn every_event(&self) -> Events {
        self.log().map_or_else(Events::none, |log| EventLog::read_every_event(&log))
    }

    fn log(&self) -> Option<Arc<EventLog>> {
        self.shared.lock().log.clone()
    }

    /// Returns the conversation as far as it goes, the running turn included.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        let live = self.shared.lock();
        let mut conversation = live.finished.clone();
        if let Current::Running { turn, .. } = &live.current {
            conversation.turns.push(Arc::new(turn.record().clone()));
        }
        conversation
    }

    /// Returns opencode's session, once it is known.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        self.shared.lock().finished.session.clone()
    }

    /// Asks the running turn to end, gently first. Returns whether there was one.
    ///
    /// It returns at once; [`wait`](Self::wait) returns when nothing of the turn is left.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn interrupt(&self) -> bool {
        self.shared.wish(Control::Interrupt, None)
    }

    /// Ends the running turn at once. Returns whether there was one.
    ///
    /// It returns at once; [`wait`](Self::wait) returns when nothing of the turn is left.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn kill(&self) -> bool {
        self.shared.wish(Control::Kill, None)
    }
}

/// Waits for a turn that was prepared for so long to be under way, but not beyond its limits: nothing can be progress before.
async fn within<T>(
    limits: Limits,
    prepared: Duration,
    start: impl Future<Output = Result<T, StartError>>,
) -> Result<T, StartError> {
    let total = limits.total.map(|limit| (limit.saturating_sub(prepared), limit, FailureKind::Timeout));
    let idle = limits.idle.map(|limit| (limit, limit, FailureKind::IdleTimeout));
    let next = total.into_iter().chain(idle).min_by_key(|(left, ..)| *left);
    let Some((left, limit, kind)) = next else { return start.await };
    tokio::time::timeout(left, start).await.unwrap_or_else(|_| {
        let message = format!("the turn was not under way within {limit:?}, which is the limit on it");
        Err(StartError::new(kind, message).hint("give it more time; opencode takes seconds to start"))
    })
}

mod drive;
mod handle;
#[cfg(test)]
mod tests;

pub use handle::TurnHandle;
