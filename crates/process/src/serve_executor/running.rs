//! Runs a turn that has been prepared.

use super::{Prepared, Servers, Shared};
use std::sync::Arc;

impl Prepared {
    /// Runs the turn to its end, and recycles its server if that has grown too large.
    pub(super) async fn run(self, shared: Arc<Shared>) {
        let Self { turn, taken } = self;
        let server = Arc::downgrade(turn.turn_guard.server());
        let mut over = turn.run().await;
        if let Some(interrupt) = over.take_unconfirmed() {
            if let (Servers::Own(pool), Some(server)) = (&shared.servers, server.upgrade()) {
                pool.drain(&server);
            }
            // A further turn in the session waits until the server is done with this one.
            taken.leave();
            tokio::spawn(async move {
                interrupt.resolve().await;
                drop(taken);
            });
        } else {
            drop(taken);
        }
        // A consumer that never reads the end keeps only this runtime alive, and no server.
        let background = Arc::clone(&shared.background);
        let executor = Arc::downgrade(&shared);
        let abandoned_timeout = shared.abandoned_timeout();
        drop(shared);
        over.deliver_end().await;
        if let Some(server) = server.upgrade() {
            server.dispose_abandoned(abandoned_timeout).await;
        }
        if let (Some(shared), Some(server)) = (executor.upgrade(), server.upgrade())
            && let Servers::Own(pool) = &shared.servers
        {
            pool.recycle_if_large(&server).await;
        }
        drop(background);
    }
}
