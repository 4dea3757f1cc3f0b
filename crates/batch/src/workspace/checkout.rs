//! The directories of a batch's tasks.

use super::files::{PRIVATE_PREFIX, blocking, open_lock, remove_tree, write_if_changed};
use super::git::{Git, GitProblem};
use super::mirror::{Mirrors, Repository};
use super::repository::{hash, slug};
use super::{RepositorySpec, WorkspaceError};
use opencode_run_process::{Supervisor, TaskDir, command_environment, create_private_dir_all};
use opencode_runner::SecretString;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The file that marks a directory of clones, and that the batch locks.
pub(crate) const LEASE: &str = ".opencode-run-batch";
/// The directory beside the clones with an empty file for each clone that is kept.
pub(crate) const KEPT: &str = ".kept";
/// The directory in the command's state directory with an entry for each directory of clones, for
/// [`registry`](WorkspaceOptions::registry) and [`unused_clones`](super::unused_clones).
pub const REGISTRY: &str = "batches";
/// The directory in the cache with the mirrors.
pub(crate) const MIRRORS: &str = "mirrors";
/// The beginning of the name of a task's directory; a name and eight hexadecimal digits follow.
pub(crate) const TASK_PREFIX: &str = "task_";
/// The maximum length of the task's name in a directory's name.
const MAX_NAME_LENGTH: usize = 80;
/// The default time limit on a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_mins(30);

/// The options of workspaces.
#[derive(Debug)]
pub struct WorkspaceOptions {
    cache: PathBuf,
    clones: PathBuf,
    registry: Option<PathBuf>,
    base: Option<String>,
    relative_to: PathBuf,
    environment: Vec<(OsString, OsString)>,
    supervisor: Option<Supervisor>,
    fetch_timeout: Duration,
}

impl WorkspaceOptions {
    /// Keeps the mirrors in a cache directory, and creates the directories of tasks in `clones`.
    ///
    /// Commands get the environment of this process until [`environment`](Self::environment) is set.
    pub fn new(cache: impl Into<PathBuf>, clones: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            clones: clones.into(),
            registry: None,
            base: None,
            relative_to: PathBuf::from("."),
            environment: command_environment(std::env::vars_os(), []),
            supervisor: opencode_run_process::supervisor::current(),
            fetch_timeout: FETCH_TIMEOUT,
        }
    }

    /// Sets the address that `owner/name` is relative to, such as `https://github.com`.
    #[must_use]
    pub fn repository_base(mut self, base: impl Into<String>) -> Self {
        self.base = Some(base.into());
        self
    }

    /// Sets the base of relative paths of repositories and check files: the directory of the tasks file.
    #[must_use]
    pub fn relative_to(mut self, directory: impl Into<PathBuf>) -> Self {
        self.relative_to = directory.into();
        self
    }

    /// Sets the environment of `setup` and `check`, and of fetches. Variables that hold one of the secrets are removed.
    #[must_use]
    pub fn environment<'s>(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        secrets: impl IntoIterator<Item = &'s SecretString>,
    ) -> Self {
        self.environment = command_environment(variables, secrets);
        self
    }

    /// Sets the supervisor of commands; that of this program by default.
    #[must_use]
    pub fn supervisor(mut self, supervisor: impl Into<Option<Supervisor>>) -> Self {
        self.supervisor = supervisor.into();
        self
    }

    /// Limits a fetch, and the wait for another process that fetches the same repository; 30 minutes by default.
    #[must_use]
    pub fn fetch_timeout(mut self, limit: Duration) -> Self {
        self.fetch_timeout = limit;
        self
    }

    /// Records the directory of the clones in this directory, so that `clean` finds it.
    #[must_use]
    pub fn registry(mut self, folder: impl Into<PathBuf>) -> Self {
        self.registry = Some(folder.into());
        self
    }
}

/// The workspaces of one batch. A clone is another handle to the same ones.
///
/// Until the last handle and the last [`TaskWorkspace`] are dropped, no other batch and no `clean` touches the directory of the clones.
#[derive(Debug, Clone)]
pub struct Workspaces {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// git, or the reason why it cannot be used, which is reported only by tasks with a repository.
    git: Result<Git, GitProblem>,
    mirrors: Mirrors,
    clones: PathBuf,
    base: Option<String>,
    pub(crate) relative_to: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) supervisor: Option<Supervisor>,
    /// The lock on the directory of the clones.
    _lease: File,
}

impl Inner {
    fn git(&self) -> Result<&Git, WorkspaceError> {
        self.git.as_ref().map_err(|problem| problem.clone().into())
    }
}

