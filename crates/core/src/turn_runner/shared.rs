//! The state shared by the loop of a turn and its readers.

use crate::event_log::EventLog;
use crate::{Changes, Control, Conversation, Input, LimitKind, RunState, TurnMachine, TurnRecord};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The state shared by the loop of a turn and its readers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) live: Mutex<LiveConversation>,
    /// Updated only while `live` is locked, so that updates are in order.
    pub(super) progress: watch::Sender<Progress>,
}

/// The progress of the conversation, for waiting tasks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) state: RunState,
    /// The number of finished turns.
    pub(super) finished: usize,
}

#[derive(Debug)]
pub(super) struct LiveConversation {
    /// The finished turns.
    pub(super) finished: Conversation,
    /// The turn that is running or starting.
    pub(super) current: Current,
    /// The events of the last turn.
    pub(super) log: Option<Arc<EventLog>>,
}

#[derive(Debug)]
pub(super) enum Current {
    None,
    Starting,
    Running { turn: Box<TurnMachine>, since: Instant, pending: PendingControl },
}

/// A control that the users requested, for the loop of the turn. Stored beside the rest of what the loop reads per
/// event.
#[derive(Debug, Default)]
pub(super) struct PendingControl {
    control: Option<Control>,
    /// Wakes the loop of the turn, once it waits.
    waker: Option<Waker>,
}

impl PendingControl {
    /// Requests a control. A kill is not replaced by an interrupt.
    fn request(&mut self, control: Control) {
        if self.control != Some(Control::Kill) {
            self.control = Some(control);
        }
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Control> {
        if let Some(control) = self.control.take() {
            return Poll::Ready(control);
        }
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Shared {
    // The lock is held for plain assignments only, so a panic cannot leave the state inconsistent.
    pub(super) fn lock(&self) -> MutexGuard<'_, LiveConversation> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies an input, `at` after the turn's start, and stores its effects.
    pub(super) fn apply(&self, at: Duration, input: &Input) -> Changes {
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

    /// Waits for a control to be requested for the running turn.
    pub(super) async fn requested_control(&self) -> Control {
        poll_fn(|context| match &mut self.lock().current {
            Current::Running { pending, .. } => pending.poll(context),
            Current::None | Current::Starting => Poll::Pending,
        })
        .await
    }

    /// Waits for the turn at this index, even if later ones are started.
    pub(super) async fn finished(&self, index: usize) -> Arc<TurnRecord> {
        // The sender lives as long as `self`, so that waiting cannot fail.
        self.progress.subscribe().wait_for(|progress| progress.finished > index).await.ok();
        Arc::clone(&self.lock().finished.turns[index])
    }

    /// Requests a control of the running turn, or only of the turn at this index. Returns whether it is running.
    pub(super) fn request_control(&self, control: Control, of: Option<usize>) -> bool {
        let mut live = self.lock();
        let running = live.finished.turns.len();
        match &mut live.current {
            Current::Running { pending, .. } if of.is_none_or(|index| index == running) => {
                pending.request(control);
                true
            }
            _ => false,
        }
    }

    /// Returns when the total limit and the idle limit are reached if nothing happens.
    pub(super) fn limits_at(&self) -> [Option<Instant>; 2] {
        match &self.lock().current {
            Current::Running { turn, since, .. } => [LimitKind::Total, LimitKind::Idle]
                .map(|limit| turn.limit_at(limit).and_then(|after| since.checked_add(after))),
            Current::None | Current::Starting => [None; 2],
        }
    }
}

/// Makes the runner idle again if a turn could not be started or the starting future is dropped.
pub(super) struct StartingGuard<'a>(pub(super) Option<&'a Shared>);

impl Drop for StartingGuard<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.lock().current = Current::None;
        }
    }
}
