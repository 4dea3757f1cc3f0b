//! Files and locks that workspaces share.

use super::WorkspaceError;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// The beginning of the name of a private git directory.
pub(crate) const PRIVATE_PREFIX: &str = ".opencode-run-patch-";
/// The interval of retries of a lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Opens a lock file, creating it if it does not exist. It is never deleted, because then two processes could lock
/// different files.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Waits for an exclusive lock. Dropping the file releases it, and so does the end of the process.
///
/// # Errors
///
/// If the file cannot be opened, or the lock is held for longer than the limit.
pub(crate) async fn lock_exclusively(path: &Path, limit: Duration) -> Result<File, WorkspaceError> {
    lock(path, limit, File::try_lock).await
}

/// Waits for a shared lock.
///
/// # Errors
///
/// As [`lock_exclusively`].
pub(crate) async fn lock_shared(path: &Path, limit: Duration) -> Result<File, WorkspaceError> {
    lock(path, limit, File::try_lock_shared).await
}

async fn lock(
    path: &Path,
    limit: Duration,
    try_lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<File, WorkspaceError> {
    let file = open_lock(path).map_err(WorkspaceError::io("open", path))?;
    let locked = async {
        loop {
            match try_lock(&file) {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_INTERVAL).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    };
    let locked = tokio::time::timeout(limit, locked).await;
    let locked =
        locked.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds the lock")));
    locked.map_err(WorkspaceError::io("lock", path))?;
    Ok(file)
}

/// Writes a file for the user alone, unless it holds these bytes already.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_file = path.symlink_metadata().is_ok_and(|data| data.is_file());
    if is_file && std::fs::read(path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Removes a directory with its content, even if the agent made directories in it read-only. Links are not followed.
///
/// # Errors
///
/// If something in it cannot be removed. A directory that does not exist is not an error.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_removable(path)?;
            std::fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

/// Gives the user all rights on the directories of a tree.
fn make_removable(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // The type of a link is that of the link.
        if entry.file_type()?.is_dir() {
            make_removable(&entry.path())?;
        }
    }
    Ok(())
}

/// Does blocking work without blocking the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down.
            Err(_) => std::future::pending().await,
        },
    }
}
