//! Mirrors: a bare repository in the cache for each address, fetched by one process at a time.

use super::WorkspaceError;
use super::files::{lock_exclusively, lock_shared, write_if_changed};
use super::git::Git;
use super::repository::{RepositorySpec, mirror_name};
use crate::address::without_password;
use opencode_run_process::create_private_dir_all;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// The maximum number of concurrent fetches of different repositories: hosts limit connections.
const MAX_FETCHES: usize = 8;
/// The ref that holds the default branch of the remote.
const DEFAULT_REF: &str = "refs/opencode-run/HEAD";
/// The branch of a clone if the reference is not a branch.
const FALLBACK_BRANCH: &str = "main";

/// A repository whose reference was resolved to a commit.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) mirror: PathBuf,
    pub(crate) shown: String,
    pub(crate) commit: String,
    /// The branch that a clone is on.
    pub(crate) branch: String,
    /// The tags of commits up to this one, as the content of `packed-refs`.
    pub(crate) tags: Arc<str>,
}

impl Repository {
    /// Returns the full hash of the commit that tasks begin with.
    #[must_use]
    pub fn base_commit(&self) -> &str {
        &self.commit
    }

    /// Returns the address without a password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shown
    }
}

/// The mirrors that a batch uses. No other process deletes them before this is dropped.
#[derive(Debug)]
pub(crate) struct Mirrors {
    folder: PathBuf,
    limit: Duration,
    fetches: Semaphore,
    known: SyncMutex<HashMap<String, Arc<Mutex<State>>>>,
}

/// The state of a mirror in this batch.
#[derive(Debug, Default)]
struct State {
    fetched: bool,
    /// Held while the batch runs.
    lease: Option<File>,
    resolved: HashMap<Option<String>, Repository>,
}

impl Mirrors {
    /// Keeps mirrors in a directory; `limit` is the time limit on a fetch.
    pub(crate) fn new(folder: PathBuf, limit: Duration) -> Self {
        Self { folder, limit, fetches: Semaphore::new(MAX_FETCHES), known: SyncMutex::default() }
    }

    /// Resolves the reference of a repository; the same one is resolved once. Fetches if the mirror lacks the commit, and for every
    /// branch and tag once.
    ///
    /// # Errors
    ///
    /// If the repository cannot be fetched or has no such reference.
    pub(crate) async fn resolve(
        &self,
        git: &Git,
        spec: &RepositorySpec,
        address: String,
    ) -> Result<Repository, WorkspaceError> {
        let state = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(address.clone()).or_default())
        };
        let mut state = state.lock().await;
        let reference = spec.reference.clone().filter(|reference| reference != "HEAD");
        if let Some(known) = state.resolved.get(&reference) {
            return Ok(known.clone());
        }
        let mirror = Mirror { path: self.folder.join(mirror_name(&address)).with_added_extension("git"), address, git };
        if state.lease.is_none() {
            let folder = self.folder.clone();
            create_private_dir_all(&folder).map_err(WorkspaceError::io("make the directory", &folder))?;
            state.lease = Some(lock_shared(&mirror.use_lock(), self.limit).await?);
        }
        let is_commit = reference.as_deref().is_some_and(is_full_hash);
        let mut found = None;
        if is_commit && !state.fetched {
            found = mirror.commit_of(reference.as_deref()).await?;
        }
        if found.is_none() && !state.fetched {
            let _permit = self.fetches.acquire().await;
            mirror.fetch(self.limit).await?;
            state.fetched = true;
        }
        if found.is_none() {
            found = mirror.commit_of(reference.as_deref()).await?;
        }
        if let (None, Some(reference)) = (&found, &reference)
            && (is_commit || reference.starts_with("refs/"))
        {
            // A commit of no branch, or a ref such as `refs/pull/1/head`.
            let _permit = self.fetches.acquire().await;
            if mirror.fetch_one(reference, self.limit).await.is_ok() {
                found = mirror.commit_of(Some(reference)).await?;
            }
        }
        let unknown = || WorkspaceError::UnknownReference {
            repository: without_password(&mirror.address),
            reference: reference.clone().unwrap_or_else(|| "HEAD".to_owned()),
        };
        let commit = found.ok_or_else(unknown)?;
        let repository = Repository {
            branch: mirror.branch_of(reference.as_deref()).await?,
            tags: mirror.tags_until(&commit).await?.into(),
            shown: without_password(&mirror.address),
            mirror: mirror.path,
            commit,
        };
        state.resolved.insert(reference, repository.clone());
        Ok(repository)
    }
}

/// Returns whether a reference is the hash of a commit, in full.
fn is_full_hash(reference: &str) -> bool {
    matches!(reference.len(), 40 | 64) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

struct Mirror<'g> {
    path: PathBuf,
    address: String,
    git: &'g Git,
}

