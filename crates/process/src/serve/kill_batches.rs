//! Kills the processes that turns leave, in batches of turns.

use super::directories::EndedTurn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The finished turns whose processes must be killed.
///
/// A `/proc` scan costs milliseconds, however many turns it serves. So turns that end during one scan wait for its end,
/// and the next scan serves all of them.
#[derive(Debug, Default)]
pub(crate) struct KillBatches {
    waiting: Mutex<Vec<(u64, EndedTurn)>>,
    tickets: AtomicU64,
    running: tokio::sync::Mutex<()>,
}

impl KillBatches {
    /// Kills the leftovers of a turn with `kill_leftovers`, which gets all waiting turns, unless another call has
    /// included this one.
    pub(crate) async fn kill_leftovers<F: Future<Output = ()>>(
        &self,
        turn: EndedTurn,
        kill_leftovers: impl FnOnce(Vec<EndedTurn>) -> F,
    ) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        self.waiting().push((ticket, turn));
        let _turn = self.running.lock().await;
        let all = {
            let mut waiting = self.waiting();
            if !waiting.iter().any(|(other, _)| *other == ticket) {
                return;
            }
            waiting.drain(..).map(|(_, turn)| turn).collect()
        };
        kill_leftovers(all).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(u64, EndedTurn)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_containment::StartTime;
    use std::path::PathBuf;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn waiting_turns_share_the_next_scan() {
        let kill_batches = KillBatches::default();
        let killed = Mutex::new(Vec::new());
        let kill_leftovers = |name: &'static str| {
            let turn = EndedTurn { directory: name.into(), began: StartTime::now() };
            kill_batches.kill_leftovers(turn, |all| {
                killed.lock().unwrap().push(all.into_iter().map(|turn| turn.directory).collect::<Vec<_>>());
                tokio::time::sleep(Duration::from_millis(5))
            })
        };
        tokio::join!(kill_leftovers("a"), async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::join!(kill_leftovers("b"), kill_leftovers("c"), kill_leftovers("c"))
        });
        let killed = killed.into_inner().unwrap();
        assert_eq!(killed, [vec![PathBuf::from("a")], vec!["b".into(), "c".into(), "c".into()]]);
    }
}