impl Workspaces {
    /// Takes the directory of the clones for this batch, and removes what a killed batch left there: the directories of tasks that
    /// were not [kept](TaskWorkspace::keep).
    ///
    /// # Errors
    ///
    /// If another batch uses the directory, or it cannot be created.
    pub async fn open(options: WorkspaceOptions) -> Result<Self, WorkspaceError> {
        let WorkspaceOptions { cache, clones, registry, base, relative_to, environment, supervisor, fetch_timeout } =
            options;
        let git = Git::find(environment.clone(), supervisor.clone()).await;
        let (lease, clones) = blocking(move || prepare(&clones, registry.as_deref())).await?;
        let mirrors = Mirrors::new(cache.join(MIRRORS), fetch_timeout);
        let inner = Inner { git, mirrors, clones, base, relative_to, environment, supervisor, _lease: lease };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Resolves the reference of a repository to a commit; the same one is resolved once in a batch. It fetches the repository unless
    /// the reference is a commit that the mirror has.
    ///
    /// # Errors
    ///
    /// If there is no git 2.32 or later, the repository cannot be fetched, or it has no such reference.
    pub async fn resolve(&self, spec: &RepositorySpec) -> Result<Repository, WorkspaceError> {
        let address = spec.address(self.inner.base.as_deref(), &self.inner.relative_to)?;
        self.inner.mirrors.resolve(self.inner.git()?, spec, address).await
    }

    /// Creates `task_<name>_<8 hex>` with a clone of a repository in it. Any text is allowed as the name.
    ///
    /// # Errors
    ///
    /// If it cannot be created. No part of it is left then.
    pub async fn clone_repository(&self, repository: &Repository, name: &str) -> Result<TaskWorkspace, WorkspaceError> {
        let path = self.task_path(name);
        let inner = Arc::clone(&self.inner);
        let source = repository.clone();
        let made = path.clone();
        blocking(move || make_clone(&made, &source)).await?;
        let workspace = TaskWorkspace { inner, directory: path, repository: Some(repository.clone()), is_made: true };
        let checked_out = workspace.check_out(repository).await;
        if let Err(error) = checked_out {
            workspace.remove().await?;
            return Err(error);
        }
        Ok(workspace)
    }

    /// Creates `task_<name>_<8 hex>`, empty except for its own `.git`.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub async fn new_directory(&self, name: &str) -> Result<TaskWorkspace, WorkspaceError> {
        let io = |source: std::io::Error| WorkspaceError::io("make a directory in", &self.inner.clones)(source);
        let dir = TaskDir::create(&self.inner.clones, &slug(name, MAX_NAME_LENGTH)).await;
        let directory = dir.map_err(|error| io(std::io::Error::other(error)))?.path().to_owned();
        Ok(TaskWorkspace { inner: Arc::clone(&self.inner), directory, repository: None, is_made: true })
    }

    /// Takes an existing directory, which is never removed.
    ///
    /// # Errors
    ///
    /// If it does not exist.
    pub async fn existing(&self, directory: &Path) -> Result<TaskWorkspace, WorkspaceError> {
        let path = self.inner.relative_to.join(directory);
        let found = TaskDir::open(&path).await;
        let found = found.map_err(|error| WorkspaceError::io("work in", &path)(std::io::Error::other(error)))?;
        let directory = found.path().to_owned();
        Ok(TaskWorkspace { inner: Arc::clone(&self.inner), directory, repository: None, is_made: false })
    }

    fn task_path(&self, name: &str) -> PathBuf {
        let random = uuid::Uuid::new_v4().simple().to_string();
        self.inner.clones.join(format!("{TASK_PREFIX}{}_{}", slug(name, MAX_NAME_LENGTH), &random[..8]))
    }
}

/// Locks the directory of the clones and removes the leftovers in it.
fn prepare(clones: &Path, registry: Option<&Path>) -> Result<(File, PathBuf), WorkspaceError> {
    create_private_dir_all(clones).map_err(WorkspaceError::io("make the directory", clones))?;
    let clones = clones.canonicalize().map_err(WorkspaceError::io("find", clones))?;
    let lease = clones.join(LEASE);
    let lock = open_lock(&lease).map_err(WorkspaceError::io("open", &lease))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(WorkspaceError::Busy { directory: clones }),
        Err(TryLockError::Error(error)) => return Err(WorkspaceError::io("lock", &lease)(error)),
    }
    let kept = clones.join(KEPT);
    create_private_dir_all(&kept).map_err(WorkspaceError::io("make the directory", &kept))?;
    for leftover in leftovers(&clones).map_err(WorkspaceError::io("read", &clones))? {
        remove_tree(&leftover).map_err(WorkspaceError::io("remove", &leftover))?;
    }
    if let Some(registry) = registry {
        create_private_dir_all(registry).map_err(WorkspaceError::io("make the directory", registry))?;
        let entry = registry.join(&hash(&clones.to_string_lossy())[..16]);
        let text = clones.as_os_str().as_encoded_bytes();
        write_if_changed(&entry, text).map_err(WorkspaceError::io("write", &entry))?;
    }
    Ok((lock, clones))
}

