//! Removes a directory tree, even if its directories are not writable.

use std::io;
use std::path::Path;

/// Removes a directory and its content. Links are removed, not followed.
///
/// Some tools, such as Go's module cache, leave directories that their owner cannot write to.
pub(crate) fn remove_dir_all(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        #[cfg(unix)]
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path);
            std::fs::remove_dir_all(path)
        }
        result => result,
    }
}

/// Makes the directories of a tree writable for their owner, as far as possible.
#[cfg(unix)]
fn make_writable(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        // Links are not followed: their targets are not removed.
        if !std::fs::symlink_metadata(&directory).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).ok();
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let is_dir = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        directories.extend(entries.flatten().filter(is_dir).map(|entry| entry.path()));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn read_only_directories_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        let outside = folder.path().join("outside");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(tree.join("a/b/file"), "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        for directory in ["a/b", "a"] {
            std::fs::set_permissions(tree.join(directory), std::fs::Permissions::from_mode(0o500)).unwrap();
        }
        let mode = outside.metadata().unwrap().permissions().mode();
        remove_dir_all(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(outside.metadata().unwrap().permissions().mode(), mode, "a link is not followed");
        remove_dir_all(&tree).unwrap();
    }
}
