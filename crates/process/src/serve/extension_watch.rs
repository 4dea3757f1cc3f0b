//! Watches the MCP servers and plugins of a turn's directory.

use super::server::Server;
use crate::protocol::{Extensions, pending_warning};
use opencode_run_core::{Event, Observed, Signal, Warning};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long MCP servers may take to start without a warning. One that is fetched by a package manager takes one to two
/// seconds from its cache.
const START_LIMIT: Duration = Duration::from_secs(3);
/// The pause between two checks of servers that are starting.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a finished turn waits for the result: opencode 1 has waited for the MCP servers before the turn's first step.
const END_LIMIT: Duration = Duration::from_millis(300);

/// Watches the MCP servers and plugins of a directory until all of them have started or failed.
#[derive(Debug, Default)]
pub(crate) struct ExtensionWatch(Option<(mpsc::UnboundedReceiver<Warning>, AbortOnDropHandle<()>)>);

impl ExtensionWatch {
    /// Starts the watch. Dropping it ends it.
    pub(crate) fn start(server: Arc<Server>, directory: PathBuf) -> Self {
        // At most one warning for each failure, whose number is bounded.
        let (warnings, receiver) = mpsc::unbounded_channel();
        let watching = tokio::spawn(async move { watch(&server, &directory, &warnings).await });
        Self(Some((receiver, AbortOnDropHandle::new(watching))))
    }

    /// Returns the next warning. Never returns after the last one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        if let Some((warnings, _)) = &mut self.0
            && let Some(warning) = warnings.recv().await
        {
            return signal(warning);
        }
        self.0 = None;
        std::future::pending().await
    }

    /// Ends the watch. Returns the remaining warnings; for a turn that was not stopped, it waits a little for them.
    pub(crate) async fn finish(&mut self, was_stopped: bool) -> Vec<Signal> {
        let Some((mut receiver, watching)) = self.0.take() else { return Vec::new() };
        if !was_stopped {
            tokio::time::timeout(END_LIMIT, watching).await.ok();
        }
        std::iter::from_fn(|| receiver.try_recv().ok()).map(signal).collect()
    }
}

fn signal(warning: Warning) -> Signal {
    Observed::new(Event::Warning(warning)).into()
}

async fn watch(server: &Server, directory: &Path, warnings: &mpsc::UnboundedSender<Warning>) {
    let pending_at = Instant::now() + START_LIMIT;
    let mut is_reported = false;
    let mut sent = Vec::new();
    let mut report = |extensions: &Extensions| {
        for warning in extensions.warnings() {
            if !sent.contains(&warning) {
                sent.push(warning.clone());
                warnings.send(warning).ok();
            }
        }
    };
    loop {
        let mut request = std::pin::pin!(server.client.extensions(directory));
        let answer = tokio::select! {
            answer = &mut request => answer,
            () = tokio::time::sleep_until(pending_at), if !is_reported => {
                is_reported = true;
                match server.client.pending_servers(directory).await {
                    Ok(names) if !names.is_empty() => drop(warnings.send(pending_warning(&names))),
                    _ => {}
                }
                request.await
            }
        };
        match answer {
            Ok(extensions) => {
                report(&extensions);
                if extensions.pending_servers.is_empty() {
                    break;
                }
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the states of MCP servers are unknown");
                break;
            }
        }
    }
    report(&Extensions { failed_plugins: server.dispatcher.plugin_failures(directory), ..Extensions::default() });
}