/// Returns the directories of tasks that are not kept.
pub(crate) fn leftovers(clones: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(clones)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let is_ours = is_task_name(&text) || text.starts_with(PRIVATE_PREFIX);
        if is_ours && entry.file_type()?.is_dir() && !clones.join(KEPT).join(&name).exists() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Returns whether a directory's name is that of a task: `task_<name>_<8 hex>`.
#[must_use]
pub fn is_task_name(name: &str) -> bool {
    let parts = name.strip_prefix(TASK_PREFIX).and_then(|rest| rest.rsplit_once('_'));
    parts.is_some_and(|(name, hex)| {
        !name.is_empty() && hex.len() == 8 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Creates a directory with a `.git` that borrows the objects of the mirror. It has no hooks.
fn make_clone(path: &Path, repository: &Repository) -> Result<(), WorkspaceError> {
    let make = || -> std::io::Result<()> {
        std::fs::create_dir(path)?;
        let git = path.join(".git");
        for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
            std::fs::create_dir_all(git.join(folder))?;
        }
        let mut alternates = repository.mirror.join("objects").into_os_string().into_encoded_bytes();
        alternates.push(b'\n');
        std::fs::write(git.join("objects/info/alternates"), alternates)?;
        // The commits whose parents the mirror lacks.
        match std::fs::copy(repository.mirror.join("shallow"), git.join("shallow")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied?),
        }
        let url = repository.shown.replace('\\', "\\\\").replace('"', "\\\"");
        let config = format!(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = {}\n\tbare = false\n\tlogallrefupdates = true\n\
             [remote \"origin\"]\n\turl = \"{url}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
            cfg!(unix)
        );
        std::fs::write(git.join("config"), config)?;
        if !repository.tags.is_empty() {
            std::fs::write(git.join("packed-refs"), repository.tags.as_bytes())?;
        }
        let branch = git.join("refs/heads").join(&repository.branch);
        std::fs::create_dir_all(branch.parent().unwrap_or(&git))?;
        std::fs::write(branch, format!("{}\n", repository.commit))?;
        std::fs::write(git.join("HEAD"), format!("ref: refs/heads/{}\n", repository.branch))
    };
    make().map_err(|error| {
        // The cause counts, not what is left.
        remove_tree(path).ok();
        WorkspaceError::io("make the clone", path)(error)
    })
}

/// The directory of a task. Dropping it removes nothing; a directory that is neither [removed](Self::remove) nor
/// [kept](Self::keep) is removed by the next batch with the same results.
#[derive(Debug)]
pub struct TaskWorkspace {
    pub(crate) inner: Arc<Inner>,
    pub(crate) directory: PathBuf,
    pub(crate) repository: Option<Repository>,
    is_made: bool,
}

impl TaskWorkspace {
    /// Returns the directory of the task: the root of its clone.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the repository that was cloned.
    #[must_use]
    pub fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }

    /// Returns the directory that the agent and the commands work in: `subdir` of the clone, or the root of it.
    ///
    /// # Errors
    ///
    /// If it leaves the directory, directly or by a link, or does not exist.
    pub fn working_directory(&self, subdir: Option<&str>) -> Result<PathBuf, WorkspaceError> {
        let Some(subdir) = subdir else { return Ok(self.directory.clone()) };
        let path = self.directory.join(inside(subdir)?);
        let found = path.canonicalize().map_err(WorkspaceError::io("find", &path))?;
        let root = self.directory.canonicalize().map_err(WorkspaceError::io("find", &self.directory))?;
        if found.starts_with(&root) { Ok(found) } else { Err(WorkspaceError::PathEscapes { path: subdir.to_owned() }) }
    }

    /// Keeps the directory: no later batch removes it. Only `clean` does.
    ///
    /// # Errors
    ///
    /// If this cannot be recorded.
    pub async fn keep(&self) -> Result<(), WorkspaceError> {
        let Some(name) = self.directory.file_name().filter(|_| self.is_made) else { return Ok(()) };
        let mark = self.inner.clones.join(KEPT).join(name);
        blocking(move || std::fs::write(&mark, "").map_err(WorkspaceError::io("write", &mark))).await
    }

    /// Removes the directory with its content. An [existing](Workspaces::existing) one stays.
    ///
    /// # Errors
    ///
    /// If something in it cannot be removed.
    pub async fn remove(self) -> Result<(), WorkspaceError> {
        if !self.is_made {
            return Ok(());
        }
        let directory = self.directory;
        blocking(move || remove_tree(&directory).map_err(WorkspaceError::io("remove", &directory))).await
    }

    pub(crate) fn git(&self) -> Result<&Git, WorkspaceError> {
        self.inner.git()
    }

    /// Writes the files of the commit into the new clone.
    async fn check_out(&self, repository: &Repository) -> Result<(), WorkspaceError> {
        let reset = self.git()?.local("reset", |git| {
            git.arg("-C").arg(&self.directory).args(["reset", "--quiet", "--hard", &repository.commit])
        });
        reset.await.map(|_| ())
    }
}

/// Returns a relative path that stays below the directory that it is relative to, links apart.
///
/// # Errors
///
/// If it is absolute or has a `..`.
pub(crate) fn inside(path: &str) -> Result<PathBuf, WorkspaceError> {
    let mut below = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::CurDir => {}
            _ => return Err(WorkspaceError::PathEscapes { path: path.to_owned() }),
        }
    }
    Ok(below)
}
