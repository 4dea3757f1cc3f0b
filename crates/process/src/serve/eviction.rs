//! Evicts directories from a server's memory when their tasks are over.

use super::server::Server;
use futures_util::future::join_all;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The timeout of evictions that no caller waits for.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// A directory that is being evicted. Dropping it lets turns begin there.
struct Evicting<'a> {
    server: &'a Server,
    directory: &'a Path,
}

impl<'a> Evicting<'a> {
    /// Marks a directory; `None` if it is being evicted already.
    fn new(server: &'a Server, directory: &'a Path) -> Option<Self> {
        let is_new = server.evicting.send_if_modified(|evicting| evicting.insert(directory.to_owned()));
        // Only then: its drop removes the mark.
        is_new.then(|| Self { server, directory })
    }
}

impl Drop for Evicting<'_> {
    fn drop(&mut self) {
        self.server.evicting.send_modify(|evicting| {
            evicting.remove(self.directory);
        });
    }
}

impl Server {
    /// Releases the server's state for a directory, if a turn of ours worked there and none does now.
    pub(crate) async fn dispose(&self, directory: &Path) {
        // Marked before the look at the active turns, so that a turn that begins later waits.
        let Some(_evicting) = Evicting::new(self, directory) else { return };
        if !self.directories().forget(directory) {
            return;
        }
        self.known_agents.lock().unwrap_or_else(PoisonError::into_inner).remove(directory);
        self.dispatcher.forget_plugin_failures(directory);
        if let Err(error) = self.client.dispose(directory).await {
            tracing::debug!(%error, "a directory could not be disposed of");
        }
    }

    /// Records that a user of a directory was dropped, see [`dispose_abandoned`](Self::dispose_abandoned).
    pub(crate) fn abandon(&self, directory: &Path) {
        self.directories().abandon(directory, Instant::now());
    }

    /// Releases the server's state for the directories whose users were dropped at least this long ago.
    pub(crate) async fn dispose_abandoned(&self, limit: Duration) {
        let due: Vec<PathBuf> = self.directories().take_abandoned(Instant::now(), limit);
        let released = join_all(due.iter().map(|directory| self.dispose(directory)));
        if tokio::time::timeout(BACKGROUND_TIMEOUT, released).await.is_err() {
            tracing::debug!("a server is too slow to release directories");
        }
    }
}
