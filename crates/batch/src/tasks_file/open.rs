//! The file of the tasks, or a pipe.

use super::error::{Problem, TasksFileError};
use std::fs::{File, FileType};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

/// Opens a tasks file. The content of a pipe, such as `<(jq ...)`, is copied to a temporary file, because tasks are read
/// again when they start.
///
/// # Errors
///
/// If it cannot be read, is neither a file nor a pipe, or is UTF-16.
pub(super) fn open(path: &Path) -> Result<File, TasksFileError> {
    let io = |error: io::Error| TasksFileError::io(path, &error);
    let mut file = File::open(path).map_err(io)?;
    let kind = file.metadata().map_err(io)?.file_type();
    if !kind.is_file() {
        if !is_pipe(kind) {
            return Err(TasksFileError::of(path, vec![Problem::new(None, "it is neither a file nor a pipe")]));
        }
        let mut copy = tempfile::tempfile().map_err(io)?;
        io::copy(&mut file, &mut copy).map_err(io)?;
        file = copy;
        file.rewind().map_err(io)?;
    }
    let mut head = Vec::new();
    (&file).take(2).read_to_end(&mut head).map_err(io)?;
    if matches!(head.as_slice(), [0xff, 0xfe] | [0xfe, 0xff]) {
        let problem = Problem::new(None, "the file is UTF-16");
        return Err(TasksFileError::of(path, vec![problem.hint("save it as UTF-8")]));
    }
    Ok(file)
}

/// Returns the directory that relative paths in the tasks are relative to.
pub(super) fn base(path: &Path, is_directory: bool) -> io::Result<PathBuf> {
    // A descriptor, such as `<(...)`: its path names no directory of the user.
    if path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc") {
        return std::env::current_dir();
    }
    let absolute = std::path::absolute(path)?;
    Ok(if is_directory { absolute } else { absolute.parent().unwrap_or(&absolute).to_owned() })
}

#[cfg(unix)]
fn is_pipe(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: FileType) -> bool {
    false
}
