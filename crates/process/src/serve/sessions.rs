//! The sessions of an executor's turns, and which of them have an active turn.

use opencode_run_core::{SessionId, Signal};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::WeakSender;

/// How many sessions are remembered after their turns. Continuing a forgotten session costs a request.
const MAX_IDLE_SESSIONS: usize = 4096;
/// How long a turn waits for another turn that is being killed in its session. An abort takes at most a second, and
/// ending a server that ignores it a few more.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The sessions, each with the consumer of its active turn.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: Mutex<HashMap<SessionId, Option<WeakSender<Signal>>>>,
    /// Notified when a turn has left its session.
    left: Notify,
}

impl Sessions {
    // Held for plain look-ups and assignments only.
    fn known(&self) -> MutexGuard<'_, HashMap<SessionId, Option<WeakSender<Signal>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a turn is known to have run, or runs, in a session.
    pub(crate) fn has_had_turn(&self, session: &SessionId) -> bool {
        self.known().contains_key(session)
    }

    /// Forgets a session.
    pub(crate) fn forget(&self, session: &SessionId) {
        self.known().remove(session);
    }

    /// Acquires a session for a turn with this consumer, unless another turn has it.
    pub(crate) fn take(self: &Arc<Self>, session: &SessionId, consumer: WeakSender<Signal>) -> Option<TakenSession> {
        let mut known = self.known();
        if known.get(session).is_some_and(Option::is_some) {
            return None;
        }
        if known.len() >= MAX_IDLE_SESSIONS {
            known.retain(|_, consumer| consumer.is_some());
        }
        known.insert(session.clone(), Some(consumer));
        Some(TakenSession { sessions: Arc::clone(self), session: session.clone() })
    }

    /// Waits until a turn that is being killed has left a session, at most [`KILL_TIMEOUT`]. The consumer of such a
    /// turn is gone: the caller's runtime ended, or the caller dropped the turn to start another.
    pub(crate) async fn wait_for_killed(&self, session: &SessionId) {
        let is_killed = || {
            let consumer = self.known().get(session).cloned().flatten();
            consumer.is_some_and(|consumer| consumer.upgrade().is_none_or(|consumer| consumer.is_closed()))
        };
        let left = async {
            loop {
                let mut left = pin!(self.left.notified());
                left.as_mut().enable();
                if !is_killed() {
                    return;
                }
                left.await;
            }
        };
        // If it takes longer, the session is busy.
        tokio::time::timeout(KILL_TIMEOUT, left).await.ok();
    }
}

/// The right to run a turn in a session. Dropping it releases the session.
pub(crate) struct TakenSession {
    sessions: Arc<Sessions>,
    session: SessionId,
}

impl Drop for TakenSession {
    fn drop(&mut self) {
        if let Some(consumer) = self.sessions.known().get_mut(&self.session) {
            *consumer = None;
        }
        self.sessions.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[test]
    fn session_is_leased_to_one_turn_at_a_time() {
        let (sessions, (consumer, _receiver)) = (Arc::new(Sessions::default()), mpsc::channel(1));
        let taken = sessions.take(&SessionId::new("a"), consumer.downgrade()).unwrap();
        assert!(sessions.take(&SessionId::new("a"), consumer.downgrade()).is_none());
        drop(taken);
        assert!(sessions.take(&SessionId::new("a"), consumer.downgrade()).is_some());
    }

    #[test]
    fn remembered_sessions_are_bounded() {
        let (sessions, (consumer, _receiver)) = (Arc::new(Sessions::default()), mpsc::channel(1));
        let busy = sessions.take(&SessionId::new("busy"), consumer.downgrade());
        for id in 0..3 * MAX_IDLE_SESSIONS {
            drop(sessions.take(&SessionId::new(id.to_string()), consumer.downgrade()));
            assert!(sessions.known().len() <= MAX_IDLE_SESSIONS);
        }
        assert!(sessions.take(&SessionId::new("busy"), consumer.downgrade()).is_none());
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn turn_waits_only_for_killed_turn() {
        let (sessions, (consumer, receiver)) = (Arc::new(Sessions::default()), mpsc::channel(1));
        let taken = sessions.take(&SessionId::new("a"), consumer.downgrade());
        let began = tokio::time::Instant::now();
        sessions.wait_for_killed(&SessionId::new("a")).await;
        sessions.wait_for_killed(&SessionId::new("b")).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(receiver);
        let session = SessionId::new("a");
        tokio::join!(sessions.wait_for_killed(&session), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(taken);
        });
        assert_eq!(began.elapsed().as_secs(), 1);
    }
}
