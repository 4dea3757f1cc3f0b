//! `artifacts`: files of the task's directory that are kept with the results.

use super::WorkspaceError;
use super::checkout::TaskWorkspace;
use super::files::blocking;
use super::overlay::is_real_directory;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// The limits on the files that are kept of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "limits are written out")]
pub struct ArtifactLimits {
    /// The maximum number of files.
    pub files: u64,
    /// The maximum total size in bytes.
    pub bytes: u64,
}

impl Default for ArtifactLimits {
    fn default() -> Self {
        Self { files: 10_000, bytes: 1024 * 1024 * 1024 }
    }
}

/// The files that were kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Artifacts {
    /// The paths of the kept files in the task's directory, sorted.
    pub files: Vec<PathBuf>,
    /// The total size of the kept files in bytes.
    pub bytes: u64,
    /// The number of skipped matches: beyond the limits, unreadable, links, or not regular files.
    pub skipped: u64,
}

impl TaskWorkspace {
    /// Copies the files that match one of the patterns into a directory, under their paths in the task's directory. Links
    /// are neither followed nor copied: the agent could have made them point anywhere.
    ///
    /// In a pattern `*` matches within one name and `**` any number of directories.
    ///
    /// # Errors
    ///
    /// If a pattern is invalid, or the directory cannot be written.
    pub async fn collect_artifacts(
        &self,
        patterns: &[String],
        to: &Path,
        limits: ArtifactLimits,
    ) -> Result<Artifacts, WorkspaceError> {
        let patterns = parse(patterns)?;
        let root = self.directory.clone();
        let to = to.to_owned();
        blocking(move || collect(&root, &patterns, &to, limits)).await
    }
}

fn parse(patterns: &[String]) -> Result<GlobSet, WorkspaceError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(WorkspaceError::Pattern)?);
    }
    set.build().map_err(WorkspaceError::Pattern)
}

fn collect(root: &Path, patterns: &GlobSet, to: &Path, limits: ArtifactLimits) -> Result<Artifacts, WorkspaceError> {
    is_real_directory(root)?;
    let mut kept = Artifacts::default();
    let entries = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    // The results may be within the directory of the task.
    let entries = entries.filter_entry(|entry| entry.file_name() != ".git" && entry.path() != to);
    for entry in entries {
        // A directory that the agent made unreadable.
        let Ok(entry) = entry else { continue };
        let Ok(path) = entry.path().strip_prefix(root) else { continue };
        if entry.file_type().is_dir() || !patterns.is_match(path) {
            continue;
        }
        let size = entry.metadata().map_or(0, |data| data.len());
        let fits = (kept.files.len() as u64) < limits.files && kept.bytes + size <= limits.bytes;
        // Anything but a file could block, as a pipe does.
        if !entry.file_type().is_file() || !fits || fs::File::open(entry.path()).is_err() {
            kept.skipped += 1;
            continue;
        }
        let target = to.join(path);
        let folder = target.parent().unwrap_or(to);
        fs::create_dir_all(folder).map_err(WorkspaceError::io("make the directory", folder))?;
        kept.bytes += fs::copy(entry.path(), &target).map_err(WorkspaceError::io("write", &target))?;
        kept.files.push(path.to_owned());
    }
    Ok(kept)
}
