//! Signals that end a subcommand.

use crate::console::Console;
use crate::exit_code::Code;
use crate::output::OutputError;
use crate::signals::Signals;
use std::time::Duration;

/// The shutdown timeout: the maximum time between a signal or a time limit and the end of the process if stdout is
/// blocked, longer than interrupting a turn takes.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);
/// The shutdown timeout after a second signal, which kills.
const KILL_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs work that can be cancelled until a signal arrives.
pub(super) async fn until_signal(mut signals: Signals, work: impl Future<Output = Code>) -> Code {
    tokio::select! {
        code = work => code,
        received = signals.reach(1) => received.code.unwrap_or(Code::INTERRUPT),
    }
}

/// Returns when a signal has arrived and the shutdown timeout is over. Chat handles its own signals.
pub(super) async fn shutdown_timeout(mut signals: Signals) -> Code {
    let received = signals.reach(1).await;
    let killed = async {
        signals.reach(2).await;
        tokio::time::sleep(KILL_SHUTDOWN_TIMEOUT).await;
    };
    tokio::select! {
        () = tokio::time::sleep(SHUTDOWN_TIMEOUT) => {}
        () = killed => {}
    }
    if signals.is_shutdown_timeout_disabled() {
        return std::future::pending().await;
    }
    // The turn has ended by then, and only its output is blocked.
    Console::warning(&OutputError::Stuck.to_string());
    received.code.unwrap_or(Code::INTERRUPT)
}
