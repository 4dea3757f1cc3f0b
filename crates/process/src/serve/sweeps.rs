//! Ending what turns leave at work, for many turns at once.

use super::places::EndedTurn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The turns whose processes must end.
///
/// A scan of all processes of the system costs milliseconds, for however many turns it is. So turns that end during one sweep wait
/// for its end, and the next one is for all of them.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    waiting: Mutex<Vec<(u64, EndedTurn)>>,
    tickets: AtomicU64,
    under_way: tokio::sync::Mutex<()>,
}

impl Sweeps {
    /// Ends what a turn left by `sweep`, which is called for all that wait, unless another call has included this one.
    pub(crate) async fn sweep<F: Future<Output = ()>>(&self, turn: EndedTurn, sweep: impl FnOnce(Vec<EndedTurn>) -> F) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        self.waiting().push((ticket, turn));
        let _turn = self.under_way.lock().await;
        let all = {
            let mut waiting = self.waiting();
            if !waiting.iter().any(|(other, _)| *other == ticket) {
                return;
            }
            waiting.drain(..).map(|(_, turn)| turn).collect()
        };
        sweep(all).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(u64, EndedTurn)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Moment;
    use std::path::PathBuf;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn who_comes_during_a_sweep_shares_the_next() {
        let (sweeps, swept) = (Sweeps::default(), Mutex::new(Vec::new()));
        let sweep = |name: &'static str| {
            let turn = EndedTurn { directory: name.into(), began: Moment::now() };
            sweeps.sweep(turn, |all| {
                swept.lock().unwrap().push(all.into_iter().map(|turn| turn.directory).collect::<Vec<_>>());
                tokio::time::sleep(Duration::from_millis(5))
            })
        };
        tokio::join!(sweep("a"), async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::join!(sweep("b"), sweep("c"), sweep("c"))
        });
        let swept = swept.into_inner().unwrap();
        assert_eq!(swept, [vec![PathBuf::from("a")], vec!["b".into(), "c".into(), "c".into()]]);
    }
}
