//! Handles signals that ask the command to end.

use super::exit_code::Code;
use super::monitor::Link;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The signals received so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// The number of signals.
    pub(crate) count: u32,
    /// The exit code for the last one.
    pub(crate) code: Option<Code>,
}

/// The interval within which the same signal to this process and to the monitor counts as one event.
#[cfg(unix)]
const SAME_EVENT: Duration = Duration::from_secs(1);

/// The interval within which the same signal to the monitor again counts as one event: `timeout` signals its child
/// and then its group.
#[cfg(unix)]
const SAME_SENDER: Duration = Duration::from_millis(50);

/// Counts a signal.
fn count(sender: &watch::Sender<Received>, code: Code) {
    sender.send_modify(|received| {
        received.count += 1;
        received.code = Some(code);
    });
}

/// Counts the signals of one kind that this process receives, unless the monitor forwards them too. `forwarded` is
/// the time of the last forwarded one.
#[cfg(unix)]
async fn collect(
    mut signals: tokio::signal::unix::Signal,
    code: Code,
    sender: watch::Sender<Received>,
    mut forwarded: Option<watch::Receiver<Option<Instant>>>,
) {
    while signals.recv().await.is_some() {
        if let Some(forwarded) = &mut forwarded {
            let is_recent = |last: &Option<Instant>| last.is_some_and(|last| last.elapsed() < SAME_EVENT);
            if tokio::time::timeout(SAME_EVENT, forwarded.wait_for(is_recent)).await.is_ok_and(|last| last.is_ok()) {
                continue;
            }
        }
        count(&sender, code);
    }
}

/// Makes a write beyond the file size limit (`ulimit -f`) fail with an error instead of ending the process by
/// SIGXFSZ. Uses a handler, because an ignored signal would stay ignored in opencode.
///
/// # Errors
///
/// If no handler can be installed.
#[cfg(unix)]
pub(crate) fn survive_file_size_limit() -> std::io::Result<()> {
    let signal = rustix::process::Signal::XFSZ.as_raw();
    if !opencode_run_process::ignored_signals().contains(signal) {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// Collects signals. The first asks for a graceful end, the second for an immediate one.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    received: watch::Receiver<Received>,
    no_timeout: Arc<AtomicBool>,
}

impl Signals {
    /// Begins to collect; from then on a signal no longer ends the process itself. A signal that the process was
    /// started to ignore, for example by `nohup` or as a background job of a script, stays ignored.
    ///
    /// With a monitor, its signals count. A signal to this process counts only if the monitor does not receive the
    /// same one: a terminal, and every other sender to the group, sends it to both.
    #[cfg(unix)]
    pub(crate) fn listen(link: Link) -> std::io::Result<Self> {
        use opencode_run_process::ignored_signals;
        use tokio::io::AsyncReadExt;
        use tokio::signal::unix::{SignalKind, signal};

        let ignored = ignored_signals();
        let (sender, receiver) = watch::channel(Received::default());
        let codes = [
            (SignalKind::interrupt(), Code::INTERRUPT),
            (SignalKind::terminate(), Code::TERMINATE),
            (SignalKind::hangup(), Code::HANGUP),
        ];
        // For each signal, the time at which the monitor last received it.
        let mut forwarded = Vec::new();
        for (kind, code) in codes {
            let (forward, last) = watch::channel(None);
            if !ignored.contains(kind.as_raw_value()) {
                let signals = signal(kind)?;
                tokio::spawn(collect(signals, code, sender.clone(), link.signals.is_some().then_some(last)));
            }
            forwarded.push((kind.as_raw_value(), code, forward));
        }
        if let Some(signals) = link.signals {
            #[cfg(target_os = "linux")]
            tokio::spawn(super::monitor::keep_monitor_running());
            signals.set_nonblocking(true)?;
            let mut signals = tokio::net::UnixStream::from_std(signals)?;
            tokio::spawn(async move {
                while let Ok(number) = signals.read_u8().await {
                    if let Some((_, code, forward)) = forwarded.iter().find(|(kind, ..)| *kind == i32::from(number)) {
                        let last = forward.send_replace(Some(Instant::now()));
                        if last.is_none_or(|last| last.elapsed() >= SAME_SENDER) {
                            count(&sender, *code);
                        }
                    }
                }
            });
        }
        Ok(Self::of(receiver))
    }

    /// Begins to collect Ctrl-C; from then on it no longer ends the process itself.
    #[cfg(not(unix))]
    pub(crate) fn listen(_: Link) -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(Received::default());
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                count(&sender, Code::INTERRUPT);
            }
        });
        Ok(Self::of(receiver))
    }

    fn of(received: watch::Receiver<Received>) -> Self {
        Self { received, no_timeout: Arc::default() }
    }

    /// Returns the exit code for the last signal, if there was one.
    pub(crate) fn code(&self) -> Option<Code> {
        self.received.borrow().code
    }

    /// Waits until this many signals have arrived since the start.
    pub(crate) async fn reach(&mut self, count: u32) -> Received {
        let reached = self.received.wait_for(|received| received.count >= count).await.map(|received| *received).ok();
        match reached {
            Some(received) => received,
            // The collector has stopped: no signal will arrive.
            None => std::future::pending().await,
        }
    }

    /// Returns the number of received signals.
    pub(crate) fn count(&self) -> u32 {
        self.received.borrow().count
    }

    /// Disables the shutdown timeout, for a caller that continues after a signal and decides itself when to end.
    pub(crate) fn disable_shutdown_timeout(&self) {
        self.no_timeout.store(true, Ordering::Relaxed);
    }

    /// Returns whether the shutdown timeout is disabled.
    pub(crate) fn is_shutdown_timeout_disabled(&self) -> bool {
        self.no_timeout.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[tokio::test]
    async fn duplicate_signal_counts_once() {
        let (mut monitor, worker) = UnixStream::pair().unwrap();
        let mut signals = Signals::listen(Link { signals: Some(worker), traced: false }).unwrap();
        let term = u8::try_from(tokio::signal::unix::SignalKind::terminate().as_raw_value()).unwrap();
        monitor.write_all(&[term, term]).unwrap();
        let received = signals.reach(1).await;
        assert_eq!(received.code, Some(Code::TERMINATE));
        tokio::time::sleep(SAME_SENDER * 2).await;
        assert_eq!(signals.count(), 1);
        monitor.write_all(&[term]).unwrap();
        assert_eq!(signals.reach(2).await.count, 2);
    }
}
