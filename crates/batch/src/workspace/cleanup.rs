//! Mirrors and clones that no batch uses, for deletion.

use super::checkout::{KEPT, LEASE, MIRRORS, is_task_name};
use super::files::{PRIVATE_PREFIX, open_lock, remove_tree};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use walkdir::WalkDir;

/// A directory of ours that no process uses. It stays locked until this is dropped.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnusedDirectory {
    /// The path of the directory.
    pub path: PathBuf,
    /// The size of the directory in bytes.
    pub bytes: u64,
    /// The time of the last change.
    pub modified: SystemTime,
    /// Whether a batch kept the directory on purpose; otherwise the batch was killed.
    pub is_kept: bool,
    mark: Option<PathBuf>,
    _lock: Arc<File>,
}

impl UnusedDirectory {
    /// Deletes the directory. Links in it are not followed.
    ///
    /// # Errors
    ///
    /// If something in it cannot be deleted.
    pub fn remove(self) -> io::Result<()> {
        remove_tree(&self.path)?;
        match self.mark.map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Returns the mirrors in a cache directory that no batch uses. The next batch that needs one fetches it again.
#[must_use]
pub fn unused_mirrors(cache: &Path) -> Vec<UnusedDirectory> {
    let folder = cache.join(MIRRORS);
    let mirrors = directories(&folder);
    let unused =
        mirrors.filter(|path| path.extension().is_some_and(|extension| extension == "git")).filter_map(|path| {
            // Also waits for a fetch: a batch holds this lock before it fetches.
            let lock = open_lock(&path.with_extension("use")).ok()?;
            lock.try_lock().ok()?;
            UnusedDirectory::of(path, true, None, &Arc::new(lock))
        });
    unused.collect()
}

/// Returns the task directories, in a registry, of batches that are not running: kept ones, and those of killed
/// batches.
#[must_use]
pub fn unused_clones(registry: &Path) -> Vec<UnusedDirectory> {
    let entries = std::fs::read_dir(registry).into_iter().flatten().flatten();
    let roots = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).map(PathBuf::from);
    roots.filter(|root| root.is_absolute()).flat_map(|root| clones_in(&root)).collect()
}

fn clones_in(root: &Path) -> Vec<UnusedDirectory> {
    // The file marks a directory of clones: without it, nothing is ours.
    let lease = root.join(LEASE);
    let is_marked = lease.symlink_metadata().is_ok_and(|data| data.is_file());
    let Some(lock) = is_marked.then(|| open_lock(&lease).ok()).flatten().filter(|lock| lock.try_lock().is_ok()) else {
        return Vec::new();
    };
    let lock = Arc::new(lock);
    let unused = directories(root).filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let mark = root.join(KEPT).join(&name);
        let is_task = is_task_name(&name);
        let is_ours = is_task || name.starts_with(PRIVATE_PREFIX);
        is_ours.then(|| UnusedDirectory::of(path, is_task && mark.exists(), Some(mark), &lock)).flatten()
    });
    unused.collect()
}

/// Returns the real directories in a directory.
fn directories(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

impl UnusedDirectory {
    fn of(path: PathBuf, is_kept: bool, mark: Option<PathBuf>, lock: &Arc<File>) -> Option<Self> {
        let modified = path.symlink_metadata().and_then(|data| data.modified()).ok()?;
        Some(Self { bytes: size_of(&path), path, modified, is_kept, mark, _lock: Arc::clone(lock) })
    }
}

/// Returns the size of the files of a directory. Links are not followed.
#[must_use]
pub fn size_of(path: &Path) -> u64 {
    let entries = WalkDir::new(path).into_iter().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file).map(|data| data.len()).sum()
}

/// Deletes a directory with its content, even if directories in it are read-only. Links are not followed.
///
/// # Errors
///
/// If something in it cannot be deleted. A directory that does not exist is not an error.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    remove_tree(path)
}
