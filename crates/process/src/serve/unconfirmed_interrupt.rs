//! Interrupts without a visible effect, on a server that other turns need.

use super::directories::EndedTurn;
use super::server::Server;
use crate::protocol::Request;
use crate::protocol::turn::{INTERRUPT_INTERVAL, INTERRUPT_TIMEOUT};
use opencode_run_core::SessionId;
use std::sync::Weak;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long an interrupt may take before its server is ended, if other turns are active there: they would be lost. A busy
/// server confirms an interrupt after a few seconds.
const SHARED_INTERRUPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of a request to such a server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The interrupt of a turn that has been reported as ended, although its server has not confirmed that.
#[derive(Debug)]
pub(crate) struct UnconfirmedInterrupt {
    /// Held weakly: without another turn the server ends at once.
    pub(super) server: Weak<Server>,
    pub(super) session: SessionId,
    /// The request that interrupts the session.
    pub(super) request: Request,
    pub(super) turn: EndedTurn,
}

/// The next action for an unconfirmed interrupt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Retry,
    EndServer,
}

/// Returns the next action this long after the turn was reported as interrupted.
fn next(waited: Duration, has_other_turns: bool) -> Next {
    if has_other_turns && INTERRUPT_TIMEOUT + waited < SHARED_INTERRUPT_TIMEOUT { Next::Retry } else { Next::EndServer }
}

impl UnconfirmedInterrupt {
    /// Retries the interrupt, and kills the processes that the turn still starts, until the server confirms it. If the
    /// server does not within [`SHARED_INTERRUPT_TIMEOUT`], or has no other turn any more, it is killed.
    pub(crate) async fn resolve(self) {
        let began = Instant::now();
        loop {
            sleep(INTERRUPT_INTERVAL).await;
            let Some(server) = self.server.upgrade() else { return };
            if server.exit().is_some() {
                return;
            }
            if next(began.elapsed(), server.is_active()) == Next::EndServer {
                tracing::warn!(session = %self.session, "ending an opencode server that does not confirm an interrupt");
                return server.end().await;
            }
            let (_, is_busy) = tokio::join!(
                timeout(REQUEST_TIMEOUT, server.client.send(self.request.clone())),
                timeout(REQUEST_TIMEOUT, server.client.is_busy(&self.turn.directory, &self.session)),
            );
            server.kill_leftovers(self.turn.clone()).await;
            if matches!(is_busy, Ok(Ok(false))) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_with_other_turns_gets_more_time() {
        let seconds = Duration::from_secs;
        assert_eq!(next(seconds(7), true), Next::Retry);
        assert_eq!(next(seconds(8), true), Next::EndServer);
        assert_eq!(next(seconds(0), false), Next::EndServer);
    }
}
