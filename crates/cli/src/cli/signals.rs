//! Signals that ask the command to end.

use super::exit_code::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// What has come so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// How many signals have come.
    pub(crate) count: u32,
    /// The code that the last one asks for.
    pub(crate) code: Option<Code>,
}

/// Collects signals. The first asks for a gentle end, the second for an immediate one.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    received: watch::Receiver<Received>,
    patient: Arc<AtomicBool>,
}

impl Signals {
    /// Begins to collect; from here on a signal no longer ends the process by itself. A signal that the process was started to ignore,
    /// as by `nohup` or as a background job of a script, stays ignored.
    #[cfg(unix)]
    pub(crate) fn listen() -> std::io::Result<Self> {
        use opencode_run_process::ignored_signals;
        use tokio::signal::unix::{SignalKind, signal};
        let ignored = ignored_signals();
        let (sender, receiver) = watch::channel(Received::default());
        for (kind, code) in [
            (SignalKind::interrupt(), Code::INTERRUPT),
            (SignalKind::terminate(), Code::TERMINATE),
            (SignalKind::hangup(), Code::HANGUP),
        ] {
            if ignored.contains(kind.as_raw_value()) {
                continue;
            }
            let mut signals = signal(kind)?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    sender.send_modify(|received| {
                        received.count += 1;
                        received.code = Some(code);
                    });
                }
            });
        }
        Ok(Self::of(receiver))
    }

    /// Begins to collect Ctrl-C; from here on it no longer ends the process by itself.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(Received::default());
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                sender.send_modify(|received| {
                    received.count += 1;
                    received.code = Some(Code::INTERRUPT);
                });
            }
        });
        Ok(Self::of(receiver))
    }

    fn of(received: watch::Receiver<Received>) -> Self {
        Self { received, patient: Arc::default() }
    }

    /// Returns the code that the last signal asks for, if one has come.
    pub(crate) fn code(&self) -> Option<Code> {
        self.received.borrow().code
    }

    /// Waits until so many signals have come, all since the start counted.
    pub(crate) async fn reach(&mut self, count: u32) -> Received {
        let reached = self.received.wait_for(|received| received.count >= count).await.map(|received| *received).ok();
        match reached {
            Some(received) => received,
            // Nobody collects any more: no signal will come.
            None => std::future::pending().await,
        }
    }

    /// Returns how many signals have come.
    pub(crate) fn count(&self) -> u32 {
        self.received.borrow().count
    }

    /// Says that whoever holds this goes on after a signal, and knows when to end.
    pub(crate) fn be_patient(&self) {
        self.patient.store(true, Ordering::Relaxed);
    }

    /// Returns whether somebody goes on after a signal.
    pub(crate) fn is_patient(&self) -> bool {
        self.patient.load(Ordering::Relaxed)
    }
}
