//! `check_files`: files that are copied over the work of the agent before the check.

use super::WorkspaceError;
use super::checkout::{TaskWorkspace, inside};
use super::files::{blocking, remove_tree};
use crate::CheckFiles;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

impl TaskWorkspace {
    /// Copies the files of the check over those of the agent. Relative sources are relative to the tasks file. Nothing outside of the
    /// task's directory is written: links that the agent left in the way are replaced.
    ///
    /// # Errors
    ///
    /// If a source cannot be read, or a destination is absolute, has a `..`, is in `.git`, or cannot be written.
    pub async fn lay_over(&self, files: &CheckFiles) -> Result<(), WorkspaceError> {
        let sources = self.find_check_files(files)?;
        let root = self.directory.clone();
        blocking(move || {
            is_real_directory(&root)?;
            for (to, from) in sources {
                copy(&from, &root, &to)?;
            }
            Ok(())
        })
        .await
    }

    /// Returns the destination and the source of each entry of `check_files`.
    ///
    /// # Errors
    ///
    /// If a source does not exist, or a destination is absolute, has a `..`, or is in `.git`.
    pub(crate) fn find_check_files(&self, files: &CheckFiles) -> Result<Vec<(PathBuf, PathBuf)>, WorkspaceError> {
        let entries = match files {
            CheckFiles::Folder(folder) => vec![("", folder)],
            CheckFiles::Files(files) => files.iter().map(|(to, from)| (to.as_str(), from)).collect(),
        };
        let find = |(to, from): (&str, &PathBuf)| {
            let inner = inside(to)?;
            let from = self.inner.relative_to.join(from);
            if !from.exists() {
                return Err(WorkspaceError::MissingCheckFile { path: from });
            }
            if is_git(&inner) || (inner.as_os_str().is_empty() && !from.is_dir()) {
                return Err(WorkspaceError::PathEscapes { path: to.to_owned() });
            }
            Ok((inner, from))
        };
        entries.into_iter().map(find).collect()
    }
}

/// Fails if the agent replaced a task's directory, by a link for example.
pub(crate) fn is_real_directory(root: &Path) -> Result<(), WorkspaceError> {
    let data = root.symlink_metadata().map_err(WorkspaceError::io("find", root))?;
    if data.is_dir() { Ok(()) } else { Err(WorkspaceError::DirectoryReplaced { directory: root.to_owned() }) }
}

fn is_git(path: &Path) -> bool {
    let first = path.components().next().map(Component::as_os_str);
    first.is_some_and(|first| first.eq_ignore_ascii_case(".git"))
}

/// Copies a file or directory to `to` below the root. Links in the source are followed: the source is the user's.
fn copy(from: &Path, root: &Path, to: &Path) -> Result<(), WorkspaceError> {
    let data = fs::metadata(from).map_err(WorkspaceError::io("read", from))?;
    if !data.is_dir() {
        let target = root.join(to);
        make_parents(root, to).map_err(WorkspaceError::io("make a directory for", &target))?;
        clear(&target, false).map_err(WorkspaceError::io("replace", &target))?;
        return fs::copy(from, &target).map(drop).map_err(WorkspaceError::io("write", &target));
    }
    let entries = fs::read_dir(from).map_err(WorkspaceError::io("read", from))?;
    for entry in entries {
        let entry = entry.map_err(WorkspaceError::io("read", from))?;
        let below = to.join(entry.file_name());
        if !is_git(&below) {
            copy(&entry.path(), root, &below)?;
        }
    }
    let target = root.join(to);
    make_parents(root, &to.join("x")).map_err(WorkspaceError::io("make the directory", &target))
}

/// Creates the parent directories of a path, and replaces anything else that the agent left in their place.
fn make_parents(root: &Path, path: &Path) -> io::Result<()> {
    let mut directory = root.to_owned();
    for component in path.parent().unwrap_or(Path::new("")).components() {
        directory.push(component);
        clear(&directory, true)?;
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => make_writable(&directory)?,
            made => made?,
        }
    }
    Ok(())
}

/// Removes the entry at a path, unless it is a real directory and a directory is needed.
fn clear(path: &Path, wants_directory: bool) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(data) if data.is_dir() && wants_directory => Ok(()),
        Ok(data) if data.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path),
    }
}

fn make_writable(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = directory.metadata()?.permissions().mode();
        if mode & 0o700 != 0o700 {
            fs::set_permissions(directory, fs::Permissions::from_mode(mode | 0o700))?;
        }
    }
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}
