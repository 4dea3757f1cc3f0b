//! Pauses between attempts: exponential backoff with jitter, so that processes that collided once do not collide again.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// The shortest pause before opencode is restarted because another opencode has locked the database. opencode itself
/// waits up to five seconds for the lock.
pub(crate) const MIN_LOCKED_PAUSE: Duration = Duration::from_secs(1);

/// Returns the pauses before at most `max_restarts` restarts of opencode because of a locked database.
pub(crate) fn locked_database(max_restarts: usize) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(MIN_LOCKED_PAUSE)
        .with_max_delay(Duration::from_secs(4))
        .with_factor(1.5)
        .with_max_times(max_restarts)
        .with_jitter()
        .build()
}

/// Returns the endless pauses between attempts to reconnect to a server's event stream.
pub(crate) fn reconnect() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_factor(2.0)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_within_a_process() {
        let pauses: Vec<Vec<_>> = (0..8).map(|_| locked_database(5).collect()).collect();
        assert!(pauses.iter().all(|pauses| pauses.len() == 5 && pauses.iter().all(|pause| *pause >= MIN_LOCKED_PAUSE)));
        assert!(pauses.iter().any(|other| *other != pauses[0]), "{pauses:?}");
    }

    #[test]
    fn reconnect_pauses_never_end_and_are_capped() {
        assert!(reconnect().take(1000).count() == 1000 && reconnect().take(1000).all(|pause| pause.as_secs() <= 4));
    }
}
