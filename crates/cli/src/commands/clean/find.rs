//! Finds what can be removed, with the proof that it is ours and not in use.

use super::in_use::Uses;
use crate::args::CleanKind;
use opencode_run_batch::workspace::{
    REGISTRY, UnusedDirectory, is_task_name, remove_directory, size_of, unused_clones, unused_mirrors,
};
use opencode_run_core::SessionId;
use opencode_run_journal::{JournalFile, unused};
use opencode_runner::{HOME_LOCK, HOME_PREFIX, paths};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The beginnings of names in the temp directory that are ours alone.
const TEMP_PREFIXES: [&str; 5] = [
    HOME_PREFIX,
    "opencode-run-version-",
    "opencode-run-attached-",
    "opencode-run-conversation-",
    "opencode-run-demo-",
];
/// A temp directory without a lock is a leftover after this time.
const TEMP_AGE: Duration = Duration::from_hours(24);

/// The directories that are searched.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) cache: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
    pub(super) temp: PathBuf,
}

impl Places {
    pub(super) fn of_user() -> Self {
        Self { cache: paths::cache_dir(), state: paths::state_dir(), temp: std::env::temp_dir() }
    }

    fn journals(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.join("journals"))
    }
}

/// Something that can be removed.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: CleanKind,
    /// The path or the session.
    pub(super) shown: String,
    pub(super) bytes: u64,
    item: Item,
}

#[derive(Debug)]
enum Item {
    /// A mirror or a clone, locked.
    Locked(UnusedDirectory),
    /// A file or directory, with the lock that keeps it from being used.
    Path(PathBuf, Vec<File>),
    /// The directory of a task, with its journals, which stay locked.
    Task(PathBuf, Vec<JournalFile>),
    Journal(JournalFile),
    Session(CleanRequest),
}

/// A session to be deleted from opencode's history.
#[derive(Debug, Clone)]
pub(super) struct CleanRequest {
    pub(super) journals: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) session: SessionId,
}

impl Found {
    /// Returns the session, if the item is one.
    pub(super) fn session(&self) -> Option<CleanRequest> {
        match &self.item {
            Item::Session(request) => Some(request.clone()),
            _ => None,
        }
    }

    /// Removes the item, except a session, which opencode deletes.
    pub(super) fn remove(self) -> io::Result<()> {
        match self.item {
            Item::Locked(directory) => directory.remove(),
            Item::Path(path, _locks) if path.symlink_metadata()?.is_dir() => remove_directory(&path),
            Item::Path(path, _locks) => std::fs::remove_file(path),
            Item::Task(path, _journals) => remove_directory(&path),
            Item::Journal(journal) => journal.delete(),
            Item::Session(_) => Ok(()),
        }
    }
}

/// Finds all of these kinds, each item locked if there is a lock for it.
pub(super) fn find(places: &Places, kinds: &[CleanKind], older_than: Option<Duration>) -> Vec<Found> {
    let now = SystemTime::now();
    let is_old = |modified: SystemTime, age: Duration| now.duration_since(modified).is_ok_and(|passed| passed >= age);
    let is_chosen = |modified: SystemTime| older_than.is_none_or(|age| is_old(modified, age));
    let wants = |kind: CleanKind| kinds.contains(&kind);
    let uses = Uses::of_processes();
    let mut found = Vec::new();
    let mut add = |kind: CleanKind, path: &Path, bytes: u64, item: Item| {
        found.push(Found { kind, shown: path.display().to_string(), bytes, item });
    };
    let registry = places.state.as_ref().map(|state| state.join(REGISTRY));
    let clones = registry.filter(|_| wants(CleanKind::Clones) || wants(CleanKind::Leftovers));
    for clone in clones.map(|registry| unused_clones(&registry)).unwrap_or_default() {
        let kind = if clone.is_kept { CleanKind::Clones } else { CleanKind::Leftovers };
        if wants(kind) && is_chosen(clone.modified) && !uses.is_used(&clone.path) {
            add(kind, &clone.path.clone(), clone.bytes, Item::Locked(clone));
        }
    }
    let cache = places.cache.as_ref().filter(|_| wants(CleanKind::Mirrors));
    for mirror in cache.map(|cache| unused_mirrors(cache)).unwrap_or_default() {
        if is_chosen(mirror.modified) {
            add(CleanKind::Mirrors, &mirror.path.clone(), mirror.bytes, Item::Locked(mirror));
        }
    }
    if wants(CleanKind::Leftovers) {
        for path in temp_leftovers(&places.temp) {
            let Ok(data) = path.symlink_metadata() else { continue };
            let lock = data.is_dir().then(|| lock_of_home(&path)).flatten();
            let modified = data.modified().unwrap_or(now);
            let is_leftover = match &lock {
                Some(lock) => lock.try_lock().is_ok(),
                None => is_old(modified, TEMP_AGE),
            };
            if is_leftover && is_chosen(modified) && !uses.is_used(&path) {
                let bytes = if data.is_dir() { size_of(&path) } else { data.len() };
                add(CleanKind::Leftovers, &path.clone(), bytes, Item::Path(path, lock.into_iter().collect()));
            }
        }
    }
    let installed = places.cache.as_ref().map(|cache| cache.join("opencode"));
    if let Some(path) = installed.filter(|path| wants(CleanKind::Opencode) && is_own_directory(path)) {
        let modified = path.metadata().and_then(|data| data.modified()).unwrap_or(now);
        if is_chosen(modified) && !uses.is_used(&path) {
            add(CleanKind::Opencode, &path.clone(), size_of(&path), Item::Path(path, Vec::new()));
        }
    }
    if let Some(folder) = places.journals() {
        found.extend(of_journals(&folder, &uses, &wants, &is_chosen));
    }
    found
}

