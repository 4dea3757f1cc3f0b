//! Deletes sessions from opencode's history.

use super::find::CleanRequest;
use opencode_run_core::ErrorChain;
use opencode_runner::supervisor;
use opencode_runner::{Host, Runner};
use std::path::PathBuf;

/// Deletes sessions with one server. Returns the number of deleted sessions, and the reason if some remain.
pub(super) async fn delete(requests: Vec<CleanRequest>, opencode: Option<PathBuf>) -> (usize, Option<String>) {
    let mut builder = Host::builder().lean(true).supervisor(supervisor::current());
    if let Some(opencode) = opencode {
        builder = builder.opencode(opencode);
    }
    let host = match builder.build().await {
        Ok(host) => host,
        Err(error) => return (0, Some(format!("sessions cannot be deleted: {}", ErrorChain::new(&error)))),
    };
    let mut deleted = 0;
    let mut problem = None;
    for CleanRequest { journals, directory, session } in requests {
        let name = session.to_string();
        // The journal with this session proves that our task created it.
        let runner = host.runner().dir(directory).journal(journals).resume().session(session).ephemeral(true);
        let closed = match runner.build().await {
            Ok(runner) => close(runner).await,
            Err(error) => Err(ErrorChain::new(&error).to_string()),
        };
        match closed {
            Ok(()) => deleted += 1,
            Err(error) => problem = Some(format!("session {name} cannot be deleted: {error}")),
        }
    }
    host.shutdown().await;
    (deleted, problem)
}

async fn close(runner: Runner) -> Result<(), String> {
    runner.close().await.map_err(|error| ErrorChain::new(&error).to_string())
}
