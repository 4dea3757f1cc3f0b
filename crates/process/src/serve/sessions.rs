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
/// How long a turn waits for another turn that is leaving its session. An interrupt takes at most ten seconds, and ending
/// a server that ignores it a few more.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(15);

/// The use of a session.
#[derive(Debug, Clone)]
enum Occupancy {
    Idle,
    /// A turn with this consumer is active.
    Active(WeakSender<Signal>),
    /// A turn has been reported as ended, and its server may still be working on it.
    Leaving,
}

/// The sessions of an executor.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: Mutex<HashMap<SessionId, Occupancy>>,
    /// Notified when a turn has left its session.
    left: Notify,
}

impl Sessions {
    // Held for plain look-ups and assignments only.
    fn known(&self) -> MutexGuard<'_, HashMap<SessionId, Occupancy>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a turn is known to have run, or runs, in a session.
    pub(crate) fn has_had_turn(&self, session: &SessionId) -> bool {
        self.known().contains_key(session)
    }

    /// Forgets a session, unless a turn is active in it or is leaving it.
    pub(crate) fn forget(&self, session: &SessionId) {
        let mut known = self.known();
        if matches!(known.get(session), Some(Occupancy::Idle)) {
            known.remove(session);
        }
    }

    /// Acquires a session for a turn with this consumer, unless another turn has it.
    pub(crate) fn take(self: &Arc<Self>, session: &SessionId, consumer: WeakSender<Signal>) -> Option<TakenSession> {
        let mut known = self.known();
        if known.get(session).is_some_and(|occupancy| !matches!(occupancy, Occupancy::Idle)) {
            return None;
        }
        if known.len() >= MAX_IDLE_SESSIONS {
            known.retain(|_, occupancy| !matches!(occupancy, Occupancy::Idle));
        }
        known.insert(session.clone(), Occupancy::Active(consumer));
        Some(TakenSession { sessions: Arc::clone(self), session: session.clone() })
    }

    /// Waits until a turn that is leaving a session has left it, at most [`LEAVE_TIMEOUT`]. Such a turn was interrupted,
    /// or its consumer is gone: the caller's runtime ended, or the caller dropped the turn to start another.
    pub(crate) async fn wait_for_leaving(&self, session: &SessionId) {
        let is_leaving = || match self.known().get(session).cloned() {
            Some(Occupancy::Active(consumer)) => consumer.upgrade().is_none_or(|consumer| consumer.is_closed()),
            Some(Occupancy::Leaving) => true,
            Some(Occupancy::Idle) | None => false,
        };
        let left = async {
            loop {
                let mut left = pin!(self.left.notified());
                left.as_mut().enable();
                if !is_leaving() {
                    return;
                }
                left.await;
            }
        };
        // If it takes longer, the session is busy.
        tokio::time::timeout(LEAVE_TIMEOUT, left).await.ok();
    }
}

/// The right to run a turn in a session. Dropping it releases the session.
pub(crate) struct TakenSession {
    sessions: Arc<Sessions>,
    session: SessionId,
}

impl TakenSession {
    /// Lets further turns wait for the release of the session, whether the turn's consumer is gone or not.
    pub(crate) fn leave(&self) {
        self.set(Occupancy::Leaving);
    }

    fn set(&self, occupancy: Occupancy) {
        if let Some(known) = self.sessions.known().get_mut(&self.session) {
            *known = occupancy;
        }
    }
}

impl Drop for TakenSession {
    fn drop(&mut self) {
        self.set(Occupancy::Idle);
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
    async fn turn_waits_only_for_leaving_turn() {
        let (sessions, (consumer, receiver)) = (Arc::new(Sessions::default()), mpsc::channel(1));
        let taken = sessions.take(&SessionId::new("a"), consumer.downgrade());
        let began = tokio::time::Instant::now();
        sessions.wait_for_leaving(&SessionId::new("a")).await;
        sessions.wait_for_leaving(&SessionId::new("b")).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(receiver);
        let session = SessionId::new("a");
        tokio::join!(sessions.wait_for_leaving(&session), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(taken);
        });
        assert_eq!(began.elapsed().as_secs(), 1);
        let (consumer, _receiver) = mpsc::channel(1);
        let taken = sessions.take(&session, consumer.downgrade()).unwrap();
        taken.leave();
        sessions.forget(&session);
        tokio::join!(sessions.wait_for_leaving(&session), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(taken);
        });
        assert_eq!(began.elapsed().as_secs(), 2);
    }
}