/// Finds sessions, task directories and journals.
fn of_journals(
    folder: &Path,
    uses: &Uses,
    wants: &impl Fn(CleanKind) -> bool,
    is_chosen: &impl Fn(SystemTime) -> bool,
) -> Vec<Found> {
    if ![CleanKind::Sessions, CleanKind::Tasks, CleanKind::Journals].into_iter().any(wants) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut tasks: BTreeMap<PathBuf, Vec<JournalFile>> = BTreeMap::new();
    for journal in unused(folder) {
        tasks.entry(journal.task.directory.clone()).or_default().push(journal);
    }
    for (directory, mut journals) in tasks {
        let chosen = journals.iter().all(|journal| is_chosen(journal.modified));
        if !chosen {
            continue;
        }
        let is_task = is_directory_of_task(&directory, &journals) && is_unlocked(folder, &directory, journals.len());
        // Without its session and journals, a directory that is in use could never be found again.
        if is_task && uses.is_used(&directory) {
            continue;
        }
        for journal in journals.iter().filter(|journal| wants(CleanKind::Sessions) && !journal.task.isolated) {
            // opencode deletes a session in its directory.
            if let Some(session) = journal.created_session.clone().filter(|_| directory.is_dir()) {
                let shown = session.to_string();
                let journals = folder.to_owned();
                let item = Item::Session(CleanRequest { journals, directory: directory.clone(), session });
                found.push(Found { kind: CleanKind::Sessions, shown, bytes: 0, item });
            }
        }
        if wants(CleanKind::Tasks) && is_task {
            let shown = directory.display().to_string();
            let bytes = size_of(&directory);
            let held = if wants(CleanKind::Journals) { Vec::new() } else { std::mem::take(&mut journals) };
            found.push(Found { kind: CleanKind::Tasks, shown, bytes, item: Item::Task(directory, held) });
        }
        for journal in journals.into_iter().filter(|_| wants(CleanKind::Journals)) {
            let shown = journal.path.display().to_string();
            let bytes = journal.bytes;
            found.push(Found { kind: CleanKind::Journals, shown, bytes, item: Item::Journal(journal) });
        }
    }
    found
}

/// Finds the directory of a task whose journals were deleted with its sessions. `None` if something uses it now.
pub(super) fn find_without_journals(places: &Places, shown: &str) -> Option<Found> {
    let directory = PathBuf::from(shown);
    let is_free = is_own_directory(&directory) && is_unlocked(&places.journals()?, &directory, 0);
    if !is_free || Uses::of_processes().is_used(&directory) {
        return None;
    }
    let bytes = size_of(&directory);
    Some(Found { kind: CleanKind::Tasks, shown: shown.to_owned(), bytes, item: Item::Task(directory, Vec::new()) })
}

/// Returns whether a directory was made for the task of its journals: it has the name that we give, with the task's
/// name in it.
fn is_directory_of_task(directory: &Path, journals: &[JournalFile]) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let is_named = |journal: &JournalFile| name.starts_with(&format!("task_{}_", journal.task.name));
    is_task_name(&name) && journals.iter().any(is_named) && is_own_directory(directory)
}

/// Returns whether all journals of a directory are among the unused ones.
fn is_unlocked(folder: &Path, directory: &Path, unused: usize) -> bool {
    let entries = opencode_run_journal::folder_of(folder, directory).read_dir().into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "jsonl")).count() == unused
}

/// Returns whether a path is a directory of this user, and not a link to one.
fn is_own_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|data| data.is_dir() && is_own(&data))
        && path.canonicalize().is_ok_and(|real| real == path)
}

#[cfg(unix)]
fn is_own(data: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(data) == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_own(_: &std::fs::Metadata) -> bool {
    true
}

fn temp_leftovers(temp: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(temp).into_iter().flatten().flatten();
    let is_ours = |name: &str| TEMP_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let ours = entries.filter(|entry| {
        let data = entry.metadata();
        is_ours(&entry.file_name().to_string_lossy())
            && data.is_ok_and(|data| !data.file_type().is_symlink() && is_own(&data))
    });
    ours.map(|entry| entry.path()).collect()
}

fn lock_of_home(path: &Path) -> Option<File> {
    let lock = path.join(HOME_LOCK);
    lock.symlink_metadata().is_ok_and(|data| data.is_file()).then(|| File::open(lock).ok()).flatten()
}
