//! Workspaces: a mirror of each repository, a clone for each task, its patch, its commands.
//!
//! [`Workspaces`] belongs to one batch. It resolves the repositories of the tasks with [`resolve`](Workspaces::resolve) and makes a
//! [`TaskWorkspace`] for each task. A task then takes these steps, in this order:
//!
//! 1. [`run`](TaskWorkspace::run) `setup`.
//! 2. The turn of the agent, in [`working_directory`](TaskWorkspace::working_directory).
//! 3. [`take_patch`](TaskWorkspace::take_patch), when all processes of the turn have ended.
//! 4. [`lay_over`](TaskWorkspace::lay_over) with the files of the check, so that the agent cannot change the tests.
//! 5. [`run`](TaskWorkspace::run) `check`; exit code 0 passes.
//! 6. [`collect_artifacts`](TaskWorkspace::collect_artifacts).
//! 7. [`remove`](TaskWorkspace::remove) or [`keep`](TaskWorkspace::keep).
//!
//! Repositories are handled by the command `git`, version 2.32 or later. The mirror is a bare repository in the cache, shared by all
//! batches of the user. A clone borrows the objects of the mirror and has everything else to itself, unlike a work tree of
//! `git worktree`, which shares configuration, hooks and refs with its source.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use opencode_run_batch::workspace::{RepositorySpec, WorkspaceOptions, Workspaces};
//! use std::path::Path;
//!
//! let workspaces = Workspaces::open(WorkspaceOptions::new("/cache/opencode-run", "/data/results.clones")).await?;
//! let spec = RepositorySpec::new("https://example.org/project.git").reference("v1.2");
//! let repository = workspaces.resolve(&spec).await?;
//! let task = workspaces.clone_repository(&repository, "fix-the-bug").await?;
//! // ... the turn of the agent in `task.directory()` ...
//! let patch = task.take_patch(Path::new("/data/fix-the-bug/patch.diff")).await?;
//! println!("{} files since {}", patch.files, repository.base_commit());
//! task.remove().await?;
//! # Ok(())
//! # }
//! ```

mod artifacts;
mod checkout;
mod cleanup;
mod command;
mod error;
mod files;
mod git;
mod mirror;
mod overlay;
mod patch;
mod repository;
#[cfg(all(test, unix))]
mod tests;

pub use artifacts::{ArtifactLimits, Artifacts};
pub use checkout::{REGISTRY, TaskWorkspace, WorkspaceOptions, Workspaces, is_task_name};
pub use cleanup::{UnusedDirectory, remove_directory, size_of, unused_clones, unused_mirrors};
pub use command::{CommandOutcome, TaskCommand};
pub use error::WorkspaceError;
pub use mirror::Repository;
pub use patch::Patch;
pub use repository::RepositorySpec;