impl Mirror<'_> {
    /// Returns the file that users of the mirror lock, and that `clean` locks before it deletes the mirror.
    fn use_lock(&self) -> PathBuf {
        self.path.with_extension("use")
    }

    /// Fetches all branches and tags. Objects are never deleted: clones borrow them.
    async fn fetch(&self, limit: Duration) -> Result<(), WorkspaceError> {
        let default = format!("+HEAD:{DEFAULT_REF}");
        let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        let fetched = self.fetch_refs(&[all[0], all[1], &default], limit).await;
        match fetched {
            // A repository without commits, or whose default branch is missing.
            Err(WorkspaceError::Git { message, .. }) if message.contains("remote ref HEAD") => {
                self.fetch_refs(&all, limit).await
            }
            fetched => fetched,
        }
    }

    async fn fetch_one(&self, reference: &str, limit: Duration) -> Result<(), WorkspaceError> {
        let refspec = if is_full_hash(reference) {
            format!("+{reference}:refs/opencode-run/commits/{reference}")
        } else {
            format!("+{reference}:{reference}")
        };
        self.fetch_refs(&[&refspec], limit).await
    }

    async fn fetch_refs(&self, refspecs: &[&str], limit: Duration) -> Result<(), WorkspaceError> {
        let _lock = lock_exclusively(&self.path.with_extension("lock"), limit).await?;
        let path = self.path.clone();
        let address = self.address.clone();
        let prepare = move || prepare(&path, &address);
        let prepared = tokio::task::spawn_blocking(prepare).await;
        prepared
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(WorkspaceError::io("make", &self.path))?;
        let mut arguments = vec![OsStr::new("--git-dir"), self.path.as_os_str(), OsStr::new("fetch")];
        // The checkout of a CI job is shallow: without `--update-shallow` git would skip its branches.
        let options = [
            "--quiet",
            "--force",
            "--prune",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--update-shallow",
        ];
        arguments.extend(options.into_iter().chain(["origin"]).map(OsStr::new));
        arguments.extend(refspecs.iter().map(OsStr::new));
        self.git.network("fetch", &arguments, &self.path, limit).await
    }

    /// Returns the commit of a reference, or of the default branch; `None` if the mirror has none.
    async fn commit_of(&self, reference: Option<&str>) -> Result<Option<String>, WorkspaceError> {
        let reference = reference.unwrap_or(DEFAULT_REF);
        if reference.starts_with('-') || !self.path.is_dir() {
            return Ok(None);
        }
        for name in [Some(reference), reference.strip_prefix("origin/")].into_iter().flatten() {
            let mut git = self.git.hardened();
            git.arg("--git-dir").arg(&self.path).args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
            git.arg(format!("{name}^{{commit}}"));
            let output = self.git.output("rev-parse", git, None).await?;
            let hash = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if output.status.success() && is_full_hash(&hash) {
                return Ok(Some(hash));
            }
        }
        Ok(None)
    }

    /// Returns the branch that a reference names.
    async fn branch_of(&self, reference: Option<&str>) -> Result<String, WorkspaceError> {
        let Some(reference) = reference else { return Ok(FALLBACK_BRANCH.to_owned()) };
        let name = reference.strip_prefix("refs/heads/").or(reference.strip_prefix("origin/")).unwrap_or(reference);
        let mut git = self.git.hardened();
        git.arg("--git-dir").arg(&self.path).args(["show-ref", "--verify", "--quiet", "--"]);
        git.arg(format!("refs/heads/{name}"));
        let is_branch = self.git.output("show-ref", git, None).await?.status.success();
        Ok(if is_branch { name.to_owned() } else { FALLBACK_BRANCH.to_owned() })
    }

    /// Returns the tags of a commit and those before it. Later ones would show the agent what was done after the task.
    async fn tags_until(&self, commit: &str) -> Result<String, WorkspaceError> {
        let merged = format!("--merged={commit}");
        let format = "--format=%(objectname) %(refname)";
        let tags = |git: &mut tokio::process::Command| -> () {
            git.arg("--git-dir").arg(&self.path).args(["for-each-ref", &merged, format, "refs/tags"]);
        };
        let output = self.git.local("for-each-ref", |git| {
            tags(git);
            git
        });
        Ok(String::from_utf8_lossy(&output.await?.stdout).into_owned())
    }
}

/// Creates a mirror, or repairs one after a crash. Its configuration is rewritten, so that nothing in it can start a
/// program.
fn prepare(path: &Path, address: &str) -> std::io::Result<()> {
    for folder in ["objects/pack", "objects/info", "refs/heads", "refs/tags"] {
        create_private_dir_all(&path.join(folder))?;
    }
    let quoted = address.replace('\\', "\\\\").replace('"', "\\\"");
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n\
         [remote \"origin\"]\n\turl = \"{quoted}\"\n"
    );
    write_if_changed(&path.join("config"), config.as_bytes())?;
    write_if_changed(&path.join("HEAD"), b"ref: refs/heads/main\n")?;
    remove_stale_locks(path)?;
    remove_stale_locks(&path.join("refs"))
}

/// Removes the lock files of a git that was killed. Only the process that holds the mirror's own lock writes to it.
fn remove_stale_locks(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_lock = entry.path().extension().is_some_and(|extension| extension == "lock");
        if entry.file_type()?.is_dir() {
            if folder.ends_with("refs") || folder.components().any(|part| part.as_os_str() == "refs") {
                remove_stale_locks(&entry.path())?;
            }
        } else if is_lock {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
