//! How long is waited between attempts: exponential, with jitter, so that those who met once do not meet again.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// The shortest pause before opencode is started again because another one has its database locked. opencode itself waits up to
/// five seconds for the lock.
pub(crate) const MIN_LOCKED_PAUSE: Duration = Duration::from_secs(1);

/// Returns the pauses before opencode is started again, `max_restarts` at most, because its database is locked.
pub(crate) fn locked_database(max_restarts: usize) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(MIN_LOCKED_PAUSE)
        .with_max_delay(Duration::from_secs(4))
        .with_factor(1.5)
        .with_max_times(max_restarts)
        .with_jitter()
        .build()
}

/// Returns the pauses between attempts to reconnect to a server's event stream, without end.
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
    fn pauses_differ_between_runners_of_a_process() {
        let pauses: Vec<Vec<_>> = (0..8).map(|_| locked_database(5).collect()).collect();
        assert!(pauses.iter().all(|pauses| pauses.len() == 5 && pauses.iter().all(|pause| *pause >= MIN_LOCKED_PAUSE)));
        assert!(pauses.iter().any(|other| *other != pauses[0]), "{pauses:?}");
    }

    #[test]
    fn reconnecting_never_ends_and_is_bounded() {
        assert!(reconnect().take(1000).count() == 1000 && reconnect().take(1000).all(|pause| pause.as_secs() <= 4));
    }
}
