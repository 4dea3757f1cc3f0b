//! Ending what turns leave at work, for many turns at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The directories that are to be swept.
///
/// A look at all processes of the system costs milliseconds, for however many directories it is. So who comes while one is
/// taken waits for its end, and the next is taken for all who have come by then.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    waiting: Mutex<Vec<(u64, PathBuf)>>,
    tickets: AtomicU64,
    under_way: tokio::sync::Mutex<()>,
}

impl Sweeps {
    /// Sweeps a directory by `sweep`, which is called for all that wait, unless somebody else takes it along.
    pub(crate) async fn sweep<F: Future<Output = ()>>(
        &self,
        directory: PathBuf,
        sweep: impl FnOnce(Vec<PathBuf>) -> F,
    ) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        self.waiting().push((ticket, directory));
        let _turn = self.under_way.lock().await;
        let all = {
            let mut waiting = self.waiting();
            if !waiting.iter().any(|(other, _)| *other == ticket) {
                return;
            }
            waiting.drain(..).map(|(_, directory)| directory).collect()
        };
        sweep(all).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(u64, PathBuf)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn who_comes_during_a_sweep_shares_the_next() {
        let (sweeps, swept) = (Sweeps::default(), Mutex::new(Vec::new()));
        let sweep = |name: &'static str| {
            sweeps.sweep(name.into(), |all| {
                swept.lock().unwrap().push(all);
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
